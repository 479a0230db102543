"""What a live service decides without a clock: late candles, the order of heals, percentiles."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from core.finals_due import LATE_MS, FinalsDue
from core.heal_queue import HealQueue
from core.intervals import INTERVALS
from core.latencies import Latencies

MINUTE = INTERVALS["1m"]
NOON = 1_700_049_600_000


def test_a_candle_is_late_ten_seconds_after_its_end_and_named_once() -> None:
    due = FinalsDue()
    due.watch(1, MINUTE, NOON + 5_000)
    assert due.late(NOON + 60_000 + LATE_MS - 1) == []
    assert due.late(NOON + 60_000 + LATE_MS) == [1]
    assert due.late(NOON + 60_000 + LATE_MS + 1_000) == []
    assert due.late(NOON + 120_000 + LATE_MS) == [1]


def test_a_candle_that_came_is_not_late_and_an_older_one_does_not_count() -> None:
    due = FinalsDue()
    due.watch(1, MINUTE, NOON)
    due.watch(2, MINUTE, NOON)
    due.came(1, NOON)
    due.came(2, NOON - 60_000)
    assert due.late(NOON + 60_000 + LATE_MS) == [2]


def test_what_is_forgotten_is_not_late() -> None:
    due = FinalsDue()
    due.watch(1, MINUTE, NOON)
    due.forget(1)
    due.came(1, NOON)
    assert due.late(NOON + 600_000) == []


def test_series_of_one_cut_are_healed_together_the_longest_waiting_first() -> None:
    queue = HealQueue()
    queue.want([3, 1], 0)
    queue.want([2], 500)
    assert queue.take(3_999, 10) == []
    assert queue.next_due_ms() == 4_000
    assert queue.take(4_500, 2) == [1, 3]
    assert queue.take(4_500, 2) == [2]
    assert len(queue) == 3  # under way


def test_a_heal_in_vain_is_tried_again_ever_more_rarely_until_it_succeeds() -> None:
    queue, now, pauses = HealQueue(), 0, []
    queue.want([1], now)
    for _ in range(12):
        due = queue.next_due_ms()
        assert due is not None
        pauses.append(due - now)
        now = due
        assert queue.take(now, 1) == [1]
        queue.done(1, is_whole=False, now_ms=now)
    assert pauses[:4] == [4_000, 5_000, 10_000, 20_000]
    assert max(pauses) == pauses[-1] == 15 * 60_000
    assert queue.take(now + 15 * 60_000, 1) == [1]
    queue.done(1, is_whole=True, now_ms=now)
    queue.want([1], now)
    assert queue.next_due_ms() == now + 4_000


def test_a_series_that_is_wanted_while_it_is_healed_is_healed_once_more() -> None:
    queue = HealQueue()
    queue.want([1], 0)
    assert queue.take(4_000, 1) == [1]
    queue.want([1], 4_000)
    queue.done(1, is_whole=True, now_ms=4_100)
    assert queue.take(8_000, 1) == [1]


@given(st.lists(st.floats(0.001, 1e7), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_right_to_an_eighth(given_ms: list[float], share: float) -> None:
    latencies = Latencies()
    for ms in given_ms:
        latencies.add(ms)
    ranked = sorted(given_ms)
    exact = ranked[math.ceil(share * len(ranked)) - 1]
    found = latencies.percentile(share)
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.126


def test_no_latency_has_no_percentile() -> None:
    assert Latencies().percentile(0.5) is None
