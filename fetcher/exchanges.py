"""The class for each exchange. This file and `core/exchanges.py` are the only lists of exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from core.errors import ConfigurationError
from core.instrument import ExchangeName
from fetcher.addresses import ExchangeAddresses, StreamAddresses
from fetcher.binance.exchange import BinanceExchange
from fetcher.http import Sleep
from fetcher.source import ExchangeSource, LiveStreams, StreamSink


def open_exchange(
    name: ExchangeName, addresses: ExchangeAddresses, sleep: Sleep, local_now_ms: Callable[[], int]
) -> ExchangeSource:
    """Return the exchange `name`, without sending a request."""
    match name:
        case ExchangeName.BINANCE:
            return BinanceExchange(addresses, sleep, local_now_ms)
        case _:
            assert_never(name)


def open_live_streams(
    name: ExchangeName,
    addresses: StreamAddresses,
    sink: StreamSink,
    now_ms: Callable[[], int],
    seconds: Callable[[int], float],
    random: Callable[[], float],
) -> LiveStreams:
    """Return the live streams of the exchange `name`, without connecting. Call it where the event loop runs.

    `now_ms` is the exchange's clock, which must go on while the machine sleeps; `seconds` says how long so many ms
    really take; `random` returns numbers from 0 to below 1. Raises ConfigurationError when what live streams need is
    not installed.
    """
    try:
        # Not at the top: only live streams need these packages, and they are installed with them.
        from fetcher.binance.stream_messages import BinanceStreamFormat
        from fetcher.stream_pool import StreamPool, StreamTime
    except ImportError as error:
        raise ConfigurationError(
            f"live streams cannot begin: {error}. Install what they need: pip install -r requirements-live.txt, or "
            "begin by: python3 bootstrap.py stream"
        ) from error
    match name:
        case ExchangeName.BINANCE:
            return StreamPool(BinanceStreamFormat(), addresses, sink, StreamTime(now_ms, seconds), random)
        case _:
            assert_never(name)
