"""The interface that every exchange implements. `logic/` uses nothing else of an exchange.

A new exchange implements `ExchangeSource`, has its pure facts in `core/<exchange>/` and a line in
`fetcher/exchanges.py` and `core/exchanges.py`, and passes the contract suite (tests/fetcher/test_source_contract.py).

Everything is thread-safe. Times are epoch ms, spans half-open. Methods that send requests raise SeriesError when the
request for this series fails, ExchangeUnavailable when the market cannot be used (all further requests to it then fail
at once with the same error), ArchiveUnavailable when a file or a listing cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import pyarrow as pa

from core.archives import NO_ARCHIVES, ArchiveIndex, Period
from core.candles import CandleBatch
from core.errors import ExchangeUnavailable
from core.exchange_rules import SeriesRules
from core.instrument import Instrument, Market
from core.market_data import AggTrade, BookChange, BookSnapshot, FundingRate, Record
from core.ranges import Span
from core.series import Series
from core.stream_activity import StreamActivity
from core.streams import CandleUpdate, StreamEvent, StreamKey
from core.symbol_info import SymbolInfo


class SharedBudget(Protocol):
    """What all runs on one database know of the exchange's limits together. A pool is what it counts together."""

    def reserve(self, pool: str, minute: int, wanted: int, allowed: int) -> int:
        """Return how much of `wanted` this run may use in `minute` (since the epoch), when all may use `allowed`."""

    def published_limit(self, pool: str) -> int | None:
        """Return the limit per minute that an earlier run was told by the exchange, or None."""

    def keep_limit(self, pool: str, limit: int) -> None:
        """Keep the limit per minute that the exchange publishes now."""


class Archives(Protocol):
    """Published archive files. An exchange without archives lists no files."""

    def list_published(self, series: Series, wanted: Span, expected: ArchiveIndex = NO_ARCHIVES) -> ArchiveIndex:
        """Return the files of the series that exist, as far as `wanted` needs them.

        `expected` are those that should be there; it may save time, and changes nothing else.
        """

    def fetch(self, series: Series, period: Period) -> tuple[CandleBatch, str]:
        """Return all candles of one file, validated, and its sha256 (hex), which equals the published one."""

    def published_checksum(self, series: Series, period: Period) -> str:
        """Return the sha256 (hex) that is published for a file, without downloading the file."""

    def list_earlier_contracts(self, series: Series) -> list[str]:
        """Return the symbols, sorted, under which the archives keep earlier contracts of the same ticker."""

    def remove_leftovers(self) -> None:
        """Delete files that killed runs left on the disk."""


class MarketDataSource(Protocol):
    """Market data other than candles. Values are checked, pages ascending and without doubles."""

    def agg_trades_from(self, instrument: Instrument, first_id: int) -> list[AggTrade]:
        """Return a page of aggregate trades from the id `first_id` on; empty when there are none yet.

        Raises NoLongerKept when they are too old.
        """

    def agg_trades_at(self, instrument: Instrument, start_ms: int) -> list[AggTrade]:
        """Return a page of aggregate trades from `start_ms` on. Raises NoLongerKept when that is too long ago."""

    def archived_agg_trades(self, instrument: Instrument, period: Period) -> pa.Table:
        """Return the aggregate trades of a day from the archives (core.trade_batch). Raises ArchiveUnavailable."""

    def archived_funding_rates(self, instrument: Instrument, period: Period) -> list[FundingRate]:
        """Return the settled fundings of a month from the archives, without mark prices. Raises ArchiveUnavailable."""

    def funding_rates(self, instrument: Instrument, start_ms: int) -> list[FundingRate]:
        """Return a page of settled fundings from `start_ms` on; a contract with delivery has none."""

    def funding_hours(self, market: Market) -> Mapping[str, int]:
        """Return the hours between fundings by symbol, of those whose interval is not the usual one."""

    def order_book(self, instrument: Instrument) -> BookSnapshot:
        """Return the order book of now, with as many levels as there are to be had."""

    def order_book_pause_ms(self, market: Market) -> int:
        """Return how long to wait between snapshots of order books, so that half the request weight is left."""


class ExchangeSource(Protocol):
    """One exchange during one run."""

    @property
    def archives(self) -> Archives:
        """The exchange's published files."""

    @property
    def market_data(self) -> MarketDataSource:
        """Trades and fundings."""

    def rules(self, series: Series) -> SeriesRules:
        """Return the exchange's rules for fetching `series`."""

    def now_ms(self, market: Market) -> int:
        """Return the exchange's time; this machine's until `open_market` has set the clock."""

    def is_clock_set(self, market: Market) -> bool:
        """Whether `now_ms` is the exchange's time, not this machine's."""

    def open_market(self, market: Market, symbols: set[str] | None) -> Mapping[str, SymbolInfo]:
        """Set the market's clock and limits; return at least those of `symbols` that exist, or all for None.

        A single symbol is looked for also where the list of all may lack it.
        """

    def failures(self) -> Mapping[Market, ExchangeUnavailable]:
        """Return the markets that turned out to be unusable so far, with the error."""

    def fetch_candles(self, series: Series, span: Span) -> CandleBatch:
        """Return every candle of `span` that the exchange has, ascending and validated.

        `span` must end at or before the end of the last closed candle. Slots without a candle in the result are not
        at the exchange now: an empty or short answer is accepted only when a repeated request confirms it.
        """

    def find_first_candle(self, series: Series, from_ms: int = 0) -> int | None:
        """Return the open time of the first candle that opens at or after `from_ms`, or None when there is none."""

    def find_last_candle(self, series: Series, listing_ms: int | None = None) -> int | None:
        """Return the open time of the newest candle, closed or not, or None. `listing_ms` bounds the search."""

    def has_candle_in(self, series: Series, span: Span) -> bool:
        """Return whether a candle opens in `span`, which may be at most 200 days long."""

    def share_budget(self, shared: SharedBudget) -> None:
        """Use only the request weight that `shared` grants from now on, and begin with the limit that it knows."""

    def weight_used(self) -> int:
        """Return the request weight that this run has used so far."""

    def weight_per_minute(self) -> float:
        """Return the request weight per minute that this run may use, all address pools together."""


class StreamSink(Protocol):
    """Takes what live streams deliver, in the order in which it came.

    Called in the thread of the event loop: every method returns at once, never waits and never raises.
    """

    def candle(self, update: CandleUpdate, received_ns: int) -> None:
        """Take one frame of a stream of candles. `received_ns`: time.monotonic_ns() when it was read."""

    def record(self, key: StreamKey, record: Record | BookChange, received_ns: int) -> None:
        """Take one frame of a stream of any other kind, checked. `received_ns` as above."""

    def unusable(self, key: StreamKey | None, why: str, frame: bytes) -> None:
        """Take a frame that cannot be read; `key` is its stream where that is known."""

    def event(self, event: StreamEvent) -> None:
        """Take what happened to streams and connections."""


class LiveStreams(Protocol):
    """The live streams of one exchange. All methods but `run` and `activity` are called in the event loop's thread."""

    async def run(self) -> None:
        """Keep every wanted stream alive until `stop` was called and all connections are closed.

        Connections that break, fall silent or reach their age are replaced; nothing of that is raised.
        """

    def want(self, keys: Iterable[StreamKey]) -> None:
        """Make `keys` the wanted streams from now on; those that were wanted before stay untouched."""

    def want_updates(self, keys: Iterable[StreamKey]) -> None:
        """Deliver candles that have not closed too, of `keys` and of no others. At first of none."""

    def reconnect(self, market: Market | None = None) -> None:
        """Replace all connections, of one market or of all, as at their age: without a hole."""

    def activity(self) -> Mapping[StreamKey, StreamActivity]:
        """Return what each stream has delivered since the start; may be called from any thread."""

    def stop(self) -> None:
        """Close all connections; `run` returns soon."""
