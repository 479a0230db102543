"""A running replay exchange for each test that wants one, and one generated market for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from core.ranges import Span
from core.series import parse_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import DEFAULT_SPAN, generate_market, generate_series
from demo.server import ReplayExchange

RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def recorded_folder() -> Path:
    if not RECORDED.is_dir():
        pytest.skip("the recorded Binance data is not on this machine")
    return RECORDED


@pytest.fixture(scope="session")
def market() -> CandleStore:
    return generate_market(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms)


@pytest.fixture
def run() -> Iterator[Callable[..., ReplayExchange]]:
    """Start an exchange over a store; it is stopped when the test ends. The clock stands still at `now`."""
    with ExitStack() as stack:

        def start(store: CandleStore, now: str, **options: Any) -> ReplayExchange:
            clock = ReplayClock(parse_time(now), speed=0)
            return stack.enter_context(ReplayExchange(store, clock, **options))

        yield start


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture
def make_store() -> Callable[[str, str, str], CandleStore]:
    """Return a store with one generated series: notation, start and end as ISO text."""

    def make(notation: str, start: str, end: str) -> CandleStore:
        store = CandleStore()
        series = parse_series(notation)
        store.add(series, generate_series(series, Span(parse_time(start), parse_time(end))))
        return store

    return make


@pytest.fixture
def live() -> Iterator[Callable[..., ReplayExchange]]:
    """Start an exchange over a store whose clock begins at `now` and runs `speed` times as fast as real time."""
    with ExitStack() as stack:

        def start(store: CandleStore, now: str, speed: float = 0.0) -> ReplayExchange:
            return stack.enter_context(ReplayExchange(store, ReplayClock(parse_time(now), speed=speed)))

        yield start
