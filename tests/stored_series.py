"""A series in a real table, committed by its ledger entries, beside the replay exchange that has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from candles import Row, batch_of, save_spans, stored_rows, truth_rows
from servers import HAS_TIMESCALE

from core.fetched import FetchedSpan
from core.gaps import Gap
from core.ranges import Span, TimeRange
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
from fetcher.addresses import ExchangeAddresses
from fetcher.binance.exchange import BinanceExchange
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import SeriesResult
from logic.backfill.run import BackfillOptions, Observer
from logic.gaps.rechecks import GapRecheck
from logic.gaps.series_check import SeriesCheck, check_series
from logic.planning.listing import StoredCoverage
from logic.planning.series_plan import FetchPolicy, plan_series
from logic.series_session import SeriesSession


@dataclass
class StoredSeries:
    """What a test needs of one stored series. Times are epoch ms."""

    database: Database
    replay: ReplayExchange
    addresses: ExchangeAddresses
    exchange: BinanceExchange
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

    def begin_run(self, allowed: AllowedSources = AllowedSources.AUTO) -> None:
        """Take the exchange's time and symbols anew, as every run does."""
        self.exchange = BinanceExchange(self.addresses, lambda _seconds: None, self.replay.clock.now_ms)
        if allowed.rest:
            self.exchange.open_market(self.series.market, None)

    def session(self, run_id: str) -> SeriesSession:
        """Return what the steps of a run about this series need."""
        return SeriesSession(
            self.database, self.exchange, self.series, self.series_id, run_id, self.replay.clock.now_ms()
        )

    def recheck(self, allowed: AllowedSources = AllowedSources.AUTO) -> GapRecheck:
        """Return what a heal or a recheck of gaps works with, by the exchange's clock as it is now."""
        self.begin_run(allowed)
        symbols = self.exchange.open_market(self.series.market, None) if allowed.rest else None
        wanted = WantedSeries(self.series, self.span.start_ms, self.span.end_ms)
        stored = StoredCoverage(covered=[self.span])
        plan = plan_series(wanted, symbols, stored, self.exchange, FetchPolicy(allowed, chunk_days=1))
        return GapRecheck(self.session("heal"), plan.options)

    def backfill(self, run_id: str = "backfill", heals: bool = False) -> SeriesResult:
        """Bring the series from its span's start up to the exchange's last closed candle; return what was done."""
        [result] = self.backfill_all([self.series], run_id, heals)
        return result

    def backfill_all(
        self, series: Sequence[Series], run_id: str = "backfill", heals: bool = False
    ) -> list[SeriesResult]:
        """Do so with several series, from the same start, in one run."""
        self.begin_run()
        options = replace(backfill_options(run_id, self.addresses.state_dir), heal_gaps=heals)
        wanted = [WantedSeries(one, self.span.start_ms) for one in series]
        now_ms = self.replay.clock.now_ms
        return run_ohlcv_backfill(self.database, self.exchange, wanted, options, Observer(), now_ms).results

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
            asked = TimeRange(self.span.start_ms, self.span.end_ms)
            return check_series(tx, row, asked, self.replay.clock.now_ms())


def backfill_options(run_id: str, folder: Path) -> BackfillOptions:
    """Return the options of an ordinary backfill that has its state files in `folder`."""
    return BackfillOptions(
        run_id,
        FetchPolicy(AllowedSources.AUTO, chunk_days=1),
        workers=2,
        heal_gaps=False,
        witness=False,
        replaces_catalog=True,
        timescale=HAS_TIMESCALE,
        compress_after_days=0,  # the Apache edition of TimescaleDB has no compression
        state_dir=folder,
    )


def addresses_of(replay: ReplayExchange, folder: Path) -> ExchangeAddresses:
    """Return where the replay exchange is, with its whole weight; `folder` holds bans and downloads."""
    return ExchangeAddresses(
        api_urls=dict.fromkeys(("spot", "um", "cm"), replay.url),
        archive_url=replay.archive_url,
        archive_list_url=replay.archive_list_url,
        weight_share=1.0,
        page_limit=None,
        workers=2,
        state_dir=folder,
    )


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
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        for piece in pieces or [span]:
            batch = batch_of(store.rows(series, piece.start_ms, piece.end_ms))
            save_spans(tx, series_id, series.table_name, [FetchedSpan(piece, batch, source)], "run", now_ms)
    with ReplayExchange(store, ReplayClock(now_ms, speed=0.0)) as replay:
        addresses = addresses_of(replay, folder)
        exchange = BinanceExchange(addresses, lambda _seconds: None, replay.clock.now_ms)
        exchange.open_market(series.market, None)
        yield StoredSeries(database, replay, addresses, exchange, series, span, series_id)
