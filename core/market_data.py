"""Market data other than candles: what live streams, REST and archives deliver of an instrument. Pure values.

Times are epoch ms. Prices, quantities and rates are the exchange's own digits, never a float. What an exchange does not
say is None; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class AggTrade(NamedTuple):
    """Trades of one taker order at one price, as one. Ids of an instrument run without holes."""

    id: int
    time_ms: int
    price: str
    quantity: str
    first_trade_id: int
    last_trade_id: int
    is_buyer_maker: bool  # True: the taker sold


class Trade(NamedTuple):
    """One trade. Ids of an instrument run without holes."""

    id: int
    time_ms: int
    price: str
    quantity: str
    is_buyer_maker: bool  # True: the taker sold


class Ticker(NamedTuple):
    """The last 24 hours of an instrument, as they were at `time_ms`. Without a trade prices are 0 and ids -1."""

    time_ms: int
    price_change: str
    price_change_percent: str
    weighted_avg_price: str
    last_price: str
    last_quantity: str
    open_price: str
    high_price: str
    low_price: str
    volume: str
    quote_volume: str
    open_ms: int
    close_ms: int
    first_trade_id: int
    last_trade_id: int
    trades: int


class MarkPrice(NamedTuple):
    """The mark price of a future, with the estimate of its next funding rate; delivery contracts have no funding."""

    time_ms: int
    mark_price: str
    average_mark_price: str | None
    index_price: str | None
    settle_price: str
    funding_rate: str | None
    next_funding_ms: int | None


class FundingRate(NamedTuple):
    """A settled funding of a perpetual contract."""

    time_ms: int
    rate: str
    mark_price: str | None


Level = tuple[str, str]
"""Price and quantity, in the exchange's own digits. In a change, a quantity of 0 takes the level out."""


class BookChange(NamedTuple):
    """How a book changed. Update ids of a book only grow."""

    time_ms: int  # when the exchange sent it
    first_id: int
    last_id: int
    previous_id: int | None  # last id of the change before; None on markets that do not say it
    bids: Sequence[Level]
    asks: Sequence[Level]


class BookSnapshot(NamedTuple):
    """A book as it was after the update `last_id`: its best levels, at most `limit` a side, best first."""

    last_id: int
    limit: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class BookTop(NamedTuple):
    """The best levels of an order book, best first."""

    event_ms: int | None  # when the exchange sent it; None where it does not say
    received_ms: int  # when it was read, by the exchange's clock as far as it is known
    last_id: int
    levels: int  # so many of a side were asked for; one that has fewer has no more
    bids: Sequence[Level]
    asks: Sequence[Level]

    @property
    def time_ms(self) -> int:
        """When the book was so."""
        return self.received_ms if self.event_ms is None else self.event_ms


Record = AggTrade | Trade | Ticker | MarkPrice | BookTop
"""What is stored of the streams of kinds other than candles."""

SEQUENCED = (AggTrade, Trade)
"""Records whose ids run without holes, so that a jump is a gap."""
