"""The queue between sockets and database: in order, bounded, and what it drops is said."""

from __future__ import annotations

import threading
import time

import pytest

from core.closed_round import ClosedCandle
from core.series import parse_series
from logic.live import waiting_candles
from logic.live.waiting_candles import WaitingCandle, WaitingCandles

SERIES = parse_series("BTCUSDT")


def candle(series_id: int, minute: int) -> WaitingCandle:
    return WaitingCandle(ClosedCandle(series_id, SERIES, minute * 60_000, ()), 0)


def minutes(taken: list[WaitingCandle]) -> list[tuple[int, int]]:
    return [(one.series_id, one.candle.open_ms // 60_000) for one in taken]


@pytest.fixture
def dropped() -> list[int]:
    return []


@pytest.fixture
def queue(dropped: list[int]) -> WaitingCandles:
    return WaitingCandles(dropped.extend)


def test_candles_of_a_series_stay_in_order(queue: WaitingCandles) -> None:
    for minute in (1, 2, 3):
        queue.put(candle(1, minute))
    queue.put(candle(2, 1))
    assert minutes(queue.take(2, 0.0)) == [(1, 1), (1, 2)]
    queue.give_back([candle(1, 1), candle(1, 2)], 0.0)
    assert sorted(minutes(queue.take(10, 0.0))) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert len(queue) == 0


def test_a_series_that_is_held_back_does_not_hold_back_others(queue: WaitingCandles) -> None:
    queue.give_back([candle(1, 1)], 5.0)
    queue.put(candle(1, 2))
    queue.put(candle(2, 1))
    assert minutes(queue.take(10, 4.9)) == [(2, 1)]
    assert minutes(queue.take(10, 5.0)) == [(1, 1), (1, 2)]


def test_a_full_queue_drops_the_oldest_and_says_whose(
    queue: WaitingCandles, dropped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_candles, "MOST_OF_A_SERIES", 3)
    monkeypatch.setattr(waiting_candles, "MOST", 4)
    for minute in range(4):
        queue.put(candle(1, minute))
    assert dropped == [1]
    queue.put(candle(2, 0))
    queue.put(candle(2, 1))  # too many in all: the longest queue gives
    assert dropped == [1, 1]
    assert sorted(minutes(queue.take(10, 0.0))) == [(1, 2), (1, 3), (2, 0), (2, 1)]
    assert queue.drops == 2


def test_what_is_given_back_to_a_full_queue_is_dropped(
    queue: WaitingCandles, dropped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_candles, "MOST_OF_A_SERIES", 2)
    queue.put(candle(1, 3))
    queue.give_back([candle(1, 1), candle(1, 2)], 0.0)
    assert dropped == [1]
    assert minutes(queue.take(10, 0.0)) == [(1, 2), (1, 3)]


def test_who_waits_is_woken_by_a_candle_and_by_the_end(queue: WaitingCandles) -> None:
    for wake in (lambda: queue.put(candle(1, 1)), queue.close):
        queue.take(10, 0.0)
        waker = threading.Timer(0.02, wake)
        waker.start()
        began = time.monotonic()
        queue.wait(20.0)
        assert time.monotonic() - began < 10
        waker.join()
    assert queue.is_closed


def test_a_candle_that_came_since_the_last_look_is_not_waited_for(queue: WaitingCandles) -> None:
    queue.take(10, 0.0)
    queue.put(candle(1, 1))
    began = time.monotonic()
    queue.wait(20.0)
    assert time.monotonic() - began < 10
