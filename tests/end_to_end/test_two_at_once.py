"""Overlapping runs on one database: no deadlock, nothing lost, nothing doubled, the documented exit codes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from candles import truth_rows
from forked_program import ForkedRun
from program import Program, serve
from small_market import NOW_MS, SERIES, market, truth

from core.times import parse_time
from demo.clock import ReplayClock
from demo.faults import Answer, Stall
from demo.server import ReplayExchange
from demo.weights import WeightLimits

START = "2025-01-05"
START_MS = parse_time(START)
BY_REST = ("--symbols", "BTCUSDT", "--start", START, "--source", "rest")
TIMEOUT_S = 60


class Runs:
    """Processes of the program, their outputs in files, all of them ended when the test ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[str] | ForkedRun] = []

    def start(self, program: Program, *arguments: str) -> int:
        number = len(self._processes)
        output = self._folder / f"run{number}.txt"
        self._processes.append(program.start_writing(output, *arguments))
        return number

    def wait(self) -> list[int]:
        """Return the exit codes. Two runs that wait for each other would never end."""
        until = time.monotonic() + TIMEOUT_S
        codes = [process.wait(max(0.1, until - time.monotonic())) for process in self._processes]
        for number in range(len(codes)):
            said = self.said(number)
            assert "Traceback" not in said and "deadlock" not in said, said[-3_000:]
        return codes

    def said(self, number: int) -> str:
        return (self._folder / f"run{number}.txt").read_text()

    def end_all(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    started = Runs(tmp_path)
    yield started
    started.end_all()


def other_machine(program: Program, name: str) -> Program:
    """The same database and exchange from folders of its own."""
    folder = program.folder / name
    folder.mkdir()
    places = {
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "logs"),
        "SYMBOLS_FILE": str(folder / "symbols.yml"),
    }
    return replace(program, folder=folder, environment={**program.environment, **places}, settings={})


def assert_truth(program: Program, exchange: ReplayExchange, *names: str, start_ms: int = START_MS) -> None:
    for name in names:
        series = SERIES[name]
        assert program.stored(series.table_name) == truth_rows(truth(exchange.store, series, start_ms)), name


def assert_ledger_is_single(program: Program) -> None:
    """No span is recorded twice, and the recorded rows are those stored."""
    overlapping = program.query(
        "select * from public.ohlcv_ledger a join public.ohlcv_ledger b on a.series_id = b.series_id"
        " and a.ctid < b.ctid and a.span_start < b.span_end and b.span_start < a.span_end"
    )
    assert overlapping == []
    for series_id, table, rows in program.query(
        "select s.id, table_name, coalesce(sum(rows), 0)::bigint from public.ohlcv_series s"
        " left join public.ohlcv_ledger on series_id = s.id group by 1, 2"
    ):
        if program.query(f"select to_regclass('public.{table}') is not null") == [(True,)]:
            assert program.query(f"select count(*) from public.{table}") == [(rows,)], (series_id, table)


def wait_for_requests(exchange: ReplayExchange, count: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while exchange.count("klines") < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_two_backfills_of_one_series_share_the_work_and_lose_nothing(
    program: Program, exchange: ReplayExchange, runs: Runs
) -> None:
    program.run_json(*BY_REST)
    needed = exchange.count("klines")
    program.query("drop table public.ohlcv_btcusdt cascade")
    program.query("delete from public.ohlcv_ledger; delete from public.ohlcv_gaps; delete from public.ohlcv_series")
    exchange.clear_requests()
    exchange.faults.add("klines", Stall(0.2), times=1000)
    for _ in range(2):
        runs.start(program, *BY_REST)
    codes = sorted(runs.wait())
    assert codes in ([0, 4], [0, 0])
    # What a chunk takes may be asked for twice, by a run that meets the other's end; nothing more.
    assert exchange.count("klines") <= needed + 4
    assert_truth(program, exchange, "BTCUSDT")
    assert_ledger_is_single(program)


def test_the_second_run_ends_with_4_while_the_first_is_at_work_and_asks_nothing(
    program: Program, exchange: ReplayExchange, runs: Runs
) -> None:
    exchange.faults.add("klines", Stall(3), after=2)
    runs.start(program, *BY_REST)
    wait_for_requests(exchange, 3)
    asked = exchange.count("klines")
    second = program.run_json(*BY_REST, expect=4)
    assert second["series"][0]["outcome"] == "locked"
    assert exchange.count("klines") - asked <= 8  # the first run's own, read ahead
    assert runs.wait() == [0]
    assert_truth(program, exchange, "BTCUSDT")
    assert_ledger_is_single(program)


def test_a_backfill_by_hand_beside_cron_takes_its_series_and_cron_the_rest(
    program: Program, exchange: ReplayExchange, runs: Runs
) -> None:
    names = ["BTCUSDT", "ETHUSDT", "BTCUSDT/1h", "um:BTCUSDT/5m"]
    program.symbols(f"defaults: {{start: {START}}}\nsymbols: {names}\n")
    exchange.faults.add("klines", Stall(2), times=3, after=1)
    runs.start(program, *BY_REST)
    wait_for_requests(exchange, 1)
    cron = program.run("--json")
    assert cron.returncode in (0, 4), cron.stderr
    assert runs.wait() == [0]
    assert program.run("--json").returncode == 0
    assert_truth(program, exchange, *names)
    assert_ledger_is_single(program)


def test_a_heal_beside_a_backfill_loses_nothing(program: Program, exchange: ReplayExchange, runs: Runs) -> None:
    names = ("BTCUSDT", "ETHUSDT")
    program.run_json("--symbols", *names, "--start", START, "--end", "2025-01-07")
    for name in names:
        program.query(f"delete from public.{SERIES[name].table_name} where time < '2025-01-05 02:00Z'")
    exchange.faults.add("klines", Stall(0.3), times=1000)
    runs.start(program, "--symbols", *names, "--start", START)
    runs.start(program, "check", "--heal")
    backfill, heal = runs.wait()
    assert backfill in (0, 4) and heal in (0, 3, 4), (runs.said(0), runs.said(1))
    assert program.run("--symbols", *names, "--start", START).returncode == 0
    assert program.run("check", "--heal").returncode == 0
    assert_truth(program, exchange, *names)


@pytest.mark.long
def test_a_repair_beside_a_backfill_loses_nothing(program: Program, exchange: ReplayExchange, runs: Runs) -> None:
    names = ("BTCUSDT", "BTCUSDT/1h")
    program.run_json("--symbols", *names, "--start", START, "--end", "2025-01-08")
    for name in names:
        program.query(f"update public.{SERIES[name].table_name} set close = high where time < '2025-01-05 06:00Z'")
    exchange.faults.add("klines", Stall(0.3), times=1000)
    runs.start(program, "verify", "--repair", "--against", "rest")
    runs.start(program, "--symbols", *names, "--start", START)
    repair, backfill = runs.wait()
    assert repair in (0, 3, 4) and backfill in (0, 4), (runs.said(0), runs.said(1))
    assert program.run("--symbols", *names, "--start", START).returncode == 0
    assert program.run("verify", "--repair").returncode in (0, 3)
    assert program.run("verify").returncode == 0
    assert_truth(program, exchange, *names)
    assert program.run("check").returncode == 0


def test_two_machines_on_one_database_agree(program: Program, exchange: ReplayExchange, runs: Runs) -> None:
    there = other_machine(program, "there")
    names = ["BTCUSDT", "ETHUSDT", "BTCUSDT/1h"]
    for one, order in ((program, names), (there, names[::-1])):
        one.symbols(f"defaults: {{start: {START}}}\nsymbols: {order}\n")
        runs.start(one)
    codes = runs.wait()
    assert set(codes) <= {0, 4}, [runs.said(number) for number in range(len(codes))]
    # Each then goes on from where the other left it, with an old state file or with none.
    for one in (there, program):
        assert one.run().returncode == 0
        assert {path.name for path in (one.folder / "state").glob("spot_*.json")} == {
            "spot_BTCUSDT_1m.json", "spot_ETHUSDT_1m.json", "spot_BTCUSDT_1h.json"
        }  # fmt: skip
    assert_truth(program, exchange, *names)
    assert_ledger_is_single(program)
    assert program.run("check").returncode == 0


@pytest.mark.parametrize("isolation", [pytest.param("read committed", marks=pytest.mark.long), "serializable"])
def test_ten_starts_at_once_on_an_empty_database(
    program: Program, exchange: ReplayExchange, runs: Runs, empty_database_url: str, isolation: str
) -> None:
    program.settings["DATABASE_URL"] = program.database_url = empty_database_url
    name = empty_database_url.split("@/")[1].split("?")[0]
    program.query(f"alter database {name} set default_transaction_isolation = '{isolation}'")
    short = ("--start", "2025-01-09T10:00", "--symbols")
    for number in range(10):
        command = (
            ["check"] if number == 9 else [*short, *(["BTCUSDT", "ETHUSDT"] if number % 2 else ["ETHUSDT", "BTCUSDT"])]
        )
        runs.start(program, *command)
    codes = runs.wait()
    # A check that meets what others have just begun may find it unfinished.
    assert set(codes[:9]) <= {0, 4} and codes[9] in (0, 3), (codes, [runs.said(n)[-600:] for n in range(10)])
    assert program.run(*short, "BTCUSDT", "ETHUSDT").returncode == 0
    assert_truth(program, exchange, "BTCUSDT", "ETHUSDT", start_ms=parse_time("2025-01-09T10:00"))
    assert_ledger_is_single(program)
    migrations = program.query("select version, count(*) from public.ohlcv_migrations group by 1")
    assert all(count == 1 for _, count in migrations)


def test_a_run_that_is_killed_leaves_no_lock_to_the_next(
    program: Program, exchange: ReplayExchange, runs: Runs
) -> None:
    exchange.faults.add("klines", Stall(30), after=3)
    runs.start(program, *BY_REST)
    wait_for_requests(exchange, 4)
    runs.end_all()
    exchange.faults.clear()
    until = time.monotonic() + 10
    while (code := program.run(*BY_REST).returncode) == 4:  # the server notices the closed socket in its own time
        assert time.monotonic() < until
    assert code == 0
    assert_truth(program, exchange, "BTCUSDT")
    assert_ledger_is_single(program)


def test_a_retry_after_holds_for_every_run_on_the_machine(
    program: Program, exchange: ReplayExchange, runs: Runs
) -> None:
    exchange.clock = exchange._routes._clock = ReplayClock(NOW_MS, speed=1.0)
    program.settings["DEFAULT_LIMIT"] = "200"
    exchange.faults.add("klines?symbol=ETHUSDT", Stall(0.4), times=1000)  # under way for long
    refusal = Answer(429, {"code": -1003, "msg": "Too much request weight used."}, {"Retry-After": "3"})
    exchange.faults.add("klines?symbol=BTCUSDT", refusal)
    runs.start(program, "--symbols", "ETHUSDT", "--start", "2025-01-07", "--source", "rest")
    wait_for_requests(exchange, 4)
    runs.start(program, "--symbols", "BTCUSDT", "--start", "2025-01-07", "--source", "rest")
    assert runs.wait() == [0, 0]
    requests = sorted(exchange.requests, key=lambda one: one.at_ms)
    (told_ms,) = [one.at_ms for one in requests if one.status == 429]
    asked = {name: [one.at_ms for one in requests if one.params.get("symbol") == name] for name in SERIES}
    assert any(ms < told_ms for ms in asked["ETHUSDT"]) and any(ms > told_ms for ms in asked["ETHUSDT"])
    # What was on its way when the 429 came could not be held back, and on a busy machine the word takes a while.
    on_its_way_ms = 1_500
    assert not [one for one in requests if told_ms + on_its_way_ms < one.at_ms < told_ms + 3_000]
    assert_truth(program, exchange, "BTCUSDT", "ETHUSDT", start_ms=parse_time("2025-01-07"))


def test_two_machines_at_one_address_keep_one_budget(program: Program, runs: Runs) -> None:
    """The clock stands still, so the minute never turns: what both use of it together is all that they may use."""
    limits = WeightLimits(spot=300, futures=300)
    with ReplayExchange(market(), ReplayClock(NOW_MS, speed=0.0), weight_limits=limits, latency_s=0.3) as exchange:
        serve(program, exchange)
        for machine, name in ((program, "BTCUSDT"), (other_machine(program, "two"), "ETHUSDT")):
            machine.settings["DEFAULT_LIMIT"] = "20"  # each would need more than the exchange gives to both
            runs.start(machine, "--symbols", name, "--start", START, "--source", "rest")
        until = time.monotonic() + TIMEOUT_S
        while not all(exchange_asks(exchange, name) for name in ("BTCUSDT", "ETHUSDT")):
            assert time.monotonic() < until
            time.sleep(0.1)
        used, before = -1, -2
        while used != before:
            time.sleep(2)
            used, before = sum(one.weight for one in exchange.requests), used
        assert {one.status for one in exchange.requests} == {200}
        unreserved = 2  # `/time`, which both ask before they know the exchange's minute
        assert 0.7 * 300 < used - unreserved <= 0.8 * 300


def exchange_asks(exchange: ReplayExchange, name: str) -> int:
    return sum(one.params.get("symbol") == name for one in exchange.requests)
