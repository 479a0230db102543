"""`stream` as a user starts and ends it, in real time with candles of a second."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from candles import truth_rows
from program import Program, serve

from core.ranges import Span
from core.series import Series, parse_series
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange

SERIES = [parse_series("BTCUSDT/1s"), parse_series("ETHUSDT/1s"), parse_series("um:BTCUSDT")]
PAST_MS, FUTURE_MS = 10 * 60_000, 5 * 60_000


@pytest.fixture
def live(database_url: str, tmp_path: Path) -> Iterator[Program]:
    """The program beside a replay exchange whose clock is the real one."""
    now_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000 + 17_000
    store = CandleStore()
    for series in SERIES:
        store.add(series, generate_series(series, Span(now_ms - PAST_MS, now_ms + FUTURE_MS), 5))
    with ReplayExchange(store, ReplayClock(now_ms)) as exchange:
        program = Program(
            tmp_path,
            {
                "DATABASE_URL": database_url,
                "STATE_DIR": str(tmp_path / "state"),
                "LOG_DIR": str(tmp_path / "logs"),
                "SYMBOLS_FILE": str(tmp_path / "symbols.yml"),
            },
            database_url,
        )
        serve(program, exchange)
        for market, setting in (("spot", ""), ("um", "UM_"), ("cm", "CM_")):
            program.environment[f"BINANCE_{setting}STREAM_URL"] = exchange.stream_urls[market]
        program.symbols("symbols: [{symbol: BTCUSDT, interval: 1s}, {symbol: ETHUSDT, interval: 1s}, 'um:BTCUSDT']\n")
        yield program


@contextmanager
def running(program: Program, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program while it streams; killed at the end, should it still be there."""
    output = program.folder / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            program.command("stream", *arguments),
            env=program.full_environment(),
            cwd=program.folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def output_of(program: Program) -> str:
    return (program.folder / "output.txt").read_text()


def wait_for_live(program: Program, count: int, longest_s: float = 30.0) -> None:
    """Wait until so many streamed candles of a second are stored, each series without a hole."""
    ends = time.monotonic() + longest_s
    while time.monotonic() < ends:
        series = program.query(
            "select sum(rows) filter (where source = 'stream'), range_agg(tstzrange(span_start, span_end))::text"
            " from public.ohlcv_ledger join public.ohlcv_series as series on series.id = series_id"
            " where \"interval\" = '1s' group by series_id"
        )
        if len(series) == 2 and all((rows or 0) >= count and text.count(",") == 1 for rows, text in series):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing is streamed: {output_of(program)}")


def assert_true_to_the_end(program: Program, series: Series) -> None:
    """What is stored are the exchange's candles, from the first one on without a hole."""
    assert program.exchange is not None
    stored = program.stored(series.table_name)
    truth = truth_rows(program.exchange.store.rows(series, 0, int(str(stored[-1][0])) + 1))
    assert stored == truth


def test_it_fetches_streams_and_ends_after_its_time_with_everything_audited(live: Program) -> None:
    done = live.run("stream", "--for", "8s", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["streamed"] == document["live"] == 3
    assert document["stored"] >= 8
    assert document["unsaved"] == document["conflicts"] == 0
    for series in SERIES:
        assert_true_to_the_end(live, series)
    assert live.run("check", "--quiet").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_what_was_received_is_stored(live: Program, number: signal.Signals) -> None:
    with running(live) as process:
        wait_for_live(live, 6)
        process.send_signal(number)
        told_s = time.monotonic()
        assert process.wait(20) == 0, output_of(live)
        assert time.monotonic() - told_s < 9
    for series in SERIES[:2]:
        assert_true_to_the_end(live, series)
    assert "stored live" in output_of(live)


def test_killed_it_loses_nothing_and_the_next_start_goes_on(live: Program) -> None:
    with running(live) as process:
        wait_for_live(live, 6)
        process.kill()
    before = [len(live.stored(series.table_name)) for series in SERIES[:2]]
    with running(live) as process:
        wait_for_live(live, 12)
        process.terminate()
        assert process.wait(20) == 0, output_of(live)
    for series, rows in zip(SERIES[:2], before, strict=True):
        assert len(live.stored(series.table_name)) > rows
        assert_true_to_the_end(live, series)


def test_a_backfill_and_a_verify_beside_it_end_well(live: Program) -> None:
    with running(live) as process:
        wait_for_live(live, 6)
        for arguments in (["backfill", "--quiet"], ["verify", "--percent", "50", "--quiet"], ["backfill", "--quiet"]):
            done = live.run(*arguments)
            assert done.returncode == 0, done.stdout + done.stderr
        process.terminate()
        assert process.wait(20) == 0, output_of(live)
    for series in SERIES[:2]:
        assert_true_to_the_end(live, series)


def test_nothing_older_than_the_start_is_fetched_without_a_backfill(live: Program) -> None:
    done = live.run("stream", "--symbols", "BTCUSDT/1s", "--no-backfill", "--for", "4s", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    stored = live.stored(SERIES[0].table_name)
    assert 1 <= len(stored) < 60


def test_an_unknown_symbol_is_said_and_the_others_go_on(live: Program) -> None:
    done = live.run("stream", "--symbols", "BTCUSDT/1s", "NOSUCH/1s", "--for", "3s", "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert [one["symbol"] for one in document["left_out"]] == ["NOSUCH"]
    assert document["stored"] >= 1
