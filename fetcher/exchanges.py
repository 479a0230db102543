"""The class for each exchange. This file and `core/exchanges.py` are the only lists of exchanges."""

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
    """Return the exchange `name`, without sending a request."""
    match name:
        case ExchangeName.BINANCE:
            return BinanceExchange(addresses, sleep, local_now_ms)
        case _:
            assert_never(name)
