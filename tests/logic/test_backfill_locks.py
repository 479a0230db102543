"""A backfill gives a series' lock back when it is done with it, while it still works on others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_series import addresses_of, backfill_options

from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time
from core.wanted import WantedSeries
from db.catalog import load_catalog
from db.connection import Database
from db.locks import try_lock_series, try_lock_series_for_transaction, unlock_series
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import RunSummary
from logic.backfill.run import Observer
from logic.series_locks import LONGEST_WAIT_S, Patience, left_to_another_run, lock_series

IDLE, FIRST, SECOND, THIRD = map(parse_series, ("IDLEUSDT/1h", "FIRSTUSDT/1h", "SECONDUSDT/1h", "THIRDUSDT/1h"))
ALL = (FIRST, IDLE, SECOND, THIRD)
NOW_MS = parse_time("2024-03-10T12:30")


class Watcher(Observer):
    """Another session that looks, whenever a chunk is committed, which series it could have."""

    def __init__(self, other: Database) -> None:
        self.other = other
        self.seen: list[tuple[str, set[str]]] = []

    def committed(self, series: Series, rows_planned: int) -> None:
        self.seen.append((series.symbol, self.free()))

    def free(self) -> set[str]:
        """Return the symbols of the series whose lock can be had now."""
        with self.other.transaction("read the catalog") as tx:
            rows = load_catalog(tx)
        free = set()
        for row in rows:
            with self.other.transaction("lock for a moment") as tx:
                if try_lock_series_for_transaction(tx, row.id):
                    free.add(row.series.symbol)
        return free


@pytest.fixture
def watcher(database_url: str) -> Iterator[Watcher]:
    other = Database.connect(database_url, {}, "another run")
    yield Watcher(other)
    other.close()


@pytest.fixture
def replay() -> Iterator[ReplayExchange]:
    store = CandleStore()
    for series in ALL:
        store.add(series, generate_series(series, Span(NOW_MS - MS_PER_DAY, NOW_MS + MS_PER_DAY), 1))
    with ReplayExchange(store, ReplayClock(NOW_MS, speed=0.0)) as exchange:
        yield exchange


def backfill(
    database: Database, replay: ReplayExchange, folder: Path, series: tuple[Series, ...], watcher: Observer
) -> RunSummary:
    exchange = BinanceExchange(addresses_of(replay, folder), lambda _seconds: None, replay.clock.now_ms)
    wanted = [WantedSeries(one) for one in series]
    options = backfill_options("run", folder)
    return run_ohlcv_backfill(database, exchange, wanted, options, watcher, replay.clock.now_ms)


def test_what_is_done_is_free_while_later_series_are_worked_on_and_idle_ones_are_free_first(
    database: Database, watcher: Watcher, replay: ReplayExchange, tmp_path: Path
) -> None:
    backfill(database, replay, tmp_path, (IDLE,), Observer())
    summary = backfill(database, replay, tmp_path, ALL, watcher)
    assert [result.outcome for result in summary.results] == ["ok"] * 4
    assert watcher.seen == [
        ("FIRSTUSDT", {"IDLEUSDT"}),
        ("SECONDUSDT", {"IDLEUSDT", "FIRSTUSDT"}),
        ("THIRDUSDT", {"IDLEUSDT", "FIRSTUSDT", "SECONDUSDT"}),
    ]
    # The connection stays open, and yet nothing is locked.
    assert watcher.free() == {one.symbol for one in ALL}


def test_a_run_of_idle_series_keeps_no_lock(
    database: Database, watcher: Watcher, replay: ReplayExchange, tmp_path: Path
) -> None:
    backfill(database, replay, tmp_path, (IDLE, FIRST), Observer())
    backfill(database, replay, tmp_path, (IDLE, FIRST), watcher)
    assert watcher.seen == []
    assert watcher.free() == {"IDLEUSDT", "FIRSTUSDT"}


def test_a_series_that_failed_is_given_back_too(
    database: Database, watcher: Watcher, replay: ReplayExchange, tmp_path: Path
) -> None:
    replay.faults.add("symbol=FIRSTUSDT", Answer(400, {"code": -1100, "msg": "Illegal characters."}), times=99)
    backfill(database, replay, tmp_path, (FIRST, SECOND), watcher)
    assert watcher.free() == {"FIRSTUSDT", "SECONDUSDT"}


def test_a_series_that_another_session_holds_stays_with_it(
    database: Database, database_url: str, watcher: Watcher, replay: ReplayExchange, tmp_path: Path
) -> None:
    backfill(database, replay, tmp_path, (FIRST, SECOND), Observer())
    replay.clock.advance(2 * MS_PER_HOUR)
    holder = Database.connect(database_url, {}, "a stream")
    try:
        with holder.transaction("lock") as tx:
            ids = {row.series: row.id for row in load_catalog(tx)}
            assert try_lock_series(tx, [ids[FIRST]])
        summary = backfill(database, replay, tmp_path, (FIRST, SECOND), watcher)
        assert {one.series: one.outcome for one in summary.results} == {FIRST: "locked", SECOND: "ok"}
        assert summary.exit_code == 4
        assert watcher.free() == {"SECONDUSDT"}
    finally:
        holder.close()


def test_a_heal_waits_some_minutes_for_a_series_and_then_does_without_it(database: Database, watcher: Watcher) -> None:
    slept: list[float] = []
    told: list[int] = []
    with watcher.other.transaction("lock") as tx:
        assert try_lock_series(tx, [7])
    assert lock_series(database, [7, 8], Patience(slept.append), told.append) == {8}
    assert sum(slept) == LONGEST_WAIT_S and set(told) == {1}

    def give_back(_seconds: float) -> None:
        with watcher.other.transaction("unlock") as tx:
            unlock_series(tx, [7])

    assert lock_series(database, [7], Patience(give_back), told.append) == {7}


def test_many_series_of_another_run_are_one_sentence() -> None:
    many = [parse_series(f"A{number}USDT") for number in range(1_000)]
    assert left_to_another_run(many) == (
        "another run is working on A0USDT/1m, A1USDT/1m, A2USDT/1m, A3USDT/1m, A4USDT/1m and 995 more; left to that run"
    )
