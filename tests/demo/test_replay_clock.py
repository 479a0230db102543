from __future__ import annotations

import time

import pytest

from demo.clock import ReplayClock


def test_a_clock_of_speed_zero_stands_still() -> None:
    clock = ReplayClock(1_000, speed=0)
    time.sleep(0.01)
    assert clock.now_ms() == 1_000


def test_a_clock_runs_speed_times_as_fast_as_real_time() -> None:
    clock = ReplayClock(0, speed=1_000)
    time.sleep(0.02)
    assert clock.now_ms() >= 20_000


def test_set_and_advance_move_it_at_once() -> None:
    clock = ReplayClock(1_000, speed=0)
    clock.advance(500)
    assert clock.now_ms() == 1_500
    clock.set(10)
    assert clock.now_ms() == 10


def test_a_clock_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ReplayClock(0, speed=-1)
