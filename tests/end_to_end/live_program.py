"""The program as it streams candles of a second in real time, beside a replay exchange whose clock is the real one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from candles import truth_rows
from forked_program import ForkedRun
from program import BACKEND, Program, serve

from core.ranges import Span
from core.series import Series, parse_series
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange

SERIES = [parse_series("BTCUSDT/1s"), parse_series("ETHUSDT/1s"), parse_series("um:BTCUSDT")]
OF_A_SECOND = SERIES[:2]
PAST_MS, FUTURE_MS = 5 * 60_000, 5 * 60_000

Running = subprocess.Popen[str] | ForkedRun


@pytest.fixture
def live(database_url: str, tmp_path: Path) -> Iterator[Program]:
    """The program with `SERIES` in its symbols.yml."""
    with live_program(database_url, tmp_path) as program:
        yield program


@contextmanager
def live_program(database_url: str, tmp_path: Path) -> Iterator[Program]:
    """The program with `SERIES` in its symbols.yml, for five minutes from now."""
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
def running(program: Program, *arguments: str, output: str = "output.txt") -> Iterator[Running]:
    """The program while it streams, with all it says in `output`; killed at the end, should it still be there."""
    process = program.start_writing(program.folder / output, "stream", *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def output_of(program: Program, output: str = "output.txt") -> str:
    """What it has said so far."""
    return (program.folder / output).read_text()


def streamed(program: Program, series: Sequence[Series] = OF_A_SECOND) -> dict[str, tuple[int, int]]:
    """Return for each series how many streamed candles are stored, and in how many stretches its candles are."""
    found = program.query(
        "select symbol || '/' || \"interval\", coalesce(sum(rows) filter (where source = 'stream'), 0),"
        " cardinality(array(select unnest(range_agg(tstzrange(span_start, span_end)))))"
        " from public.ohlcv_ledger join public.ohlcv_series as series on series.id = series_id group by 1"
    )
    known = {name: (int(rows), stretches) for name, rows, stretches in found}
    return {str(one): known.get(str(one), (0, 0)) for one in series}


def kill(program: Program, process: Running) -> None:
    """Kill it and wait until the server has noticed, and freed its series."""
    process.kill()
    ends = time.monotonic() + 10
    while program.query(f"select 1 from pg_stat_activity where {BACKEND}") and time.monotonic() < ends:
        time.sleep(0.05)


def most_streamed(program: Program) -> int:
    """Return the most that is streamed of a series so far."""
    return max(rows for rows, _ in streamed(program).values())


def wait_for_live(
    program: Program, count: int, longest_s: float = 30.0, series: Sequence[Series] = OF_A_SECOND
) -> None:
    """Wait until so many streamed candles of each series are stored, each series without a hole."""
    ends = time.monotonic() + longest_s
    while time.monotonic() < ends:
        if all(rows >= count and stretches == 1 for rows, stretches in streamed(program, series).values()):
            return
        time.sleep(0.1)
    raise AssertionError(f"not streamed: {streamed(program, series)}\n{output_of(program)}")


def assert_true_to_the_end(program: Program, series: Series) -> None:
    """What is stored are the exchange's candles, from the first one on without a hole."""
    assert program.exchange is not None
    stored = program.stored(series.table_name)
    truth = truth_rows(program.exchange.store.rows(series, 0, int(str(stored[-1][0])) + 1))
    assert stored == truth
