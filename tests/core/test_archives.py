"""The days and months that archive files hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.archives import day_of, month_of
from core.times import MS_PER_DAY, parse_time

instants = st.integers(parse_time("2017-08-17"), parse_time("2035-01-01"))


@given(instants)
def test_a_month_holds_its_instants_and_is_a_calendar_month(ms: int) -> None:
    span = month_of(ms).span
    assert span.start_ms <= ms < span.end_ms
    assert 28 * MS_PER_DAY <= span.end_ms - span.start_ms <= 31 * MS_PER_DAY
    assert month_of(span.start_ms) == month_of(span.end_ms - 1) != month_of(span.end_ms)


@given(instants)
def test_a_day_holds_its_instants_and_is_24_hours_long(ms: int) -> None:
    span = day_of(ms).span
    assert span.start_ms <= ms < span.end_ms == span.start_ms + MS_PER_DAY
    assert span.start_ms % MS_PER_DAY == 0
