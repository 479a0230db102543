"""The circuit of a host in its file, and a REST client that leaves a host alone which is away for an hour."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from fetcher_helpers import NOW_MS, FakeTime
from stored_series import addresses_of

from core.errors import ExchangeUnavailable
from core.instrument import Market
from core.ranges import Span
from core.series import parse_series
from demo.candle_store import CandleStore
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from fetcher.circuit_file import CircuitFile

BTC = parse_series("BTCUSDT")
HOST = "http://exchange"


def small_store() -> CandleStore:
    """What an exchange that answers has at least: a symbol."""
    store = CandleStore()
    store.add(BTC, generate_series(BTC, Span(NOW_MS - 600_000, NOW_MS), 1))
    return store


@pytest.fixture
def circuit(tmp_path: Path, fake_time: FakeTime) -> Callable[[], CircuitFile]:
    """Return a function that opens the file as another process would."""
    return lambda: CircuitFile(tmp_path / "state" / "circuits.json", HOST, fake_time.now_ms)


def test_it_is_shared_refuses_with_the_time_of_the_trial_and_an_answer_closes_it(
    circuit: Callable[[], CircuitFile], tmp_path: Path, fake_time: FakeTime
) -> None:
    for _ in range(5):
        circuit().refuse_while_open()
        circuit().failed()
    with pytest.raises(ExchangeUnavailable, match=f"{HOST} .* left alone until 2024-06-01T12:00:30Z"):
        circuit().refuse_while_open()
    CircuitFile(tmp_path / "state" / "circuits.json", "http://other", fake_time.now_ms).refuse_while_open()
    fake_time.sleep(30)
    circuit().refuse_while_open()  # the trial
    with pytest.raises(ExchangeUnavailable):
        circuit().refuse_while_open()
    circuit().answered()
    circuit().refuse_while_open()
    assert not (tmp_path / "state" / "circuits.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"http://exchange": {"failed_ms": 1}}', '{"http://exchange": []}'])
def test_a_file_that_is_damaged_counts_as_none(
    circuit: Callable[[], CircuitFile], tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "circuits.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        circuit().refuse_while_open()
    assert "is unreadable and is ignored" in caplog.text
    circuit().failed()


def test_where_nothing_can_be_written_requests_go_on(
    circuit: Callable[[], CircuitFile], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    for _ in range(6):
        circuit().refuse_while_open()
        circuit().failed()
    assert "cannot be kept" in caplog.text


def test_a_market_that_is_down_for_an_hour_gets_at_most_twenty_requests_and_is_back_with_one_trial(
    tmp_path: Path, fake_time: FakeTime
) -> None:
    with ReplayExchange(small_store(), fake_time.clock) as replay:
        addresses = dataclasses.replace(addresses_of(replay, tmp_path), breaks_circuit=True)

        def opens() -> bool:
            """Whether the market can be opened now, as by a live process that begins a heal."""
            try:
                BinanceExchange(addresses, fake_time.sleep, fake_time.now_ms).open_market(Market.SPOT, None)
            except ExchangeUnavailable:
                return False
            return True

        assert opens()
        replay.faults.add("/api/v3/", Answer(503), times=10_000)
        began_ms = fake_time.now_ms()
        while fake_time.now_ms() < began_ms + 3_600_000:
            assert not opens()
            fake_time.sleep(5)
        assert 5 <= 10_000 - replay.faults.pending() <= 20
        replay.faults.clear()
        fake_time.sleep(600)
        assert opens()
        assert not (tmp_path / "exchange_circuits.json").exists()


def test_too_many_requests_are_no_failure_of_the_host(tmp_path: Path, fake_time: FakeTime) -> None:
    with ReplayExchange(small_store(), fake_time.clock) as replay:
        addresses = dataclasses.replace(addresses_of(replay, tmp_path), breaks_circuit=True)
        replay.faults.add("/api/v3/time", Answer(429, headers={"Retry-After": "0"}), times=5)
        BinanceExchange(addresses, fake_time.sleep, fake_time.now_ms).open_market(Market.SPOT, None)
