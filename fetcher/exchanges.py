"""Which class serves which exchange. With `core/exchanges.py`, the only list of exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from core.instrument import ExchangeName
from fetcher.addresses import ExchangeAddresses
from fetcher.binance.exchange import BinanceExchange
from fetcher.http import Sleep
from fetcher.source import ExchangeSource


def open_exchange(
    name: ExchangeName, addresses: ExchangeAddresses, sleep: Sleep, local_now_ms: Callable[[], int]
) -> ExchangeSource:
    """Return the exchange called `name`; nothing is asked yet."""
    match name:
        case ExchangeName.BINANCE:
            return BinanceExchange(addresses, sleep, local_now_ms)
        case _:
            assert_never(name)
