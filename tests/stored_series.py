"""A series in a real table, committed by its ledger entries, beside the replay exchange that has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from candles import Row, batch_of, save_spans, stored_rows, truth_rows

from core.fetched import FetchedSpan
from core.gaps import Gap
from core.ranges import Span
from core.series import Series
from core.sources import AllowedSources, Source
from core.times import to_datetime
from core.wanted import WantedSeries
from db.catalog import CatalogRow, load_catalog, sync_symbols
from db.connection import Database
from db.gaps import load_open_gaps
from db.schema import create_table_if_not_exists
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.server import ReplayExchange
from fetcher.binance.exchange import Exchange, ExchangeAddresses
from logic.gaps.rechecks import GapRecheck
from logic.gaps.series_check import SeriesCheck, check_series
from logic.planning.listing import KnownLife
from logic.planning.series_plan import plan_series


@dataclass
class StoredSeries:
    """What a test needs of one stored series. Times are epoch ms."""

    database: Database
    replay: ReplayExchange
    exchange: Exchange
    series: Series
    span: Span
    series_id: int

    @property
    def table(self) -> str:
        return self.series.table_name

    def rows(self) -> list[Row]:
        """Return what is stored, every digit as text."""
        with self.database.transaction("read") as tx:
            return stored_rows(tx, self.table)

    def truth(self) -> list[Row]:
        """Return what the exchange has in the range."""
        return truth_rows(self.replay.store.rows(self.series, self.span.start_ms, self.span.end_ms))

    def execute(self, statement: str, values: tuple[object, ...] | None = None) -> None:
        """Run SQL as somebody else would, by hand."""
        with self.database.transaction("execute") as tx:
            tx.cursor.execute(statement.format(table=f"public.{self.table}"), values)

    def delete(self, times: Sequence[int]) -> None:
        self.execute("delete from {table} where time = any(%s)", ([to_datetime(ms) for ms in times],))

    def look(self, choice: AllowedSources = AllowedSources.AUTO) -> GapRecheck:
        """Return what a heal or a look at gaps works with, by the exchange's clock as it is now."""
        if choice is not AllowedSources.ARCHIVE:
            self.exchange.rest(self.series.market).synchronize_clock()
        facts = None if choice is AllowedSources.ARCHIVE else self.exchange.open_market(self.series.market, None)
        wanted = WantedSeries(self.series, self.span.start_ms, self.span.end_ms)
        plan = plan_series(wanted, facts, KnownLife(), [self.span], self.exchange, choice, 1)
        return GapRecheck(self.database, self.exchange, plan, self.series_id, "heal", self.replay.clock.now_ms())

    def gaps(self) -> list[Gap]:
        """Return the open gaps."""
        with self.database.transaction("read") as tx:
            return load_open_gaps(tx, self.series_id)

    def catalog_row(self) -> CatalogRow:
        with self.database.transaction("read") as tx:
            return next(row for row in load_catalog(tx) if row.id == self.series_id)

    def check(self) -> SeriesCheck:
        """Return what `check` says of the range."""
        row = self.catalog_row()
        with self.database.transaction("check") as tx:
            return check_series(tx, row, self.span.start_ms, self.span.end_ms, self.replay.clock.now_ms())


@contextmanager
def stored_series(
    database: Database,
    folder: Path,
    store: CandleStore,
    series: Series,
    span: Span,
    now_ms: int,
    pieces: Sequence[Span] | None = None,
    source: Source = Source.REST,
) -> Iterator[StoredSeries]:
    """Yield `series` stored as the exchange has it in `span`, a ledger entry for each of `pieces` (default: one)."""
    with database.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(series)], replaces_catalog=True)[series].id
        create_table_if_not_exists(tx, series, timescale=False, compress_after_days=0)
        for piece in pieces or [span]:
            batch = batch_of(store.rows(series, piece.start_ms, piece.end_ms))
            save_spans(tx, series_id, series.table_name, [FetchedSpan(piece, batch, source)], "run", now_ms)
    with ReplayExchange(store, ReplayClock(now_ms, speed=0.0)) as replay:
        addresses = ExchangeAddresses(
            dict.fromkeys(("spot", "um", "cm"), replay.url),
            replay.archive_url,
            replay.archive_list_url,
            1.0,
            None,
            2,
            folder,
        )
        exchange = Exchange(addresses, lambda _seconds: None, replay.clock.now_ms)
        exchange.open_market(series.market, None)
        yield StoredSeries(database, replay, exchange, series, span, series_id)
