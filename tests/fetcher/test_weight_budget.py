from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from fetcher_helpers import NOW_MS, FakeTime
from hypothesis import given
from hypothesis import strategies as st

from fetcher.exchange_clock import ExchangeClock
from fetcher.weight_budget import WeightBudget

MINUTE_MS = 60_000
MINUTE = NOW_MS // MINUTE_MS


def budget_of(time: FakeTime, limit: int = 100, share: float = 1.0) -> WeightBudget:
    return WeightBudget(limit, share, time.now_ms, time.monotonic_s, time.sleep)


def test_what_fits_goes_at_once_and_is_counted(fake_time: FakeTime) -> None:
    budget = budget_of(fake_time)
    assert [budget.acquire(40), budget.acquire(60)] == [MINUTE, MINUTE]
    assert fake_time.waits == []
    assert budget.total_used == 100


def test_what_does_not_fit_waits_for_the_next_utc_minute(fake_time: FakeTime) -> None:
    fake_time.clock.advance(45_000)
    budget = budget_of(fake_time)
    budget.acquire(99)
    assert budget.acquire(2) == MINUTE + 1
    assert 15.0 <= fake_time.waits[0] <= 16.0
    assert len(fake_time.waits) == 1


def test_only_the_share_of_the_limit_is_used(fake_time: FakeTime) -> None:
    budget = budget_of(fake_time, limit=100, share=0.25)
    assert budget.allowed_per_minute == 25
    budget.acquire(25)
    assert fake_time.waits == []
    assert budget.acquire(1) == MINUTE + 1


def test_a_new_minute_begins_with_nothing_used(fake_time: FakeTime) -> None:
    budget = budget_of(fake_time)
    budget.acquire(100)
    fake_time.clock.advance(MINUTE_MS)
    assert budget.acquire(100) == MINUTE + 1
    assert fake_time.waits == []


def test_a_request_heavier_than_the_budget_goes_alone(fake_time: FakeTime) -> None:
    budget = budget_of(fake_time, limit=10)
    budget.acquire(1)
    assert budget.acquire(20) == MINUTE + 1
    assert budget.acquire(1) == MINUTE + 2


def test_the_limit_that_the_exchange_publishes_is_taken_over_with_the_share(fake_time: FakeTime) -> None:
    budget = budget_of(fake_time, limit=10, share=0.5)
    budget.set_limit(100)
    assert budget.allowed_per_minute == 50
    budget.acquire(50)
    assert fake_time.waits == []
    assert budget.acquire(1) == MINUTE + 1


class TestTheExchangesCount:
    def test_a_higher_one_is_taken_over(self, fake_time: FakeTime) -> None:
        budget = budget_of(fake_time)
        budget.correct(budget.acquire(1), 99)
        budget.acquire(1)
        assert fake_time.waits == []
        assert budget.acquire(1) == MINUTE + 1

    def test_a_lower_one_is_not(self, fake_time: FakeTime) -> None:
        """Requests that are on their way are not in it yet."""
        budget = budget_of(fake_time)
        budget.acquire(60)
        budget.correct(budget.acquire(40), 60)
        assert budget.acquire(1) == MINUTE + 1

    def test_one_of_a_minute_that_is_over_is_left_out(self, fake_time: FakeTime) -> None:
        budget = budget_of(fake_time)
        minute = budget.acquire(1)
        fake_time.clock.advance(MINUTE_MS)
        budget.acquire(1)
        budget.correct(minute, 100)
        assert budget.acquire(99) == MINUTE + 1

    def test_it_does_not_count_as_used_by_this_program(self, fake_time: FakeTime) -> None:
        budget = budget_of(fake_time)
        budget.correct(budget.acquire(3), 90)
        assert budget.total_used == 3


class TestAPause:
    def test_nothing_goes_before_its_end(self, fake_time: FakeTime) -> None:
        budget = budget_of(fake_time)
        budget.pause(7)
        budget.acquire(1)
        assert fake_time.now_ms() == NOW_MS + 7000

    def test_it_may_reach_over_several_minutes(self, fake_time: FakeTime) -> None:
        budget = budget_of(fake_time)
        budget.acquire(100)
        budget.pause(150)
        assert budget.acquire(1) == MINUTE + 2
        assert sum(fake_time.waits) == 150

    def test_a_shorter_one_does_not_shorten_a_longer_one(self, fake_time: FakeTime) -> None:
        budget = budget_of(fake_time)
        budget.pause(30)
        budget.pause(2)
        budget.acquire(1)
        assert fake_time.now_ms() == NOW_MS + 30_000


@given(
    limit=st.integers(1, 200),
    share=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    steps=st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 70_000), st.none() | st.integers(0, 250)), min_size=1, max_size=40
    ),
)
def test_no_minute_holds_more_than_the_share_of_the_limit(
    limit: int, share: float, steps: list[tuple[int, int, int | None]]
) -> None:
    time = FakeTime(NOW_MS + 31_007)
    budget = budget_of(time, limit, share)
    counted: dict[int, list[int]] = defaultdict(list)
    for weight, idle_ms, used_by_exchange in steps:
        time.clock.advance(idle_ms)
        minute = budget.acquire(weight)
        assert minute == time.now_ms() // MINUTE_MS  # it is sent in the minute in which it is counted
        counted[minute].append(weight)
        if used_by_exchange is not None:
            budget.correct(minute, used_by_exchange)
    for weights in counted.values():
        assert sum(weights) <= limit * share or len(weights) == 1
    assert all(wait <= 60.5 for wait in time.waits)


@given(weights=st.lists(st.integers(1, 30), min_size=2, max_size=20), before=st.integers(0, 58_999))
def test_no_wait_is_longer_than_needed(weights: list[int], before: int) -> None:
    """What is sent in the last second of a minute counts in the next one too, and so may wait longer."""
    time = FakeTime(NOW_MS + before)
    budget = budget_of(time, limit=50)
    minutes = [budget.acquire(weight) for weight in weights]
    filled, expected = 0, MINUTE
    for weight, minute in zip(weights, minutes, strict=True):
        if filled + weight > 50:
            filled, expected = 0, expected + 1
        filled += weight
        assert minute == expected


@pytest.mark.parametrize("workers", [2, 8])
def test_threads_together_stay_inside_the_budget(fake_time: FakeTime, workers: int) -> None:
    budget = budget_of(fake_time, limit=50, share=0.8)
    counted: dict[int, int] = defaultdict(int)
    lock, together = threading.Lock(), threading.Barrier(workers)

    def work(seed: int) -> None:
        together.wait()
        for step in range(60):
            weight = 1 + (seed + step) % 10
            minute = budget.acquire(weight)
            with lock:
                counted[minute] += weight

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counted.values()) == budget.total_used
    assert max(counted.values()) <= 40


def test_a_pause_is_not_prolonged_when_the_clock_is_set_back(fake_time: FakeTime) -> None:
    """A machine two years ahead, told to wait a second before it learned the exchange's time, once waited for ever."""
    clock = ExchangeClock(lambda: fake_time.now_ms() + 2 * 365 * 86_400_000, fake_time.monotonic_s)
    budget = WeightBudget(100, 1.0, clock.now_ms, fake_time.monotonic_s, fake_time.sleep)
    budget.pause(1.0)
    clock.set(fake_time.now_ms())
    before_ms = fake_time.now_ms()
    budget.acquire(1)
    assert 1_000 <= fake_time.now_ms() - before_ms < 2_000


def test_what_is_not_reserved_at_once_is_reserved_with_the_next_request_of_its_minute(fake_time: FakeTime) -> None:
    asked: list[tuple[int, int, int]] = []

    def reserve(minute: int, wanted: int, allowed: int) -> int:
        asked.append((minute, wanted, allowed))
        return wanted

    budget = budget_of(fake_time)
    budget.share(reserve)
    minute = budget.acquire(1, reserved=False)
    assert asked == []
    budget.acquire(4)
    assert asked == [(minute, 5, 100)]


def test_a_wrong_minute_before_the_clock_is_set_is_told_to_no_other_run(fake_time: FakeTime) -> None:
    asked: list[int] = []
    budget = budget_of(fake_time)
    budget.share(lambda minute, wanted, allowed: asked.append(minute) or wanted)
    wrong = budget.acquire(1, reserved=False)
    fake_time.clock.advance(5 * 3_600_000)
    right = budget.acquire(4)
    assert asked == [right] and right != wrong
