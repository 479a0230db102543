"""Bad days of a live service in simulated time: each ends with what the exchange has, and in words for a person.

docs/live-bad-days.md has a row for each.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bad_days import DAYS, bad_day
from live_market import LiveMarket
from program import PROJECT

from core.exit_codes import EXIT_EXCHANGE, EXIT_INCOMPLETE, EXIT_OK
from core.instrument import Market
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time
from demo.candle_store import CandleStore, SymbolFacts
from demo.clock import ReplayClock
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import HalfOpen, RefuseHandshake, Silence, Where
from logic.live.results import LiveSummary, summarize
from logic.live.service import LiveService

DOCUMENT = PROJECT / "docs" / "live-bad-days.md"
BEGINS_MS = parse_time("2024-11-11T10:00")
SPEED = 120.0
SPOT, OTHER, THIRD = (parse_series(one) for one in ("BTCUSDT", "ETHUSDT", "BNBUSDT"))
UM, CM = parse_series("um:BTCUSDT"), parse_series("cm:BTCUSD_PERP")
# What each spot connection listens to beside its own streams.
BUSY = parse_series("BTCUSDT/1s")
FULL_DISK = """
create function full_disk() returns trigger language plpgsql as $$
begin
    raise exception 'could not extend file: no space left on device' using errcode = '53100';
end $$;
create trigger full_disk before insert on public.ohlcv_btcusdt execute function full_disk();
"""
OF_UM = Where(market=Market.UM)


class Day:
    """A service that runs, from its start to its end."""

    def __init__(self, live: LiveMarket) -> None:
        self.live = live
        self.service: LiveService = live.started()
        self.summary: LiveSummary | None = None

    def go_on(self, minutes: float) -> None:
        self.live.wait_until(self.live.now_ms() + int(minutes * MS_PER_MINUTE))

    def wait_for(self, is_so: Callable[[], bool], minutes: float = 60) -> None:
        """Let time pass until it is so, at most so many minutes of the exchange's."""
        ends_ms = self.live.now_ms() + minutes * MS_PER_MINUTE
        while not is_so():
            assert self.live.now_ms() < ends_ms, "it does not become so"
            self.go_on(0.1)

    def change(self, statement: str) -> None:
        with self.live.database() as database, database.transaction("change by hand") as tx:
            tx.cursor.execute(statement)

    def end(self, untrue: dict[str, str] | None = None) -> int:
        """End as `--for` does; return the exit code. All that the exchange has is stored, but for `untrue`."""
        until_ms = self.live.now_ms() - 2 * MS_PER_MINUTE
        self.service.stop(10.0)
        self.service.finish()
        assert self.live.untrue(until_ms) == (untrue or {})
        assert not self.service.has_failed
        self.summary = summarize(self.service, "run", 1.0, {}, None, is_backfill_interrupted=False)
        return self.summary.exit_code


@contextmanager
def a_day(
    database_url: str,
    folder: Path,
    *series: Series,
    ends: dict[Series, int] | None = None,
    speed: float = SPEED,
    stall_ms: int = 90_000,
) -> Iterator[LiveMarket]:
    store = CandleStore()
    for one in series:
        last_ms = (ends or {}).get(one, BEGINS_MS + 6 * MS_PER_HOUR)
        store.add(one, generate_series(one, Span(BEGINS_MS - 10 * MS_PER_MINUTE, last_ms), 3))
    store.add(BUSY, generate_series(BUSY, Span(BEGINS_MS, BEGINS_MS + 30 * MS_PER_MINUTE), 3))
    with ReplayExchange(store, ReplayClock(BEGINS_MS + 25_000, speed)) as replay:
        live = LiveMarket(
            database_url, folder, replay, series, BEGINS_MS - 10 * MS_PER_MINUTE, speed, stall_ms=stall_ms
        )
        try:
            yield live
        finally:
            for service in live.services:
                service.stop(2.0)


class Told(logging.Handler):
    """Keeps what this project's own loggers say."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("websockets"):
            self.lines.append(record.getMessage())

    def count(self, text: str) -> int:
        return sum(text in line for line in self.lines)


@pytest.fixture(autouse=True)
def said(request: pytest.FixtureRequest) -> Iterator[Told]:
    """What the service says; at the end of a day its messages are there, and none was said again and again."""
    told, root = Told(), logging.getLogger()
    before = root.level
    root.addHandler(told)
    root.setLevel(logging.INFO)
    yield told
    root.removeHandler(told)
    root.setLevel(before)
    for day in getattr(request.function, "bad_days", ()):
        assert 1 <= told.count(day.message) <= 4 or not day.message, told.lines


@bad_day("handshake refused with 403 or 451", "the exchange refuses connections from here")
def test_a_market_that_is_refused_is_fetched_by_rest(database_url: str, tmp_path: Path) -> None:
    with a_day(database_url, tmp_path, SPOT, UM, CM) as live:
        for market, status in ((Market.UM, 403), (Market.CM, 451)):
            live.replay.streams.faults.add(RefuseHandshake(status), Where(market=market), times=1000)
        day = Day(live)
        day.go_on(4)
        assert len(live.replay.streams.refused) == 2  # not again and again
        assert day.end() == EXIT_EXCHANGE
        assert day.service.counters.healed >= 4
        assert day.summary is not None
        assert "HTTP 403" in str(day.summary.needs) and "HTTP 451" in str(day.summary.needs)


@bad_day("handshake refused with 429 and Retry-After", "HTTP 429")
def test_a_retry_after_is_waited_out_and_the_candles_come_by_rest(database_url: str, tmp_path: Path) -> None:
    with a_day(database_url, tmp_path, SPOT, UM) as live:
        live.replay.streams.faults.add(RefuseHandshake(429, retry_after_s=60), OF_UM, times=2)
        day = Day(live)
        day.wait_for(lambda: day.service.sink.live == 2)
        first, second = [one.at_ms for one in live.replay.streams.refused]
        assert second - first >= 60_000
        assert day.end() == EXIT_OK


@bad_day("a futures socket that is accepted and stays silent", "were accepted and delivered nothing")
def test_a_silent_market_is_found_and_fetched_by_rest(database_url: str, tmp_path: Path) -> None:
    with a_day(database_url, tmp_path, SPOT, UM, stall_ms=30_000) as live:
        live.replay.streams.faults.add(Silence(), OF_UM, times=1000)
        day = Day(live)
        day.wait_for(lambda: day.service.sink.unusable_markets != {})
        day.go_on(1)
        assert len([one for one in live.replay.streams.connections if one.market is Market.UM]) == 3
        assert day.end() == EXIT_EXCHANGE


@bad_day("a machine asleep for three hours", "this program did not run for 10")
@bad_day("the machine's clock set back or ahead by an hour", "the machine's clock was set ahead")
def test_sleep_and_clocks_that_step_cost_no_candle(database_url: str, tmp_path: Path) -> None:
    with a_day(database_url, tmp_path, SPOT, UM) as live:
        day = Day(live)
        day.go_on(1)
        live.replay.streams.faults.add(HalfOpen(), times=2)
        live.replay.clock.advance(3 * MS_PER_HOUR)
        day.wait_for(lambda: day.service.counters.healed >= 2 * 170)
        for hours in (-1, 0):  # back, then ahead
            day.service.healer.want([1, 2])  # waits for its moment when the clock steps
            live.local_ahead_ms = hours * MS_PER_HOUR
            day.wait_for(lambda: day.service.healer.waiting == 0, minutes=5)
        day.wait_for(lambda: day.service.sink.live == 2, minutes=5)
        assert day.end() == EXIT_OK


@bad_day("the database away for ten minutes", "the database is back, closed candles are stored again")
@bad_day("a full disk of the database", "the server's disk is full: make room there")
def test_candles_wait_for_a_database_that_is_away_or_full(database_url: str, tmp_path: Path, said: Told) -> None:
    with a_day(database_url, tmp_path, SPOT, UM, speed=2 * SPEED) as live:
        day = Day(live)
        day.go_on(2)
        live.database_url = f"postgresql://nobody@/nowhere?host={tmp_path}"
        with live.connected_to(database_url) as database, database.transaction("end all others") as tx:
            tx.cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        day.go_on(10)
        held = len(day.service.waiting)
        assert held >= 16
        counters = day.service.counters
        before = counters.stored + counters.already_there
        live.database_url = database_url
        day.wait_for(lambda: counters.stored + counters.already_there >= before + held)
        assert said.count("closed candles wait for the database") <= 5
        day.change(FULL_DISK)
        day.wait_for(lambda: said.count("the server's disk is full") > 0)
        day.change("drop trigger full_disk on public.ohlcv_btcusdt; drop function full_disk")
        day.wait_for(lambda: not day.service.waiting)
        assert day.end() == EXIT_OK


@bad_day("a table dropped while it runs", "is gone or empty")
@bad_day("a table altered while it runs", "was changed, nothing is stored into it")
@bad_day("a symbol delisted while it runs", "delisted, its last candle ended")
def test_tables_and_symbols_that_change_touch_no_other_series(database_url: str, tmp_path: Path, said: Told) -> None:
    ends_ms = BEGINS_MS + 3 * MS_PER_MINUTE
    with a_day(database_url, tmp_path, SPOT, OTHER, THIRD, ends={THIRD: ends_ms}) as live:
        day = Day(live)
        live.wait_until(ends_ms)
        day.wait_for(lambda: day.service.counters.stored >= 3 and day.service.healer.waiting == 0)
        live.replay.store.set_facts(Market.SPOT, "BNBUSDT", SymbolFacts(status="BREAK"))
        day.change("drop table public.ohlcv_btcusdt cascade")
        day.change("alter table public.ohlcv_ethusdt rename column close to closing")
        day.wait_for(lambda: said.count("closed candles of ") > 0)
        day.wait_for(lambda: said.count("was changed, nothing is stored into it") > 0)
        day.change("alter table public.ohlcv_ethusdt rename column closing to close")
        day.wait_for(lambda: not day.service.waiting)
        day.wait_for(lambda: said.count("delisted, its last candle ended") > 0)
        assert day.end() in (EXIT_OK, EXIT_INCOMPLETE)  # the stream that ended may be silent by now


@bad_day("two streams started by mistake", "")
def test_two_streams_share_the_work(database_url: str, tmp_path: Path) -> None:
    with a_day(database_url, tmp_path, SPOT, UM) as live:
        days = [Day(live), Day(live)]
        days[0].go_on(3)
        for day in days:  # one that heals at its end while the other has a series leaves that to the next run: 3
            day.service.stop(10.0)
        assert [day.end() for day in days] == [EXIT_OK, EXIT_OK]
        counters = [day.service.counters for day in days]
        assert sum(one.already_there for one in counters) > 0
        assert sum(one.conflicts for one in counters) == 0


@bad_day("REST that answers nothing while streams are cut", "not healed now, it is tried again")
@pytest.mark.long
def test_many_series_that_cannot_be_healed_are_told_in_a_few_lines(
    database_url: str, tmp_path: Path, said: Told
) -> None:
    many = [parse_series(f"S{number:02}USDT") for number in range(40)]
    with a_day(database_url, tmp_path, *many) as live:
        day = Day(live)
        day.wait_for(lambda: day.service.sink.live == len(many))
        live.replay.faults.add("/api/v3/klines", Answer(400, {"code": -1000, "msg": "unknown"}), times=100_000)
        live.replay.streams.abort()
        day.wait_for(lambda: said.count("not healed now") > 0)
        told = len(said.lines)
        day.go_on(1)
        assert len(said.lines) - told < 12
        live.replay.faults.clear()
        day.wait_for(lambda: day.service.healer.waiting == 0)
        assert day.end() == EXIT_OK


def test_the_document_has_a_row_for_every_bad_day_and_no_other() -> None:
    for module in ("test_stream_bad_days", "test_stream_command"):
        importlib.import_module(module)
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]
    written = {row[0]: (row[2].strip("`"), row[4].strip("`")) for row in rows}
    assert len(written) == len(rows)
    assert written == {day.name: (day.message or "-", day.test) for day in DAYS}
