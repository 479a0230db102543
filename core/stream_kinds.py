"""The kinds of live data."""

from __future__ import annotations

from enum import StrEnum


class StreamKind(StrEnum):
    """The kinds of live data, as users write them."""

    KLINE = "kline"
    AGG_TRADE = "aggtrade"
    TRADE = "trade"
    TICKER = "ticker"
    MARK_PRICE = "mark_price"
    FUNDING_RATE = "funding_rate"  # settled rates: asked for by REST, no stream has them
    DEPTH = "depth"  # the best levels of the order book, as the exchange sends them
    DEPTH_FULL = "depth_full"  # the order book, kept by its changes; the best levels are stored


BOOKS = (StreamKind.DEPTH, StreamKind.DEPTH_FULL)
"""The kinds whose records are order books."""
