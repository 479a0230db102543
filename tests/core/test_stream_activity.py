"""Rates of the last minutes, and latencies since a moment."""

from __future__ import annotations

import pytest

from core.latencies import Latencies
from core.stream_activity import Recent


def test_a_rate_is_of_the_last_minute_only() -> None:
    recent: Recent[str] = Recent(0, 60_000)
    for second in range(10, 130, 10):
        recent.note(second * 1000, {"kline": second * 5 if second <= 60 else 300 + (second - 60) * 20})
    assert recent.per_second("kline", 60_000) == pytest.approx(20)
    assert recent.per_second("kline", 10_000) == pytest.approx(20)
    assert recent.per_second("trade", 60_000) == 0


def test_before_a_minute_has_passed_it_is_since_the_beginning_and_a_clock_that_stands_divides_by_nothing() -> None:
    recent: Recent[str] = Recent(1_000, 60_000)
    assert recent.per_second("kline", 60_000) == 0
    recent.note(1_000, {"kline": 5})
    assert recent.per_second("kline", 60_000) == 0
    recent.note(3_000, {"kline": 10})
    assert recent.per_second("kline", 60_000) == pytest.approx(5)


def test_it_keeps_no_more_than_it_needs() -> None:
    recent: Recent[str] = Recent(0, 60_000)
    for second in range(0, 10_000, 10):
        recent.note(second * 1000, {"kline": second})
    assert len(recent._samples) <= 8


def test_latencies_since_a_moment_and_of_several_together() -> None:
    one, other = Latencies(), Latencies()
    for _ in range(100):
        one.add(1_000)
    before = Latencies.together([one])
    for _ in range(100):
        one.add(10)
        other.add(100)
    assert one.since(before).percentile(0.99) == pytest.approx(10, rel=0.13)
    assert one.since(before).count == 100
    assert Latencies.together([one, other]).count == 300
    assert one.percentile(0.99) == pytest.approx(1_000, rel=0.13)
