"""A live service in this process against the replay exchange, by a clock that runs many times as fast as real time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from candles import Row, stored_rows, truth_rows
from stored_series import addresses_of, backfill_options

from core.closing import closed_end
from core.instrument import ExchangeName, Market
from core.ranges import TimeRange
from core.series import Series
from core.wanted import WantedSeries
from db.catalog import load_catalog
from db.connection import Database
from demo.clock import ReplayClock
from demo.server import ReplayExchange
from fetcher.addresses import StreamAddresses
from fetcher.binance.exchange import BinanceExchange
from fetcher.exchanges import open_live_streams
from fetcher.source import ExchangeSource, LiveStreams, StreamSink
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.run import Observer
from logic.gaps.series_check import SeriesCheck, check_series
from logic.live.market_clocks import MarketClocks
from logic.live.preparing import History, plan_live
from logic.live.results import is_left_to_heal
from logic.live.service import LiveService
from logic.live.tools import LiveOptions, LiveTools

AUDIT_MS = 60 * 60_000


class ReplayClocks(MarketClocks):
    """The replay exchange's own clock, which runs as fast as the test wants."""

    def __init__(self, clock: ReplayClock) -> None:
        self._clock = clock

    def take(self, exchange: ExchangeSource) -> None:
        """Nothing newer than the clock itself."""

    def now_ms(self, market: Market) -> int:
        return self._clock.now_ms()


@dataclass
class LiveMarket:
    """A live service, its exchange and its database. Times are epoch ms of the replay clock."""

    database_url: str
    folder: Path
    replay: ReplayExchange
    series: Sequence[Series]
    start_ms: int  # of the range that is kept
    speed: float
    seed: int = 1
    audit_ms: int = AUDIT_MS
    stall_ms: int = 30_000
    max_per_connection: int = 200
    local_ahead_ms: int = 0  # of the machine's date before the exchange's clock
    services: list[LiveService] = field(default_factory=list)  # all that were started

    def now_ms(self) -> int:
        return self.replay.clock.now_ms()

    def local_now_ms(self) -> int:
        """Return the machine's date."""
        return self.now_ms() + self.local_ahead_ms

    def wait_until(self, at_ms: int) -> None:
        """Let the replay clock reach `at_ms`."""
        while self.now_ms() < at_ms:
            time.sleep(min(0.02, (at_ms - self.now_ms()) / 1000 / self.speed + 0.001))

    @contextmanager
    def exchange(self) -> Iterator[ExchangeSource]:
        yield BinanceExchange(
            addresses_of(self.replay, self.folder), lambda s: time.sleep(s / self.speed), self.replay.clock.now_ms
        )

    @contextmanager
    def database(self) -> Iterator[Database]:
        with self.connected_to(self.database_url) as database:
            yield database

    @contextmanager
    def connected_to(self, url: str) -> Iterator[Database]:
        with closing(Database.connect(url, {}, "live")) as database:
            yield database

    def open_streams(self, sink: StreamSink) -> LiveStreams:
        addresses = StreamAddresses(self.replay.stream_urls, self.max_per_connection, self.stall_ms)
        lots = random.Random(self.seed)
        return open_live_streams(ExchangeName.BINANCE, addresses, sink, self.local_now_ms, self.seconds, lots.random)

    def seconds(self, ms: int) -> float:
        return ms / 1000 / self.speed

    def tools(self) -> LiveTools:
        return LiveTools(
            self.database,
            self.exchange,
            self.open_streams,
            self.local_now_ms,
            self.now_ms,
            ReplayClocks(self.replay.clock),
            self.seconds,
        )

    def started(self) -> LiveService:
        """Return a service that receives and stores, after the backfill up to now."""
        options = backfill_options("live", self.folder)
        wanted = [WantedSeries(one, self.start_ms) for one in self.series]
        with self.database() as database, self.exchange() as exchange:
            plan = plan_live(database, exchange, wanted, True, History())
            service = LiveService(plan.series, self.tools(), LiveOptions("live", options, self.audit_ms))
            self.services.append(service)
            service.start()
            summary = run_ohlcv_backfill(database, exchange, plan.wanted, options, Observer(), self.local_now_ms)
        service.heal([one.series for one in summary.results if is_left_to_heal(one) or one.is_broken])
        return service

    def rows(self, series: Series) -> list[Row]:
        with self.database() as database, database.transaction("read") as tx:
            return stored_rows(tx, series.table_name)

    def truth(self, series: Series, until_ms: int) -> list[Row]:
        return truth_rows(self.replay.store.rows(series, self.start_ms, until_ms))

    def untrue(self, until_ms: int) -> dict[str, str]:
        """Return the series whose candles before `until_ms` are not those of the exchange, with what is wrong."""
        found = {}
        for one in self.series:
            end_ms = closed_end(one.interval, until_ms)
            stored = [row for row in self.rows(one) if int(str(row[0])) < end_ms]
            truth = self.truth(one, end_ms)
            if stored != truth:
                lacking, wrong = len(set(truth) - set(stored)), len(set(stored) - set(truth))
                found[str(one)] = f"{lacking} missing or different, {wrong} wrong, {len(stored)} of {len(truth)}"
        return found

    def checks(self, until_ms: int) -> list[SeriesCheck]:
        """Return what `check` says of the series up to `until_ms`."""
        with self.database() as database, database.transaction("check") as tx:
            rows = [row for row in load_catalog(tx) if row.series in set(self.series)]
            return [check_series(tx, row, TimeRange(None, until_ms), self.now_ms()) for row in rows]
