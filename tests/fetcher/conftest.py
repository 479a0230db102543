"""The REST client, the archive client and the replay exchange, all on one fake clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import responses
from fetcher_helpers import SHARED_DATA, FakeTime, rest_of

from core.binance.rules import PUBLISHED_WEIGHT_PER_MINUTE
from core.instrument import Market
from demo.candle_store import CandleStore
from demo.server import ReplayExchange
from fetcher.ban_file import BanFile
from fetcher.binance.archive import ArchiveClient
from fetcher.binance.rest import BinanceRest
from fetcher.weight_budget import WeightBudget


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the recorded Binance data is not on this machine")
    return SHARED_DATA


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def ban_path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bans.json"


@pytest.fixture
def make_rest(fake_time: FakeTime, ban_path: Path) -> Callable[..., BinanceRest]:
    """Return a function that makes the REST client of a market, as a new process would: with its own ban file."""

    def make(market: Market, url: str, *, limit: int | None = None, budget: WeightBudget | None = None) -> BinanceRest:
        weight = PUBLISHED_WEIGHT_PER_MINUTE[market]
        budget = budget or WeightBudget(weight, 1.0, fake_time.now_ms, fake_time.monotonic_s, fake_time.sleep)
        return rest_of(market, url, budget, BanFile(ban_path, fake_time.now_ms), fake_time, limit=limit)

    return make


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Answers for single branches; a request without one fails as a connection does."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def run(fake_time: FakeTime) -> Iterator[Callable[..., ReplayExchange]]:
    """Start a replay exchange on the fake clock over a store; it is stopped when the test ends."""
    with ExitStack() as stack:

        def start(store: CandleStore, **options: Any) -> ReplayExchange:
            return stack.enter_context(ReplayExchange(store, fake_time.clock, **options))

        yield start


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "state" / "downloads"


@pytest.fixture
def make_archives(fake_time: FakeTime, downloads: Path) -> Callable[..., ArchiveClient]:
    def make(base_url: str, list_url: str) -> ArchiveClient:
        return ArchiveClient(
            base_url, list_url, downloads, connections=2, sleep=fake_time.sleep, monotonic_s=fake_time.monotonic_s
        )

    return make
