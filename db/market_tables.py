"""The tables of market data other than candles, and how a record becomes a line of PostgreSQL's COPY text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from core.market_data import AggTrade, BookTop, FundingRate, MarkPrice, Ticker, Trade
from core.stream_kinds import StreamKind
from core.times import MS_PER_SECOND, to_datetime


@dataclass(frozen=True, slots=True)
class MarketTable:
    """A table: its key and values in the order of a line, and the chunks that it has as a hypertable."""

    name: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    time: str
    chunk: timedelta
    line: Callable[[int, Any, str], str]  # instrument id, record, source
    has_source: bool = False
    may_lack: tuple[str, ...] = ()  # values that one source does not say, which is no conflict

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a line."""
        return (*self.key, *self.values, "source") if self.has_source else (*self.key, *self.values)


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    return to_datetime(second * MS_PER_SECOND).strftime("%Y-%m-%d %H:%M:%S")


def time_text(ms: int) -> str:
    """Return a time as COPY reads it, exact to the millisecond."""
    second, rest = divmod(ms, MS_PER_SECOND)
    return f"{_second(second)}.{rest:03d}+00"


def _or_null(text: str | None) -> str:
    return r"\N" if text is None else text


def _agg_trade(instrument: int, one: AggTrade, source: str) -> str:
    return (
        f"{instrument}\t{time_text(one.time_ms)}\t{one.id}\t{one.price}\t{one.quantity}\t{one.first_trade_id}\t"
        f"{one.last_trade_id}\t{'t' if one.is_buyer_maker else 'f'}\t{source}\n"
    )


def _trade(instrument: int, one: Trade, source: str) -> str:
    return (
        f"{instrument}\t{time_text(one.time_ms)}\t{one.id}\t{one.price}\t{one.quantity}\t"
        f"{'t' if one.is_buyer_maker else 'f'}\t{source}\n"
    )


def _ticker(instrument: int, one: Ticker, source: str) -> str:
    times = f"{time_text(one.open_ms)}\t{time_text(one.close_ms)}"
    ids = f"{one.first_trade_id}\t{one.last_trade_id}\t{one.trades}"
    return f"{instrument}\t{time_text(one.time_ms)}\t" + "\t".join(one[1:11]) + f"\t{times}\t{ids}\n"


def _mark_price(instrument: int, one: MarkPrice, source: str) -> str:
    next_funding = None if one.next_funding_ms is None else time_text(one.next_funding_ms)
    prices = (one.mark_price, one.average_mark_price, one.index_price, one.settle_price, one.funding_rate, next_funding)
    return f"{instrument}\t{time_text(one.time_ms)}\t" + "\t".join(map(_or_null, prices)) + "\n"


def _funding_rate(instrument: int, one: FundingRate, source: str) -> str:
    return f"{instrument}\t{time_text(one.time_ms)}\t{one.rate}\t{_or_null(one.mark_price)}\t{source}\n"


def _book(instrument: int, one: BookTop, source: str) -> str:
    arrays = [f"{{{','.join(level[part] for level in side)}}}" for side in (one.bids, one.asks) for part in (0, 1)]
    times = f"{time_text(one.time_ms)}\t{one.last_id}\t{time_text(one.received_ms)}"
    return f"{instrument}\t{times}\t{one.levels}\t" + "\t".join(arrays) + "\n"


_DAY, _WEEK, _YEAR = timedelta(days=1), timedelta(days=7), timedelta(days=365)

_BOOKS = MarketTable(
    "market_depth",
    ("instrument_id", "time", "last_update_id"),
    ("received_at", "levels", "bid_prices", "bid_quantities", "ask_prices", "ask_quantities"),
    "time",
    _DAY,
    _book,
)

TABLES = {
    StreamKind.AGG_TRADE: MarketTable(
        "market_agg_trades",
        ("instrument_id", "time", "agg_id"),
        ("price", "quantity", "first_trade_id", "last_trade_id", "is_buyer_maker"),
        "time",
        _DAY,
        _agg_trade,
        has_source=True,
    ),
    StreamKind.TRADE: MarketTable(
        "market_trades",
        ("instrument_id", "time", "trade_id"),
        ("price", "quantity", "is_buyer_maker"),
        "time",
        _DAY,
        _trade,
        has_source=True,
    ),
    StreamKind.TICKER: MarketTable(
        "market_tickers",
        ("instrument_id", "time"),
        (
            "price_change",
            "price_change_percent",
            "weighted_avg_price",
            "last_price",
            "last_quantity",
            "open",
            "high",
            "low",
            "volume",
            "quote_volume",
            "open_time",
            "close_time",
            "first_trade_id",
            "last_trade_id",
            "trades",
        ),
        "time",
        _WEEK,
        _ticker,
    ),
    StreamKind.MARK_PRICE: MarketTable(
        "market_mark_prices",
        ("instrument_id", "time"),
        ("mark_price", "average_mark_price", "index_price", "settle_price", "funding_rate", "next_funding_time"),
        "time",
        _WEEK,
        _mark_price,
    ),
    StreamKind.FUNDING_RATE: MarketTable(
        "market_funding_rates",
        ("instrument_id", "funding_time"),
        ("funding_rate", "mark_price"),
        "funding_time",
        _YEAR,
        _funding_rate,
        has_source=True,
        may_lack=("mark_price",),
    ),
    StreamKind.DEPTH: _BOOKS,
    StreamKind.DEPTH_FULL: _BOOKS,
}
"""By kind of live data. Candles have tables of their own."""

ID_COLUMNS = {StreamKind.AGG_TRADE: "agg_id", StreamKind.TRADE: "trade_id"}
"""The kinds whose ids run without holes, with the column that has them."""
