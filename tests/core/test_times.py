"""Epoch milliseconds to text and back."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.times import MS_PER_DAY, add_months, first_of_month, format_ms, from_datetime, parse_time, to_datetime

FIRST_ALLOWED = 1230768000000  # 2009-01-01
END_ALLOWED = 4102444800000  # 2100-01-01

any_ms = st.integers(FIRST_ALLOWED, END_ALLOWED - 1)
any_month = st.tuples(st.integers(2009, 2099), st.integers(1, 12))


def month_ms(year: int, month: int) -> int:
    return from_datetime(datetime(year, month, 1, tzinfo=UTC))


@given(any_ms)
def test_what_is_formatted_parses_to_the_same_instant(ms: int) -> None:
    assert parse_time(format_ms(ms)) == ms


@given(st.integers(FIRST_ALLOWED // MS_PER_DAY, END_ALLOWED // MS_PER_DAY - 1))
def test_midnights_are_formatted_as_dates_and_parse_back(days: int) -> None:
    text = format_ms(days * MS_PER_DAY)
    assert text == (date(1970, 1, 1) + timedelta(days=days)).isoformat()
    assert parse_time(text) == days * MS_PER_DAY


@given(any_ms)
def test_datetimes_are_exact_to_the_millisecond(ms: int) -> None:
    assert from_datetime(to_datetime(ms)) == ms


@given(any_ms, st.integers(0, 999))
def test_microseconds_are_cut_off_not_rounded(ms: int, microseconds: int) -> None:
    assert from_datetime(to_datetime(ms) + timedelta(microseconds=microseconds)) == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (1502942400000, "2017-08-17T04:00Z"),  # BTCUSDT's first candle
        (1704067200000, "2024-01-01"),
        (1582111895000, "2020-02-19T11:31:35Z"),
        (1518170338789, "2018-02-09T09:58:58.789Z"),
        (1704067200007, "2024-01-01T00:00:00.007Z"),
    ],
)
def test_text_is_as_short_as_exactness_allows(ms: int, text: str) -> None:
    assert format_ms(ms) == text


@pytest.mark.parametrize(
    "text",
    [
        "2023-01-31",
        " 2023-01-31 ",
        "2023-01-31T00:00",
        "2023-01-31 00:00:00",
        "2023-01-31T00:00Z",
        "2023-01-31T00:00:00.000+00:00",
        "2023-01-31T05:30+05:30",
        "2023-01-30T19:00-05:00",
    ],
)
def test_a_time_without_a_zone_is_utc_and_zones_are_honoured(text: str) -> None:
    assert parse_time(text) == 1675123200000


@given(any_ms, st.integers(-14 * 60, 14 * 60))
def test_the_same_instant_written_in_any_zone_is_the_same_number(ms: int, minutes: int) -> None:
    local = to_datetime(ms).astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_time(local) == parse_time(local.isoformat()) == ms


def test_dates_from_yaml_are_midnights_in_utc() -> None:
    assert parse_time(date(2017, 8, 17)) == parse_time(datetime(2017, 8, 17)) == parse_time("2017-08-17")


@pytest.mark.parametrize(
    "value",
    [
        "2023-02-29",
        "2023-02-30",
        "2023-13-01",
        "2023-00-10",
        "2023-1-5",
        "20223-01-01",
        "2023-01-31T25:00",
        "2023-01-31T23:59:60",
        "yesterday",
        "",
        "01/02/2023",
        "1675123200000",
        "2023-01-31T00:00+24:00",
        "２０２３",
    ],
)
def test_impossible_dates_are_refused_by_value_with_an_example(value: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_time(value)
    assert str(refused.value).startswith(f"{value!r} is not an ISO date or time, such as 2023-01-31")


@pytest.mark.parametrize("value", [None, True, 2023, 1675123200000, 20230131.0, ["2023-01-31"], {}])
def test_what_is_neither_text_nor_date_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not an ISO date or time"):
        parse_time(value)


def test_29_february_exists_in_leap_years_only() -> None:
    assert format_ms(parse_time("2024-02-29")) == "2024-02-29"
    with pytest.raises(ValueError):
        parse_time("2100-02-29")


@pytest.mark.parametrize(
    "value",
    [
        "2008-12-31",
        "2100-01-01",
        "1970-01-01",
        "9999-12-31",
        "0001-01-01",
        "0001-01-01T00:00+14:00",
        date(1, 1, 1),
        date(9999, 12, 31),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=14))),
    ],
)
def test_far_years_are_refused_with_the_allowed_range(value: object) -> None:
    with pytest.raises(ValueError) as refused:
        parse_time(value)
    assert str(refused.value) == f"{value!s} is outside 2009-01-01 .. 2100-01-01"


@pytest.mark.parametrize("text", ["2009-01-01", "2099-12-31T23:59:59.999Z"])
def test_the_first_and_the_last_allowed_instant_are_accepted(text: str) -> None:
    assert format_ms(parse_time(text)) == text


@given(st.text(max_size=30) | st.dates() | st.datetimes() | st.none() | st.floats() | st.integers())
def test_parse_time_raises_nothing_but_value_error(value: object) -> None:
    with contextlib.suppress(ValueError):
        assert FIRST_ALLOWED <= parse_time(value) < END_ALLOWED


@given(any_ms)
def test_first_of_month_is_the_last_first_at_or_before(ms: int) -> None:
    first = to_datetime(first_of_month(ms))
    moment = to_datetime(ms)
    assert (first.year, first.month) == (moment.year, moment.month)
    assert (first.day, first.hour, first.minute, first.second, first.microsecond) == (1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("start", "months", "result"),
    [
        ((2023, 12), 1, (2024, 1)),
        ((2024, 1), -1, (2023, 12)),
        ((2023, 11), 14, (2025, 1)),
        ((2024, 1), -13, (2022, 12)),
        ((2024, 2), 1, (2024, 3)),
        ((2024, 12), 12, (2025, 12)),
        ((2024, 5), 0, (2024, 5)),
    ],
)
def test_months_are_added_across_year_ends(start: tuple[int, int], months: int, result: tuple[int, int]) -> None:
    assert add_months(month_ms(*start), months) == month_ms(*result)


@given(any_month, st.integers(-100, 100))
def test_adding_months_is_adding_one_month_many_times(start: tuple[int, int], months: int) -> None:
    year, month = start
    for _ in range(abs(months)):
        month += 1 if months > 0 else -1
        year, month = (year + 1, 1) if month == 13 else (year - 1, 12) if month == 0 else (year, month)
    assert add_months(month_ms(*start), months) == month_ms(year, month)
