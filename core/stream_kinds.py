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
