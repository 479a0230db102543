"""Where an exchange's pure facts are found by its name. With `fetcher/exchanges.py`, the only list of exchanges."""

from __future__ import annotations

from typing import assert_never

from core.binance.intervals import offered_intervals as binance_intervals
from core.instrument import ExchangeName, Market


def offered_intervals(exchange: ExchangeName, market: Market) -> list[str]:
    """Return the codes of the intervals that `market` of `exchange` has."""
    match exchange:
        case ExchangeName.BINANCE:
            return binance_intervals(market)
        case _:
            assert_never(exchange)
