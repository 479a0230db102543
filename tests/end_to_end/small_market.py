from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Program, serve

from core.ranges import Span
from core.series import Series, parse_series
from core.times import parse_time
from demo.candle_store import CandleStore, SymbolFacts
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange

LISTED_MS = parse_time("2024-11-28T14:30")
NOW_MS = parse_time("2025-01-09T12:34:20")
HALT = Span(parse_time("2024-12-12T02:00"), parse_time("2024-12-12T05:10"))
BTC = parse_series("BTCUSDT")
SERIES = {
    text: parse_series(text)
    for text in ("BTCUSDT", "ETHUSDT", "BTCUSDT/1h", "BTCUSDT/1M", "um:BTCUSDT/5m", "cm:BTCUSD_PERP/15m")
}


def market() -> CandleStore:
    """Six weeks over a month's and a year's end; spot is halted for three hours; listings in mid-day.

    Each call returns a store of its own; the candles are made once a process.
    """
    return _market().copy()


@functools.cache
def _market() -> CandleStore:
    store = CandleStore()
    for number, series in enumerate(SERIES.values()):
        span = Span(series.interval.floor(LISTED_MS), parse_time("2025-01-12"))
        halts = (HALT,) if series.market == "spot" and series.interval.code in ("1m", "1h") else ()
        store.add(series, generate_series(series, span, number, halts=halts))
        store.set_facts(series.market, series.symbol, SymbolFacts(onboard_ms=LISTED_MS))
    return store


def truth(store: CandleStore, series: Series, start_ms: int = 0, now_ms: int = NOW_MS) -> list[list[object]]:
    """Return the exchange's rows of `series` that have closed at `now_ms`."""
    return [list(row) for row in store.rows(series, start_ms, series.interval.floor(now_ms))]


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return program_in(tmp_path, database_url)


def program_in(folder: Path, url: str) -> Program:
    """Return a program that keeps everything in `folder` and at `url`, and knows no exchange yet."""
    environment = {
        "DATABASE_URL": url,
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "logs"),
        "SYMBOLS_FILE": str(folder / "symbols.yml"),
        "EMBEDDED_PG_DIR": str(folder / "pgdata"),
        # The series of this market are made apart: its hours are not what its minutes make.
        "WITNESS": "off",
        # A test that forgets its exchange must not ask the real one.
        **{name: "http://127.0.0.1:9" for name in ("BINANCE_API_URL", "BINANCE_UM_API_URL", "BINANCE_CM_API_URL")},
        "BINANCE_ARCHIVE_URL": "http://127.0.0.1:9",
        "BINANCE_ARCHIVE_LIST_URL": "http://127.0.0.1:9",
    }
    return Program(folder, environment, url)


@pytest.fixture
def exchange(program: Program) -> Iterator[ReplayExchange]:
    """A replay exchange with the market above, the program pointed at it."""
    with ReplayExchange(market(), ReplayClock(NOW_MS, speed=0.0)) as replay:
        serve(program, replay)
        yield replay
