"""Events of live market data, as subscribers get them. Pure values."""

from __future__ import annotations

from typing import Any, NamedTuple

KLINE = "market_data.kline"
"""A candle that has closed and is stored."""
KLINE_UPDATE = "market_data.kline.update"
"""A candle that is still open, or has just closed and is not stored yet."""
TRADE = "market_data.trade"
"""A trade or an aggregate trade."""
DEPTH = "market_data.depth"
"""The best levels of an order book, after each change."""
TICKER = "market_data.ticker"
MARK_PRICE = "market_data.mark_price"
FUNDING_RATE = "market_data.funding_rate"
PRICE = "market_data.price"
"""The last price, of whatever says it: a trade, a ticker or a mark price."""
CONNECTION = "market_data.connection"
"""What happened to connections and streams, and to subscriptions that were ended."""
GAP = "market_data.gap"
"""Frames of a stream may have been lost; candles are healed by REST: read them from the table."""
TOPICS = (KLINE, KLINE_UPDATE, TRADE, DEPTH, TICKER, MARK_PRICE, FUNDING_RATE, PRICE, CONNECTION, GAP)
ALL = "market_data.*"


class Event(NamedTuple):
    """One event. Times are epoch ms by the exchange's clock; None where there is none."""

    topic: str
    market: str
    symbol: str
    interval: str | None
    data: Any  # of candles a mapping by column, of records core/market_data.py, else core/streams.py
    event_ms: int | None
    received_ms: int | None
    sequence: int = 0  # of the bus; rises with every event


def matches(pattern: str, topic: str) -> bool:
    """Whether a subscription to `pattern` gets events of `topic`; `a.*` gets all that begin with `a.`."""
    return topic.startswith(pattern[:-1]) if pattern.endswith(".*") else topic == pattern
