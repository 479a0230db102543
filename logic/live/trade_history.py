"""Fetches aggregate trades of the past, day by day: from the daily archives, else by REST."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from core.archives import Period, day_of
from core.errors import ArchiveUnavailable, SeriesError
from core.instrument import Instrument
from core.ranges import Span
from core.sources import AllowedSources
from core.stream_kinds import StreamKind
from db.connection import Database
from db.market_data import (
    StoredRecords,
    holes_between,
    store_archived_trades,
    store_records,
    stored_trades,
    sync_instruments,
)
from db.market_tables import TABLES
from db.stream_gaps import GapStatus, count_within, insert_gaps, load_missing, settle_gap
from fetcher.source import MarketDataSource

_log = logging.getLogger(__name__)

_ARCHIVE, _REST = "archive_daily", "rest"


@dataclass(slots=True)
class TradeHistoryResult:
    """What became of the trades of one instrument."""

    instrument: Instrument
    stored: StoredRecords = field(default_factory=StoredRecords)
    days_there: int = 0  # that were whole already
    missing: dict[str, str] = field(default_factory=dict)  # days that could not be fetched, with why


class TradeHistory:
    """Fetches one instrument after the other. For one thread."""

    def __init__(
        self, database: Database, source: MarketDataSource, allowed: AllowedSources, local_now_ms: Callable[[], int]
    ) -> None:
        self._database, self._source, self._allowed = database, source, allowed
        self._local_now_ms = local_now_ms

    def fetch(self, instrument: Instrument, span: Span) -> TradeHistoryResult:
        """Fetch the trades of `span` that may be missing; each day is one transaction where an archive has it.

        Raises DatabaseUnavailable, ExchangeUnavailable and Interrupted.
        """
        with self._database.transaction("enter the instrument") as tx:
            [number] = sync_instruments(tx, [instrument]).values()
        result = TradeHistoryResult(instrument)
        day = day_of(span.start_ms)
        while day.span.start_ms < span.end_ms:
            part = day.span.intersect(span)
            assert part is not None  # noqa: S101 - the days of the span
            try:
                self._fetch_day(result, number, day, part)
            except (ArchiveUnavailable, SeriesError) as error:
                result.missing[day.text] = str(error)
                _log.warning("%s: trades of %s were not fetched: %s", instrument, day.text, error)
            day = day_of(day.span.end_ms)
        self._settle_gaps(number)
        return result

    def _fetch_day(self, result: TradeHistoryResult, number: int, day: Period, part: Span) -> None:
        with self._database.transaction("look for the trades of a day") as tx:
            if stored_trades(tx, number, part).is_whole:
                result.days_there += 1
                return
        try:
            if not self._allowed.archives or day.span.end_ms > self._local_now_ms():
                raise ArchiveUnavailable(f"the archive of {day.text} is not to be used, or not there before it is over")
            self._from_archive(result, number, day, part)
        except ArchiveUnavailable as error:
            if not self._allowed.rest:
                raise
            _log.info("%s: trades of %s by REST: %s", result.instrument, day.text, error)
            self._by_rest(result, number, part)
        with self._database.transaction("look for trades that are missing") as tx:
            if holes := holes_between(tx, number, part):
                insert_gaps(tx, number, StreamKind.AGG_TRADE, holes, self._local_now_ms())
                result.missing[day.text] = f"{sum(hole.size for hole in holes):,} trades, named in public.stream_gaps"

    def _from_archive(self, result: TradeHistoryResult, number: int, day: Period, part: Span) -> None:
        trades = self._source.archived_agg_trades(result.instrument, day)
        times = trades["time"].to_numpy()
        trades = trades.filter((times >= part.start_ms) & (times < part.end_ms))
        with self._database.transaction(f"store the trades of {day.text}") as tx:
            result.stored += store_archived_trades(tx, number, trades, _ARCHIVE)

    def _by_rest(self, result: TradeHistoryResult, number: int, part: Span) -> None:
        line, page = TABLES[StreamKind.AGG_TRADE].line, self._source.agg_trades_at(result.instrument, part.start_ms)
        while page:
            inside = [trade for trade in page if trade.time_ms < part.end_ms]
            with self._database.transaction("store trades") as tx:
                lines = [line(number, trade, _REST) for trade in inside]
                result.stored += store_records(tx, StreamKind.AGG_TRADE, lines)
            if len(inside) < len(page):
                return
            page = self._source.agg_trades_from(result.instrument, page[-1].id + 1)

    def _settle_gaps(self, number: int) -> None:
        """Note which gaps of streams are filled now."""
        with self._database.transaction("look for gaps that are filled") as tx:
            for gap in load_missing(tx, StreamKind.AGG_TRADE, [number]):
                if count_within(tx, gap) == gap.gap.size:
                    settle_gap(tx, gap, [], GapStatus.HEALED, "", self._local_now_ms())
