"""Which kinds of live data Binance offers (docs/binance.md, Streams)."""

from __future__ import annotations

from core.instrument import Market
from core.stream_kinds import StreamKind

OFFERED_DEPTHS = (5, 10, 20)
"""How many levels of a side a stream of the best levels of an order book may have."""


def offered_kinds(market: Market) -> tuple[StreamKind, ...]:
    """Return the kinds of live data that a market has. Single trades of futures are not documented."""
    both = (StreamKind.KLINE, StreamKind.AGG_TRADE, StreamKind.TICKER, StreamKind.DEPTH, StreamKind.DEPTH_FULL)
    if market is Market.SPOT:
        return (*both, StreamKind.TRADE)
    return (*both, StreamKind.MARK_PRICE, StreamKind.FUNDING_RATE)
