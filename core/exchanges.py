"""Finds an exchange's pure facts by its name. This file and `fetcher/exchanges.py` are the only lists of exchanges."""

from __future__ import annotations

from typing import assert_never

from core.binance.intervals import offered_intervals as binance_intervals
from core.binance.kinds import OFFERED_DEPTHS as BINANCE_DEPTHS
from core.binance.kinds import offered_kinds as binance_kinds
from core.binance.publishing import BinancePublishing
from core.exchange_rules import PublishingRules
from core.instrument import ExchangeName, Market
from core.intervals import Interval
from core.stream_kinds import StreamKind


def offered_intervals(exchange: ExchangeName, market: Market) -> list[str]:
    """Return the codes of the intervals that `exchange` offers on `market`."""
    match exchange:
        case ExchangeName.BINANCE:
            return binance_intervals(market)
        case _:
            assert_never(exchange)


def publishing_rules(exchange: ExchangeName, interval: Interval) -> PublishingRules:
    """Return when `exchange` publishes the archives of `interval`, for those that ask it nothing."""
    match exchange:
        case ExchangeName.BINANCE:
            return BinancePublishing(interval)
        case _:
            assert_never(exchange)


def offered_kinds(exchange: ExchangeName, market: Market) -> tuple[StreamKind, ...]:
    """Return the kinds of live data that `exchange` offers on `market`."""
    match exchange:
        case ExchangeName.BINANCE:
            return binance_kinds(market)
        case _:
            assert_never(exchange)


def offered_depths(exchange: ExchangeName) -> tuple[int, ...]:
    """Return how many levels a stream of the best levels of an order book may have."""
    match exchange:
        case ExchangeName.BINANCE:
            return BINANCE_DEPTHS
        case _:
            assert_never(exchange)
