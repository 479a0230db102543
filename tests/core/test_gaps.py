"""The life of a gap: what puts it down as not at the exchange, when it is rechecked, and that nothing of it is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gap_samples import (
    DAILY,
    HEALED,
    HOURS,
    MISSING,
    MONTHLY,
    NOT_AT_EXCHANGE,
    OLD,
    REST,
    SHA,
    YOUNG,
    answer,
    asked,
    gap_not_at_exchange,
    hole,
    hours,
    minutes,
    outcome,
    recheck,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st

from core.binance.rules import BinanceRules
from core.exchange_rules import settled_ms
from core.gaps import (
    RECHECK_MS,
    Answer,
    Event,
    EventKind,
    GapStatus,
    Hole,
    Reason,
    is_in_no_archive,
    is_longer_than_any_halt,
    is_proven,
    is_too_young,
    new_gap,
    postponed,
    reopened,
    with_reason,
)
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, add_months, parse_time

# Found, asked, proven


def test_a_new_gap_is_missing_and_due_at_once() -> None:
    gap = new_gap(hours(0, 2), OLD)
    assert (gap.status, gap.found_ms, gap.since_ms, gap.answers, gap.id) == (MISSING, OLD, OLD, (), None)
    assert gap.history == (Event(OLD, EventKind.FOUND, "found"),)
    assert gap.is_due(OLD)


def test_a_new_gap_is_due_by_a_clock_a_little_behind_and_one_that_was_rechecked_is_not() -> None:
    gap = new_gap(hours(0, 2), OLD)
    assert gap.is_due(OLD - 500)
    assert not postponed(gap, OLD).is_due(OLD + RECHECK_MS - 1)


def test_a_hole_that_nobody_was_asked_about_is_a_missing_gap() -> None:
    assert recheck([], [Hole(hours(0, 2))], OLD) == [new_gap(hours(0, 2), OLD)]


def test_one_answer_of_rest_puts_no_gap_not_at_exchange() -> None:
    gap = asked(hours(0, 2), OLD, REST)
    assert gap.status is MISSING
    assert gap.answers == (answer(REST, hours(0, 2), OLD),)


@pytest.mark.parametrize(
    ("apart", "status"), [(0, MISSING), (29.99, MISSING), (30, NOT_AT_EXCHANGE), (31, NOT_AT_EXCHANGE)]
)
@pytest.mark.parametrize("source", [REST, DAILY, MONTHLY])
def test_two_equal_answers_count_as_two_when_half_an_hour_apart(
    source: Source, apart: float, status: GapStatus
) -> None:
    later = OLD + minutes(apart)
    [gap] = recheck([asked(hours(0, 2), OLD, source)], [hole(hours(0, 2), later, source)], later)
    assert gap.status is status
    assert [(one.times, one.first_ms, one.last_ms) for one in gap.answers] == [(2, OLD, later)]


@pytest.mark.parametrize("archive", [DAILY, MONTHLY])
@pytest.mark.parametrize("now_ms", [YOUNG, OLD])
def test_rest_and_an_archive_that_both_lack_it_are_proof_at_once(archive: Source, now_ms: int) -> None:
    gap = asked(hours(0, 2), now_ms, REST, archive)
    assert (gap.status, gap.since_ms, gap.rechecks) == (NOT_AT_EXCHANGE, now_ms, 0)
    assert gap.next_recheck_ms == now_ms + MS_PER_DAY
    assert [text.partition(":")[0] for text in texts(gap)] == ["found", "not at the exchange"]


def test_the_history_says_what_a_gap_not_at_exchange_rests_on() -> None:
    [_, event] = gap_not_at_exchange(hours(0, 2), OLD + 1).history
    assert event.text == (
        "not at the exchange: rest has none (1x, last 2024-03-01), archive-daily has none (1x, last 2024-03-01)"
    )


@pytest.mark.parametrize("source", [REST, DAILY])
def test_a_young_gap_is_not_called_not_at_exchange_by_one_source_however_often_it_is_asked(source: Source) -> None:
    span, out_ms = hours(0, 2), parse_time("2024-01-17")
    gaps = [asked(span, YOUNG, source)]
    for now_ms in range(YOUNG + RECHECK_MS, out_ms, RECHECK_MS):
        gaps = recheck(gaps, [hole(span, now_ms, source)], now_ms)
        assert outcome(gaps) == [(span, MISSING)]
    assert outcome(recheck(gaps, [hole(span, out_ms, source)], out_ms)) == [(span, NOT_AT_EXCHANGE)]


def test_an_answer_about_a_part_proves_nothing_about_the_whole() -> None:
    gap = asked(hours(0, 4), OLD, REST)
    later = OLD + minutes(40)
    [gap] = recheck([gap], [hole(hours(0, 2), later, REST, DAILY)], later)
    assert gap.status is MISSING
    assert gap.last_rest_ms() == OLD


def test_an_answer_about_more_than_the_gap_is_one_about_the_gap() -> None:
    wide, narrow, later = hours(0, 10), hours(3, 5), OLD + minutes(30)
    [first, gap, last] = recheck([asked(wide, OLD, REST)], [hole(narrow, later, REST)], later, [wide])
    assert (first.status, last.status) == (HEALED, HEALED)
    assert (gap.span, gap.status) == (narrow, NOT_AT_EXCHANGE)


def test_archives_of_several_days_are_proof_together() -> None:
    whole, first, second = hours(10, 14), hours(10, 12), hours(12, 14)
    rest = answer(REST, whole, OLD)
    one_day = Hole(whole, (rest, answer(DAILY, first, OLD)))
    both_days = Hole(whole, (*one_day.answers, answer(DAILY, second, OLD, "cd" * 32)))
    assert outcome(recheck([], [one_day], OLD)) == [(whole, MISSING)]
    assert outcome(recheck([], [both_days], OLD)) == [(whole, NOT_AT_EXCHANGE)]


def test_with_archives_alone_every_day_has_to_be_read_twice() -> None:
    first, second, later = hours(10, 12), hours(12, 14), OLD + RECHECK_MS
    holes = [hole(first, OLD, DAILY), hole(second, OLD, DAILY)]
    [gap] = recheck([], holes, OLD)
    assert (gap.span, gap.status) == (hours(10, 14), MISSING)
    [gap] = recheck([gap], [hole(first, later, DAILY)], later)
    assert gap.status is MISSING
    [gap] = recheck([gap], [hole(second, later, DAILY)], later)
    assert gap.status is NOT_AT_EXCHANGE


def test_an_archive_that_was_published_anew_is_another_answer() -> None:
    span, later = hours(0, 2), OLD + RECHECK_MS
    [gap] = recheck([asked(span, OLD, DAILY)], [Hole(span, (answer(DAILY, span, later, "cd" * 32),))], later)
    assert gap.status is MISSING
    assert [one.times for one in gap.answers] == [1, 1]


def test_rest_answers_of_neighbouring_pages_are_one_about_both() -> None:
    holes = [hole(hours(2, 5), OLD, REST), hole(hours(0, 2), OLD, REST), hole(hours(5, 6), OLD, REST)]
    [gap] = recheck([], holes, OLD)
    assert gap.answers == (answer(REST, hours(0, 6), OLD),)


def test_pages_of_which_one_was_not_asked_are_no_answer_about_both() -> None:
    [gap] = recheck([], [hole(hours(0, 2), OLD, REST, DAILY), hole(hours(2, 5), OLD, DAILY)], OLD)
    assert gap.status is MISSING
    assert gap.last_rest_ms() is None


def test_pages_of_one_recheck_are_one_answer_however_long_it_takes() -> None:
    later = OLD + minutes(31)
    holes = [hole(hours(0, 2), OLD, REST), hole(hours(2, 4), later, REST)]
    assert outcome(recheck([], holes, later)) == [(hours(0, 4), MISSING)]


def test_one_answer_about_two_neighbouring_gaps_is_counted_once_in_each() -> None:
    known = [new_gap(hours(0, 2), OLD), new_gap(hours(2, 4), OLD)]
    both = answer(REST, hours(0, 4), OLD)
    gaps = recheck(known, [Hole(gap.span, (both,)) for gap in known], OLD)
    assert [gap.answers for gap in gaps] == [(both,), (both,)]


def test_one_answer_about_two_holes_of_a_gap_is_counted_once() -> None:
    wide = answer(REST, hours(0, 6), OLD)
    [gap] = recheck([new_gap(hours(0, 6), OLD)], [Hole(hours(0, 2), (wide,)), Hole(hours(4, 6), (wide,))], OLD)
    assert gap.answers == (wide,)


def test_archives_asked_are_the_parts_that_a_file_lacks_since_a_time() -> None:
    early, late = answer(DAILY, hours(-5, 2), OLD), answer(MONTHLY, hours(4, 6), OLD + 10)
    gap = replace(new_gap(hours(0, 8), OLD), answers=(early, late, answer(REST, hours(0, 8), OLD)))
    assert gap.archives_asked() == [hours(0, 2), hours(4, 6)]
    assert gap.archives_asked(since_ms=OLD + 10) == [hours(4, 6)]
    assert gap.archives_asked(since_ms=OLD + 11) == []


def test_an_answer_has_a_document_for_the_database_and_reports() -> None:
    one = Answer(DAILY, hours(0, 2), OLD, OLD + 1500, 2, SHA)
    assert one.document() == {
        "source": "archive-daily",
        "answer": "no candle",
        "start": "2024-01-15T12:00:00Z",
        "end": "2024-01-15T14:00:00Z",
        "first_asked": "2024-03-01T00:00:00Z",
        "last_asked": "2024-03-01T00:00:01.500Z",
        "times": 2,
        "archive_checksum": SHA,
    }


any_series = st.sampled_from([f"BTCUSDT/{code}" for code in INTERVALS]).map(parse_series)


def slots_of(series: Series, start: int, count: int) -> Span:
    """Return slots counted from the first of January 2020."""
    interval = series.interval
    open_ms = interval.add(interval.ceil(parse_time("2020-01-01")), start)
    return Span(open_ms, interval.add(open_ms, count))


@given(any_series, st.integers(0, 200), st.integers(1, 40), st.sampled_from([REST, DAILY, MONTHLY]))
def test_two_answers_of_one_source_count_from_the_moment_that_the_archive_is_out(
    series: Series, start: int, count: int, source: Source
) -> None:
    span = slots_of(series, start, count)
    out_ms = settled_ms(BinanceRules(series, 1000), span)
    twice = Answer(source, span, out_ms - RECHECK_MS, out_ms, 2, None if source is REST else SHA)
    gap = replace(new_gap(span, out_ms - RECHECK_MS), answers=(twice,))
    assert not is_proven(gap, BinanceRules(series, 1000), out_ms - 1)
    assert is_proven(gap, BinanceRules(series, 1000), out_ms)
    almost = replace(twice, first_ms=out_ms - RECHECK_MS + 1)
    assert not is_proven(replace(gap, answers=(almost,)), BinanceRules(series, 1000), out_ms)


# Rechecked


def test_a_gap_not_at_exchange_is_rechecked_after_a_day_a_week_a_month_and_then_with_each_verify() -> None:
    span, gap, now_ms = hours(0, 2), gap_not_at_exchange(hours(0, 2)), OLD
    for number, days in enumerate((1, 7, 30)):
        assert (gap.rechecks, gap.next_recheck_ms) == (number, now_ms + days * MS_PER_DAY)
        assert not gap.is_due(now_ms + days * MS_PER_DAY - 1)
        now_ms += days * MS_PER_DAY
        assert gap.is_due(now_ms)
        [gap] = recheck([gap], [hole(span, now_ms, REST)], now_ms)
        assert gap.status is NOT_AT_EXCHANGE
    for number in (3, 4, 5):
        assert (gap.rechecks, gap.next_recheck_ms) == (number, None)
        assert not gap.is_due(now_ms + 10**12)
        now_ms += MS_PER_DAY
        [gap] = recheck([gap], [hole(span, now_ms, REST)], now_ms)
    assert gap.since_ms == OLD


def test_an_answer_in_passing_is_kept_and_does_not_move_the_schedule() -> None:
    gap, soon = gap_not_at_exchange(hours(0, 2)), OLD + MS_PER_DAY - 1
    [after] = recheck([gap], [hole(hours(0, 2), soon, REST)], soon)
    assert after.answers[0] == replace(gap.answers[0], last_ms=soon, times=2)
    assert replace(after, answers=gap.answers) == gap


@given(st.lists(st.integers(0, 12 * 24), max_size=30))
def test_the_schedule_moves_with_the_rechecks_that_were_due_and_no_others(pauses: list[int]) -> None:
    gap, now_ms = gap_not_at_exchange(hours(0, 2)), OLD
    due_ms: int | None = OLD + MS_PER_DAY
    rest_of_schedule = [7 * MS_PER_DAY, 30 * MS_PER_DAY, None]
    for pause in pauses:
        now_ms += pause * MS_PER_HOUR
        [gap] = recheck([gap], [hole(hours(0, 2), now_ms, REST)], now_ms)
        if due_ms is not None and due_ms <= now_ms:
            after_ms = rest_of_schedule.pop(0)
            due_ms = None if after_ms is None else now_ms + after_ms
        assert gap.next_recheck_ms == due_ms
    assert gap.answers[0].times == 1 + len(pauses)


def test_a_recheck_without_an_answer_does_not_move_the_schedule() -> None:
    gap = gap_not_at_exchange(hours(0, 2))
    assert recheck([gap], [Hole(hours(0, 2))], gap.next_recheck_ms or 0) == [gap]
    assert recheck([gap], [], gap.next_recheck_ms or 0) == [gap]


def test_an_answer_about_a_part_is_no_recheck_of_the_whole() -> None:
    gap = gap_not_at_exchange(hours(0, 4))
    due_ms = gap.next_recheck_ms or 0
    [after] = recheck([gap], [hole(hours(0, 1), due_ms, REST)], due_ms)
    assert (after.rechecks, after.next_recheck_ms) == (gap.rechecks, gap.next_recheck_ms)


def test_a_missing_gap_is_due_again_when_another_answer_counts_as_a_second_one() -> None:
    gap = asked(hours(0, 2), OLD, REST)
    assert postponed(gap, OLD + minutes(5)) == replace(gap, next_recheck_ms=OLD + minutes(30))
    nobody_asked = new_gap(hours(0, 2), OLD)
    assert postponed(nobody_asked, OLD + minutes(5)).next_recheck_ms == OLD + minutes(35)
    [twice] = recheck([gap], [hole(hours(0, 2), OLD + minutes(20), DAILY)], OLD + minutes(20))
    assert postponed(twice, OLD + minutes(21)).next_recheck_ms == OLD + minutes(50)


def test_a_reopened_gap_starts_anew_and_keeps_its_past() -> None:
    gap = with_reason(gap_not_at_exchange(hours(0, 2), id_=7), Reason.HALT, "no 1d candle either", OLD)
    again = reopened(gap, OLD + 5, "verify got candles there")
    assert (again.status, again.since_ms, again.next_recheck_ms, again.rechecks) == (MISSING, OLD + 5, OLD + 5, 0)
    assert (again.reason, again.reason_note, again.answers) == (None, None, ())
    assert (again.id, again.found_ms, again.span) == (7, OLD, hours(0, 2))
    assert again.history == (
        *gap.history,
        Event(OLD + 5, EventKind.REOPENED, "missing again: verify got candles there"),
    )


def test_a_reopened_gap_needs_new_proof() -> None:
    later = OLD + 10 * MS_PER_DAY
    again = reopened(gap_not_at_exchange(hours(0, 2)), later, "verify got candles there")
    [gap] = recheck([again], [hole(hours(0, 2), later, REST)], later)
    assert (gap.status, gap.answers) == (MISSING, (answer(REST, hours(0, 2), later),))


def test_a_reason_is_kept_with_its_note_and_in_the_history() -> None:
    gap = gap_not_at_exchange(hours(0, 2), id_=7)
    halted = with_reason(gap, Reason.HALT, "no 1d candle either", OLD + 5)
    assert (halted.reason, halted.reason_note) == (Reason.HALT, "no 1d candle either")
    assert halted.history == (*gap.history, Event(OLD + 5, EventKind.REASON, "reason: halt, no 1d candle either"))
    assert replace(halted, reason=None, reason_note=None, history=gap.history) == gap


@pytest.mark.parametrize(
    ("interval", "start", "longest", "too_long"),
    [
        ("1s", "2024-01-15", "2024-01-18", "2024-01-18T00:00:01"),
        ("1m", "2024-01-15", "2024-01-18", "2024-01-18T00:01"),
        ("1h", "2018-02-08", "2018-02-09T10:00", "2018-02-11T01:00"),
        ("1d", "2024-01-15", "2024-01-18", "2024-01-19"),
        ("3d", "2024-01-13", "2024-01-22", "2024-01-25"),
        ("1w", "2024-01-01", "2024-01-22", "2024-01-29"),
        ("1M", "2024-01-01", "2024-04-01", "2024-05-01"),
        ("1M", "2024-07-01", "2024-10-01", "2024-11-01"),
        ("1M", "2023-02-01", "2023-05-01", "2023-06-01"),
    ],
)
def test_longer_than_any_halt_are_more_than_three_days_and_three_candles(
    interval: str, start: str, longest: str, too_long: str
) -> None:
    series, start_ms = parse_series(f"BTCUSDT/{interval}"), parse_time(start)
    assert not is_longer_than_any_halt(new_gap(Span(start_ms, parse_time(longest)), OLD), series.interval)
    assert is_longer_than_any_halt(new_gap(Span(start_ms, parse_time(too_long)), OLD), series.interval)


@given(st.integers(0, 200), st.integers(1, 6))
def test_three_months_are_never_longer_than_any_halt_and_four_always(first: int, count: int) -> None:
    start_ms = add_months(0, 480 + first)
    gap = new_gap(Span(start_ms, add_months(start_ms, count)), OLD)
    assert is_longer_than_any_halt(gap, INTERVALS["1M"]) == (count > 3)


def test_a_gap_is_too_young_until_its_archive_is_due_and_only_when_asked_about() -> None:
    gap = asked(hours(0, 2), YOUNG, REST)
    due_ms = parse_time("2024-01-17")  # a day after its day's end
    assert is_too_young(gap, HOURS, YOUNG) and is_too_young(gap, HOURS, due_ms - 1)
    assert not is_too_young(gap, HOURS, due_ms)
    assert not is_too_young(new_gap(hours(0, 2), YOUNG), HOURS, YOUNG)  # nobody was asked
    assert not is_too_young(replace(gap, span=hours(0, 3)), HOURS, YOUNG)  # nor about all of it
    assert not is_too_young(replace(gap, was_committed=True), HOURS, YOUNG)  # it is we who lost the candles
    assert not is_too_young(gap_not_at_exchange(hours(0, 2)), HOURS, YOUNG)


def test_that_the_archives_have_no_file_is_believed_the_second_time_once_no_file_ever_came_so_late() -> None:
    span, asked_ms = hours(0, 24), OLD
    listing = Answer(DAILY, span, asked_ms, asked_ms)  # without a checksum: nothing was read
    [gap] = recheck([], [Hole(span, (listing,))], asked_ms)
    assert gap.status is MISSING and is_in_no_archive(gap) and not is_too_young(gap, HOURS, asked_ms)
    [again] = recheck(
        [gap],
        [Hole(span, (replace(listing, first_ms=asked_ms + RECHECK_MS, last_ms=asked_ms + RECHECK_MS),))],
        asked_ms + RECHECK_MS,
    )
    assert again.status is NOT_AT_EXCHANGE
    early_ms = span.end_ms + 13 * MS_PER_DAY
    young = replace(gap, answers=(replace(listing, first_ms=early_ms - RECHECK_MS, last_ms=early_ms),))
    assert not is_proven(young, HOURS, early_ms) and is_too_young(young, HOURS, early_ms)
    by_rest = replace(young, answers=(*young.answers, answer(REST, span, early_ms)))
    assert not is_proven(by_rest, HOURS, early_ms)  # one answer of REST, and no archive that was read
