"""A database beside an exchange whose longer candles agree with its shorter ones, to backfill and verify."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from candles import Row, stored_rows, truth_rows
from longer_market import alter_archive
from stored_series import addresses_of, backfill_options

from core.intervals import INTERVALS, Interval
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.sources import AllowedSources
from core.times import parse_time
from core.wanted import WantedSeries
from db.catalog import load_catalog
from db.connection import Database
from db.witness import WitnessTotals, load_witness_totals
from demo.archive_names import month_of
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import SeriesResult
from logic.backfill.run import Observer
from logic.planning.series_plan import FetchPolicy
from logic.verify.verification import SeriesVerification, VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

BTC = parse_series("BTCUSDT/15m")
MARCH = Span(parse_time("2024-03-01"), parse_time("2024-04-01"))
NOW_MS = parse_time("2024-05-20T12:00")
PLACE = 1001  # of the altered candle in its file


@dataclasses.dataclass
class Bench:
    database: Database
    replay: ReplayExchange
    folder: Path

    def backfill(
        self, span: Span = MARCH, allowed: AllowedSources = AllowedSources.AUTO, series: str = "BTCUSDT/15m"
    ) -> SeriesResult:
        addresses = addresses_of(self.replay, self.folder)
        exchange = BinanceExchange(addresses, lambda _seconds: None, self.replay.clock.now_ms)
        options = dataclasses.replace(
            backfill_options("run", self.folder), witness=True, policy=FetchPolicy(allowed, chunk_days=1)
        )
        wanted = [WantedSeries(parse_series(series), span.start_ms, span.end_ms)]
        summary = run_ohlcv_backfill(self.database, exchange, wanted, options, Observer(), self.replay.clock.now_ms)
        [result] = summary.results
        return result

    def verify(
        self, *, only_longer: bool = True, repair: bool = False, allowed: AllowedSources = AllowedSources.AUTO
    ) -> SeriesVerification:
        addresses = addresses_of(self.replay, self.folder)
        exchange = BinanceExchange(addresses, lambda _seconds: None, self.replay.clock.now_ms)
        options = VerifyOptions("verify", allowed, repair, only_longer, None, None, TimeRange())
        with self.database.transaction("read") as tx:
            rows = load_catalog(tx)
        summary = run_verify(self.database, exchange, rows, options, self.replay.clock.now_ms, VerifyObserver())
        [result] = summary.results
        return result

    def alter(self, column: int, value: str | int) -> None:
        """Publish March's file anew with another value in one row, and a CHECKSUM that agrees."""

        def change(rows: list[list[object]]) -> None:
            rows[PLACE][column] = value

        alter_archive(self.replay.store, BTC, month_of(MARCH.start_ms), self.folder, change)

    @property
    def hour(self) -> Interval:
        return INTERVALS["1h"]

    def execute(self, statement: str) -> None:
        """Run SQL as somebody else would, by hand."""
        with self.database.transaction("execute") as tx:
            tx.cursor.execute(statement)

    def rows(self) -> list[Row]:
        with self.database.transaction("read") as tx:
            return stored_rows(tx, BTC.table_name)

    def truth(self) -> list[Row]:
        return truth_rows(self.replay.store.rows(BTC, MARCH.start_ms, MARCH.end_ms))

    def totals(self) -> WitnessTotals:
        with self.database.transaction("read") as tx:
            [row] = load_catalog(tx)
            return load_witness_totals(tx, [row.id])[row.id]

    def asked_for(self, interval: str) -> int:
        """Return how many pages of candles of `interval` were asked for by REST."""
        return sum(request.params.get("interval") == interval for request in self.replay.requests)

    def downloads(self, name: str) -> int:
        return sum(name in request.path for request in self.replay.requests)


@contextmanager
def bench_of(database: Database, folder: Path, store: CandleStore) -> Iterator[Bench]:
    with ReplayExchange(store, ReplayClock(NOW_MS, speed=0.0)) as replay:
        yield Bench(database, replay, folder)
