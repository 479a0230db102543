"""The four guards that keep an unfinished candle out, each by itself."""

from __future__ import annotations

import pytest
from core_samples import batch_at
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch
from core.closing import (
    ARCHIVES_UNSETTLED_MS,
    CLOSE_SETTLE_MS,
    UNSETTLED_MS,
    closed_end,
    closed_part_of_file,
    is_unsettled,
    refuse_open,
    unsettled_tail,
)
from core.errors import UnusableAnswer
from core.intervals import INTERVALS, Interval
from core.ranges import Span
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time

HOUR, WEEK, MONTH = INTERVALS["1h"], INTERVALS["1w"], INTERVALS["1M"]
NOON = parse_time("2024-02-07T12:00")
any_interval = st.sampled_from(list(INTERVALS.values()))
instants = st.integers(parse_time("2017-08-17"), parse_time("2035-01-01"))


# 1. No plan reaches beyond the last closed candle


@pytest.mark.parametrize(("late_ms", "hours"), [(0, -1), (CLOSE_SETTLE_MS - 1, -1), (CLOSE_SETTLE_MS, 0)])
def test_a_candle_counts_as_closed_three_seconds_after_its_end(late_ms: int, hours: int) -> None:
    assert closed_end(HOUR, NOON + late_ms) == NOON + hours * MS_PER_HOUR


def test_a_month_closes_with_its_calendar_month() -> None:
    assert closed_end(MONTH, parse_time("2024-03-01T00:00:02")) == parse_time("2024-02-01")
    assert closed_end(MONTH, parse_time("2024-03-01T00:00:03")) == parse_time("2024-03-01")


@given(any_interval, instants)
def test_the_closed_end_is_the_last_open_time_that_is_settled(interval: Interval, now_ms: int) -> None:
    end_ms = closed_end(interval, now_ms)
    assert interval.floor(end_ms) == end_ms <= now_ms - CLOSE_SETTLE_MS < interval.add(end_ms, 1)


# 2. An answer whose last candle ends after its own date


@pytest.mark.parametrize("late_ms", [1, 1_000, 10**9])
def test_a_candle_that_ends_after_the_answer_was_given_is_refused(late_ms: int) -> None:
    with pytest.raises(UnusableAnswer, match="2024-02-07T12:00Z ends at 2024-02-07T13:00Z.*is not finished"):
        refuse_open(batch_at(NOON - MS_PER_HOUR, NOON), HOUR, NOON + MS_PER_HOUR - late_ms)


@pytest.mark.parametrize("after_ms", [0, 1, 10**9])
def test_a_candle_that_had_ended_is_taken(after_ms: int) -> None:
    refuse_open(batch_at(NOON - MS_PER_HOUR, NOON), HOUR, NOON + MS_PER_HOUR + after_ms)


def test_a_candle_off_the_grid_ends_with_its_slot() -> None:
    off_grid = batch_at(NOON + 60_000)
    refuse_open(off_grid, HOUR, NOON + MS_PER_HOUR)
    with pytest.raises(UnusableAnswer):
        refuse_open(off_grid, HOUR, NOON + MS_PER_HOUR - 1)


def test_an_answer_without_candles_is_never_unfinished() -> None:
    refuse_open(CandleBatch.empty(), HOUR, 0)


# 3. Of an archive, what had closed within its day or month


def test_a_week_that_runs_into_the_next_month_is_not_taken_from_this_one_s_file() -> None:
    january = Span(parse_time("2024-01-01"), parse_time("2024-02-01"))
    assert closed_part_of_file(WEEK, january) == Span(january.start_ms, parse_time("2024-01-29"))


def test_a_file_whose_candles_end_with_it_is_taken_whole() -> None:
    day = Span(parse_time("2024-02-07"), parse_time("2024-02-08"))
    assert closed_part_of_file(HOUR, day) == day
    february = Span(parse_time("2024-02-01"), parse_time("2024-03-01"))
    assert closed_part_of_file(MONTH, february) == february


def test_of_a_file_in_which_nothing_closed_nothing_is_taken() -> None:
    day = Span(parse_time("2024-02-07"), parse_time("2024-02-08"))
    assert closed_part_of_file(WEEK, day) is None


@given(any_interval, instants, st.integers(1, 60 * MS_PER_DAY))
def test_no_candle_of_the_part_ends_after_the_file(interval: Interval, start_ms: int, length_ms: int) -> None:
    part = closed_part_of_file(interval, Span(start_ms, start_ms + length_ms))
    if part is not None:
        assert part.start_ms == start_ms
        assert interval.floor(part.end_ms) == part.end_ms <= start_ms + length_ms


# 4. The newest candle before an unexplained hole at the end of the data

WANTED = Span(NOON - 10 * MS_PER_HOUR, NOON)
TAIL = Span(NOON - 2 * MS_PER_HOUR, NOON)


@pytest.mark.parametrize(("only_archives", "age_ms"), [(False, UNSETTLED_MS), (True, ARCHIVES_UNSETTLED_MS)])
def test_a_hole_at_the_end_is_unsettled_while_it_is_young(only_archives: bool, age_ms: int) -> None:
    assert is_unsettled(TAIL, WANTED, NOON + age_ms - 1, only_archives)
    assert not is_unsettled(TAIL, WANTED, NOON + age_ms, only_archives)


def test_a_hole_before_the_end_is_a_gap_however_young() -> None:
    assert not is_unsettled(Span(TAIL.start_ms, NOON - MS_PER_HOUR), WANTED, NOON, only_archives=False)


def test_archives_may_lag_for_longer_than_the_api() -> None:
    assert ARCHIVES_UNSETTLED_MS > UNSETTLED_MS


def test_the_candle_before_the_hole_waits_with_it() -> None:
    assert unsettled_tail(HOUR, TAIL, WANTED) == Span(TAIL.start_ms - MS_PER_HOUR, NOON)


def test_a_month_before_the_hole_waits_as_a_whole() -> None:
    wanted = Span(parse_time("2024-01-01"), parse_time("2024-04-01"))
    hole = Span(parse_time("2024-03-01"), wanted.end_ms)
    assert unsettled_tail(MONTH, hole, wanted) == Span(parse_time("2024-02-01"), wanted.end_ms)


def test_where_all_that_is_wanted_is_a_hole_there_is_no_candle_to_wait() -> None:
    assert unsettled_tail(HOUR, WANTED, WANTED) == WANTED
