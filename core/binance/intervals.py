"""The intervals that Binance offers on each market (docs/binance.md, Klines)."""

from __future__ import annotations

from core.instrument import Market
from core.intervals import INTERVALS

# 1s candles exist on spot only: futures answer with error -1120.
_SPOT_ONLY = frozenset({"1s"})


def offered_intervals(market: Market) -> list[str]:
    """Return the codes of the intervals that `market` offers, shortest first."""
    return [code for code in INTERVALS if market is Market.SPOT or code not in _SPOT_ONLY]
