"""Which archive files are out at a time, where nobody has read the listing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.archives import day_of, month_of
from core.binance.rules import BinanceRules
from core.exchange_rules import guess_index, settled_ms
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series, make_series, parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time

BTC_1M = parse_series("BTCUSDT/1m")
instants = st.integers(parse_time("2017-08-17"), parse_time("2035-01-01"))


def rules_of(series: Series) -> BinanceRules:
    return BinanceRules(series, 1000)


@given(instants, st.integers(1, 200 * MS_PER_DAY), st.integers(0, 300 * MS_PER_DAY))
def test_a_guess_is_conservative(start_ms: int, length_ms: int, now_after_ms: int) -> None:
    wanted, now_ms = Span(start_ms, start_ms + length_ms), start_ms + now_after_ms
    guess = guess_index(rules_of(BTC_1M), wanted, now_ms)
    for days_ms, period_of, margin in ((guess.days, day_of, MS_PER_DAY), (guess.months, month_of, 15 * MS_PER_DAY)):
        for first_ms in days_ms:
            period = period_of(first_ms)
            assert period.span.start_ms == first_ms
            assert period.span.intersect(wanted) is not None
            assert period.span.end_ms + margin <= now_ms


def test_a_guess_takes_every_file_that_must_be_out_by_now() -> None:
    wanted = Span(parse_time("2024-01-10T12:00"), parse_time("2024-03-05"))
    guess = guess_index(rules_of(BTC_1M), wanted, parse_time("2024-03-04T12:00"))
    assert guess.months == {parse_time("2024-01-01")}  # February is not half a month old
    first, last = parse_time("2024-01-10"), parse_time("2024-03-02")
    assert guess.days == set(range(first, last + 1, MS_PER_DAY))


def test_yesterdays_file_is_not_guessed_before_the_day_after_it_is_over() -> None:
    wanted = Span(parse_time("2024-03-01"), parse_time("2024-03-02"))
    midnight = parse_time("2024-03-03")
    assert not guess_index(rules_of(BTC_1M), wanted, midnight - MS_PER_HOUR).days
    assert guess_index(rules_of(BTC_1M), wanted, midnight).days == {parse_time("2024-03-01")}


@pytest.mark.parametrize("code", ["3d", "1w", "1M"])
def test_no_daily_files_are_guessed_where_there_are_none(code: str) -> None:
    wanted = Span(parse_time("2023-01-01"), parse_time("2023-03-01"))
    guess = guess_index(rules_of(make_series("spot", "BTCUSDT", code)), wanted, parse_time("2024-01-01"))
    assert guess.months == {parse_time("2023-01-01"), parse_time("2023-02-01")}
    assert not guess.days


@pytest.mark.parametrize(
    ("interval", "last_open", "settled"),
    [
        ("1s", "2024-01-15T23:59:59", "2024-01-17"),
        ("1m", "2024-01-15T23:59", "2024-01-17"),
        ("1m", "2024-01-16T00:00", "2024-01-18"),
        ("12h", "2024-01-15T12:00", "2024-01-17"),
        ("1d", "2024-01-15", "2024-01-17"),
        ("3d", "2024-01-13", "2024-02-16"),
        ("1w", "2024-01-15", "2024-02-16"),
        ("1w", "2024-01-29", "2024-02-16"),  # runs into February
        ("1M", "2024-01-01", "2024-02-16"),
        ("1M", "2024-02-01", "2024-03-16"),
        ("1M", "2023-12-01", "2024-01-16"),
    ],
)
@pytest.mark.parametrize("slots", [1, 3])
def test_an_archive_counts_as_out_a_day_after_its_day_or_15_days_after_its_month(
    interval: str, last_open: str, settled: str, slots: int
) -> None:
    series = parse_series(f"BTCUSDT/{interval}")
    last_ms = parse_time(last_open)
    span = Span(series.interval.add(last_ms, 1 - slots), series.interval.add(last_ms, 1))
    assert settled_ms(rules_of(series), span) == parse_time(settled)


any_series = st.sampled_from([f"BTCUSDT/{code}" for code in INTERVALS]).map(parse_series)


def slots_of(series: Series, start: int, count: int) -> Span:
    """Return slots counted from the first of January 2020."""
    interval = series.interval
    open_ms = interval.add(interval.ceil(parse_time("2020-01-01")), start)
    return Span(open_ms, interval.add(open_ms, count))


@given(any_series, st.integers(0, 200), st.integers(1, 40))
def test_archives_are_out_after_the_gap_has_ended_and_within_seven_weeks(
    series: Series, start: int, count: int
) -> None:
    span = slots_of(series, start, count)
    waits_ms = settled_ms(rules_of(series), span) - span.end_ms
    assert (
        MS_PER_DAY <= waits_ms < (2 if (series.interval.step_ms or MS_PER_DAY + 1) <= MS_PER_DAY else 47) * MS_PER_DAY
    )
    assert settled_ms(rules_of(series), Span(series.interval.add(span.end_ms, -1), span.end_ms)) == settled_ms(
        rules_of(series), span
    )
