from __future__ import annotations

import time

import pytest
from fetcher_helpers import NOW_MS, FakeTime

from fetcher.exchange_clock import ExchangeClock
from fetcher.steady import steady_s


def test_it_is_the_machines_time_until_it_has_been_set(fake_time: FakeTime) -> None:
    clock = ExchangeClock(fake_time.now_ms, fake_time.monotonic_s)
    fake_time.sleep(1.5)
    assert clock.now_ms() == NOW_MS + 1500


def test_once_set_it_follows_the_exchange_by_the_monotonic_clock(fake_time: FakeTime) -> None:
    clock = ExchangeClock(fake_time.now_ms, fake_time.monotonic_s)
    fake_time.sleep(10)
    clock.set(1_600_000_000_000)
    assert clock.now_ms() == 1_600_000_000_000
    fake_time.sleep(0.25)
    assert clock.now_ms() == 1_600_000_000_250


def test_a_machine_clock_that_is_put_back_changes_nothing() -> None:
    machine, monotonic = FakeTime(NOW_MS), FakeTime(0)
    clock = ExchangeClock(machine.now_ms, monotonic.monotonic_s)
    machine.clock.set(NOW_MS - 3_600_000)
    monotonic.sleep(2)
    assert clock.now_ms() == NOW_MS + 2000


def test_it_can_be_set_again_also_backwards(fake_time: FakeTime) -> None:
    clock = ExchangeClock(fake_time.now_ms, fake_time.monotonic_s)
    clock.set(NOW_MS + 5000)
    clock.set(NOW_MS - 5000)
    assert clock.now_ms() == NOW_MS - 5000


def test_parts_of_a_millisecond_are_cut_off() -> None:
    seconds = iter([0.0, 1.0009])
    clock = ExchangeClock(lambda: 0, lambda: next(seconds))
    assert clock.now_ms() == 1000


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that goes on in its sleep")
def test_it_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ExchangeClock(lambda: NOW_MS, steady_s)
    awake = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda which: awake(which) + 3 * 3600 * (which == time.CLOCK_BOOTTIME))
    assert 0 <= clock.now_ms() - NOW_MS - 3 * 3_600_000 < 60_000
