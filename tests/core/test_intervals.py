"""Every interval's grid against a slow model that walks the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.closing import CLOSE_SETTLE_MS, closed_end
from core.intervals import INTERVALS
from core.times import MS_PER_DAY, MS_PER_SECOND, from_datetime, parse_time, to_datetime

EVERY = tuple(INTERVALS)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
LENGTHS["w"] = timedelta(weeks=1)

instants = st.integers(parse_time("2009-01-01"), parse_time("2099-01-01"))
near_month_ends = st.builds(
    lambda year, month, distance_ms: from_datetime(datetime(year, month, 1, tzinfo=UTC)) + distance_ms,
    st.integers(2017, 2032),
    st.integers(1, 12),
    st.integers(-2 * MS_PER_DAY, 2 * MS_PER_DAY) | st.integers(-5_000, 5_000),
)
moments = instants | near_month_ends


def slow_floor(code: str, moment: datetime) -> datetime:
    number, unit = int(code[:-1]), code[-1]
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "s":
        return moment.replace(microsecond=0)
    if unit == "m":
        return moment.replace(minute=moment.minute // number * number, second=0, microsecond=0)
    if unit == "h":
        return moment.replace(hour=moment.hour // number * number, minute=0, second=0, microsecond=0)
    if unit == "M":
        return midnight.replace(day=1)
    while not opens_on(code, midnight):
        midnight -= timedelta(days=1)
    return midnight


def opens_on(code: str, midnight: datetime) -> bool:
    if code == "1w":
        return midnight.strftime("%A") == "Monday"
    if code == "3d":
        return (midnight - EPOCH).days % 3 == 1
    return True


def slow_next(code: str, opened: datetime) -> datetime:
    if code == "1M":
        return (opened + timedelta(days=32)).replace(day=1)
    return opened + int(code[:-1]) * LENGTHS[code[-1]]


def slow_opens(code: str, start_ms: int, end_ms: int) -> list[int]:
    """List the grid open times in `[start_ms, end_ms)` by walking."""
    opened = slow_floor(code, to_datetime(start_ms))
    found = []
    while from_datetime(opened) < end_ms:
        if from_datetime(opened) >= start_ms:
            found.append(from_datetime(opened))
        opened = slow_next(code, opened)
    return found


every_interval = pytest.mark.parametrize("code", EVERY)


def test_the_intervals_are_those_of_the_exchange() -> None:
    assert " ".join(EVERY) == "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
    assert all(str(interval) == interval.code == code for code, interval in INTERVALS.items())


def test_names_differ_also_without_regard_to_case() -> None:
    assert INTERVALS["1M"].name == "1mo"
    assert len({interval.name.lower() for interval in INTERVALS.values()}) == len(INTERVALS)


@every_interval
@given(ms=moments)
def test_floor_agrees_with_the_calendar(code: str, ms: int) -> None:
    assert INTERVALS[code].floor(ms) == from_datetime(slow_floor(code, to_datetime(ms)))


@every_interval
@given(ms=moments)
def test_ceil_is_the_first_open_at_or_after(code: str, ms: int) -> None:
    below = slow_floor(code, to_datetime(ms))
    above = below if below == to_datetime(ms) else slow_next(code, below)
    assert INTERVALS[code].ceil(ms) == from_datetime(above)


@every_interval
@given(ms=moments, steps=st.integers(0, 40))
def test_add_walks_candle_by_candle_and_back(code: str, ms: int, steps: int) -> None:
    interval = INTERVALS[code]
    opened = slow_floor(code, to_datetime(ms))
    later = opened
    for _ in range(steps):
        later = slow_next(code, later)
    assert interval.add(from_datetime(opened), steps) == from_datetime(later)
    assert interval.add(from_datetime(later), -steps) == from_datetime(opened)


@every_interval
@given(ms=moments, slots=st.integers(0, 60), before=st.integers(0, 10**9), after=st.integers(0, 10**9))
def test_count_counts_the_opens_that_a_walk_finds(code: str, ms: int, slots: int, before: int, after: int) -> None:
    interval = INTERVALS[code]
    length = interval.typical_ms
    start_ms, end_ms = ms - before % length, ms + slots * length + after % length
    assert interval.count(start_ms, end_ms) == len(slow_opens(code, start_ms, end_ms))


@every_interval
@given(ms=moments, distance_ms=st.integers(0, MS_PER_DAY))
def test_an_empty_or_reversed_range_has_no_candles(code: str, ms: int, distance_ms: int) -> None:
    assert INTERVALS[code].count(ms, ms - distance_ms) == 0


@every_interval
@given(ms=moments)
def test_index_is_the_same_within_a_candle_and_one_more_in_the_next(code: str, ms: int) -> None:
    interval = INTERVALS[code]
    opened = slow_floor(code, to_datetime(ms))
    following = slow_next(code, opened)
    last_ms = from_datetime(following) - 1
    assert interval.index(from_datetime(opened)) == interval.index(ms) == interval.index(last_ms)
    assert interval.index(from_datetime(following)) == interval.index(ms) + 1


@every_interval
@given(ms=moments)
def test_open_of_is_the_inverse_of_index(code: str, ms: int) -> None:
    interval = INTERVALS[code]
    assert interval.open_of(interval.index(ms)) == from_datetime(slow_floor(code, to_datetime(ms)))


@pytest.mark.parametrize(
    ("code", "opened"),
    [
        ("3d", "2017-08-17"),
        ("3d", "2024-01-01"),
        ("1w", "2017-08-14"),  # before BTCUSDT's listing on the 17th
        ("1w", "2024-01-01"),
        ("1M", "2017-08-01"),
        ("4h", "2020-02-19T08:00"),
        ("15m", "2020-12-21T14:00"),
    ],
)
def test_opens_that_the_exchange_has(code: str, opened: str) -> None:
    assert INTERVALS[code].floor(parse_time(opened)) == parse_time(opened)


def test_the_first_week_of_btcusdt_opens_on_the_monday_before_its_listing() -> None:
    assert INTERVALS["1w"].floor(parse_time("2017-08-17T04:00")) == parse_time("2017-08-14")


@pytest.mark.parametrize(("start", "end", "days"), [("2024-02-01", "2024-03-01", 29), ("2023-02-01", "2023-03-01", 28)])
def test_february_has_29_days_in_leap_years(start: str, end: str, days: int) -> None:
    assert INTERVALS["1d"].count(parse_time(start), parse_time(end)) == days
    assert INTERVALS["1M"].add(parse_time(start), 1) == parse_time(end)


def test_a_month_of_minutes_has_44640_candles() -> None:
    assert INTERVALS["1m"].count(parse_time("2025-01-01"), parse_time("2025-02-01")) == 44_640


def is_settled(code: str, opened_ms: int, now_ms: int) -> bool:
    end = slow_next(code, to_datetime(opened_ms))
    return from_datetime(end) + CLOSE_SETTLE_MS <= now_ms


def check_closed_end(code: str, now_ms: int) -> None:
    end_ms = closed_end(INTERVALS[code], now_ms)
    last_ms = from_datetime(slow_floor(code, to_datetime(end_ms - 1)))
    assert is_settled(code, last_ms, now_ms), "a candle that could still change was taken for closed"
    assert not is_settled(code, end_ms, now_ms), "a closed candle was left out"


@every_interval
@given(now_ms=moments)
def test_closed_end_takes_all_settled_candles_and_no_other(code: str, now_ms: int) -> None:
    check_closed_end(code, now_ms)


@every_interval
@given(
    ms=moments,
    around=st.sampled_from([-MS_PER_SECOND, -1, 0, 1, CLOSE_SETTLE_MS - 1, CLOSE_SETTLE_MS, CLOSE_SETTLE_MS + 1]),
)
def test_closed_end_is_exact_around_every_close(code: str, ms: int, around: int) -> None:
    check_closed_end(code, INTERVALS[code].floor(ms) + around)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2024-02-29T23:59:59.999Z", "2024-02-01"),
        ("2024-03-01T00:00:00Z", "2024-02-01"),
        ("2024-03-01T00:00:02.999Z", "2024-02-01"),
        ("2024-03-01T00:00:03Z", "2024-03-01"),
        ("2023-03-01T00:00:03Z", "2023-03-01"),
        ("2024-01-01T00:00:02.999Z", "2023-12-01"),
        ("2024-01-01T00:00:03Z", "2024-01-01"),
    ],
)
def test_a_month_is_closed_three_seconds_after_its_end(now: str, end: str) -> None:
    assert closed_end(INTERVALS["1M"], parse_time(now)) == parse_time(end)


def test_step_lengths_are_typical_lengths_and_a_month_has_its_mean() -> None:
    assert INTERVALS["1h"].typical_ms == 3_600_000
    assert INTERVALS["1M"].typical_ms == pytest.approx(365.2425 / 12 * MS_PER_DAY, rel=1e-6)


@every_interval
@given(ms=moments)
def test_floor_and_ceil_leave_an_open_as_it_is(code: str, ms: int) -> None:
    opened = INTERVALS[code].floor(ms)
    assert INTERVALS[code].floor(opened) == INTERVALS[code].ceil(opened) == opened
