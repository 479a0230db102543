"""The life of a gap: what puts it down as not at the exchange, when it is rechecked, and that nothing of it is lost."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.binance.rules import BinanceRules
from core.exchange_rules import settled_ms
from core.gaps import (
    RECHECK_MS,
    Answer,
    Event,
    EventKind,
    Gap,
    GapStatus,
    Hole,
    Reason,
    apply_answers,
    is_longer_than_any_halt,
    is_proven,
    new_gap,
    postponed,
    reopened,
    with_reason,
)
from core.intervals import INTERVALS
from core.ranges import Span, merge
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, add_months, parse_time

HOURS = BinanceRules(parse_series("BTCUSDT/1h"), 1000)
REST, DAILY, MONTHLY = Source.REST, Source.ARCHIVE_DAILY, Source.ARCHIVE_MONTHLY
MISSING, NOT_AT_EXCHANGE, HEALED = GapStatus.MISSING, GapStatus.NOT_AT_EXCHANGE, GapStatus.HEALED
BEGIN = parse_time("2024-01-15T12:00")
YOUNG = parse_time("2024-01-16T06:00")  # the day's archive may still come
OLD = parse_time("2024-03-01")
SHA = "ab" * 32


def hours(start: int, end: int) -> Span:
    return Span(BEGIN + start * MS_PER_HOUR, BEGIN + end * MS_PER_HOUR)


def minutes(count: float) -> int:
    return int(count * MS_PER_MINUTE)


def answer(source: Source, span: Span, at_ms: int, checksum: str | None = None) -> Answer:
    return Answer(source, span, at_ms, at_ms, checksum=SHA if checksum is None and source is not REST else checksum)


def hole(span: Span, at_ms: int, *sources: Source) -> Hole:
    return Hole(span, tuple(answer(source, span, at_ms) for source in sources))


def recheck(known: Iterable[Gap], holes: Sequence[Hole], now_ms: int, scope: Sequence[Span] = ()) -> list[Gap]:
    return apply_answers(known, scope, holes, HOURS, now_ms, "rest, run 1")


def asked(span: Span, now_ms: int, *sources: Source) -> Gap:
    """Return the gap that `span` is after one recheck."""
    [gap] = recheck([], [hole(span, now_ms, *sources)], now_ms)
    return gap


def gap_not_at_exchange(span: Span, now_ms: int = OLD, id_: int | None = None) -> Gap:
    gap = replace(asked(span, now_ms, REST, DAILY), id=id_)
    assert gap.status is NOT_AT_EXCHANGE
    return gap


def texts(gap: Gap) -> list[str]:
    return [event.text for event in gap.history]


def outcome(gaps: Iterable[Gap]) -> list[tuple[Span, GapStatus]]:
    return [(gap.span, gap.status) for gap in gaps]


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


# When archives are out


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
    assert settled_ms(BinanceRules(series, 1000), span) == parse_time(settled)


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
    waits_ms = settled_ms(BinanceRules(series, 1000), span) - span.end_ms
    assert (
        MS_PER_DAY <= waits_ms < (2 if (series.interval.step_ms or MS_PER_DAY + 1) <= MS_PER_DAY else 47) * MS_PER_DAY
    )
    assert settled_ms(
        BinanceRules(series, 1000), Span(series.interval.add(span.end_ms, -1), span.end_ms)
    ) == settled_ms(BinanceRules(series, 1000), span)


@given(any_series, st.integers(0, 200), st.integers(1, 40), st.sampled_from([REST, DAILY, MONTHLY]))
def test_two_answers_of_one_source_count_from_the_moment_that_the_archive_is_out(
    series: Series, start: int, count: int, source: Source
) -> None:
    span = slots_of(series, start, count)
    out_ms = settled_ms(BinanceRules(series, 1000), span)
    twice = Answer(source, span, out_ms - RECHECK_MS, out_ms, 2)
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


# Split, healed, merged


def test_candles_that_came_heal_the_gap_and_it_keeps_its_row() -> None:
    gap, later = replace(asked(hours(0, 2), OLD, REST), id=7), OLD + 5
    [healed] = recheck([gap], [], later, [hours(0, 2)])
    assert (healed.status, healed.id, healed.since_ms, healed.next_recheck_ms) == (HEALED, 7, later, None)
    assert healed.history == (*gap.history, Event(later, EventKind.HEALED, "healed: rest, run 1"))
    assert (healed.answers, healed.found_ms) == (gap.answers, OLD)


def test_a_gap_of_which_the_middle_came_is_three_with_one_past() -> None:
    gap, later = replace(asked(hours(0, 6), OLD, REST), id=7), OLD + 5
    parts = recheck([gap], [Hole(hours(0, 2)), Hole(hours(4, 6))], later, [hours(0, 6)])
    assert outcome(parts) == [(hours(0, 2), MISSING), (hours(2, 4), HEALED), (hours(4, 6), MISSING)]
    assert [part.id for part in parts] == [7, None, None]
    split = Event(later, EventKind.SPLIT, f"split from {gap.span}")
    assert [part.history for part in parts] == [
        (*gap.history, split),
        (*gap.history, split, Event(later, EventKind.HEALED, "healed: rest, run 1")),
        (*gap.history, split),
    ]


def test_a_gap_that_is_healed_bit_by_bit_does_not_grow_its_history_with_every_bit() -> None:
    """As when a year that was deleted comes back span by span of the ledger."""
    whole = replace(asked(hours(0, 100), OLD, REST), id=7)
    left, healed = [whole], []
    for hour in range(99):
        parts = recheck(left, [], OLD + hour, [hours(hour, hour + 1)])
        healed += [part for part in parts if part.status is HEALED]
        left = [part for part in parts if part.status is not HEALED]
    assert [part.span for part in left] == [hours(99, 100)]
    assert len(healed) == 99
    assert {len(part.history) - len(whole.history) for part in healed} == {
        2
    }  # of what it was a part, and who healed it
    assert left[0].history[-1].text == f"split from {whole.span}"


def test_what_of_a_gap_was_not_rechecked_stays() -> None:
    gap = replace(asked(hours(0, 6), OLD, REST), id=7)
    assert outcome(recheck([gap], [], OLD + 5, [hours(2, 4)])) == [
        (hours(0, 2), MISSING),
        (hours(2, 4), HEALED),
        (hours(4, 6), MISSING),
    ]
    assert recheck([gap], [], OLD + 5, [hours(10, 20)]) == [gap]
    assert recheck([gap], [], OLD + 5) == [gap]


def test_the_rest_of_a_gap_not_at_exchange_stays_so() -> None:
    gap = gap_not_at_exchange(hours(0, 6), id_=7)
    [healed, rest] = recheck([gap], [Hole(hours(2, 6))], OLD + 5, [hours(0, 6)])
    assert (healed.status, healed.id) == (HEALED, 7)
    assert (rest.status, rest.id, rest.next_recheck_ms, rest.answers) == (
        NOT_AT_EXCHANGE,
        None,
        gap.next_recheck_ms,
        gap.answers,
    )


def test_a_hole_around_a_known_gap_makes_new_gaps_beside_it() -> None:
    known = replace(asked(hours(2, 4), OLD, REST), id=7)
    gaps = recheck([known], [hole(hours(0, 6), OLD + 5, REST)], OLD + 5)
    assert [(gap.span, gap.id, gap.found_ms) for gap in gaps] == [
        (hours(0, 2), None, OLD + 5),
        (hours(2, 4), 7, OLD),
        (hours(4, 6), None, OLD + 5),
    ]
    assert all(gap.answers[-1].span == hours(0, 6) for gap in gaps)


def test_neighbouring_gaps_not_at_exchange_become_one_that_has_both_pasts() -> None:
    left, right = gap_not_at_exchange(hours(0, 2), OLD, 7), gap_not_at_exchange(hours(2, 6), OLD + 5, 8)
    [whole] = recheck([right, left], [], OLD + 9)
    assert (whole.span, whole.status, whole.id) == (hours(0, 6), NOT_AT_EXCHANGE, 7)
    assert (whole.found_ms, whole.since_ms) == (OLD, OLD + 5)
    assert whole.next_recheck_ms == left.next_recheck_ms
    assert whole.answers == (*left.answers, *right.answers)
    merged = Event(OLD + 9, EventKind.MERGED, f"merged from {left.span} and {right.span}")
    assert whole.history == (*left.history, *right.history, merged)


@pytest.mark.parametrize(("left_id", "right_id", "kept"), [(7, 8, 7), (None, 8, 8), (7, None, 7), (None, None, None)])
def test_the_merged_gap_keeps_a_row(left_id: int | None, right_id: int | None, kept: int | None) -> None:
    [whole] = recheck(
        [gap_not_at_exchange(hours(0, 2), OLD, left_id), gap_not_at_exchange(hours(2, 4), OLD, right_id)], [], OLD
    )
    assert whole.id == kept


def test_a_merged_gap_is_rechecked_as_the_younger_one_would_be() -> None:
    old = replace(gap_not_at_exchange(hours(0, 2)), rechecks=4, next_recheck_ms=None)
    young = gap_not_at_exchange(hours(2, 4), OLD + 5)
    for pair in ((old, young), (young, replace(old, span=hours(4, 6)))):
        [whole] = recheck(pair, [], OLD + 9)
        assert (whole.rechecks, whole.next_recheck_ms) == (0, young.next_recheck_ms)
    [both_old] = recheck([old, replace(old, span=hours(2, 4))], [], OLD + 9)
    assert both_old.next_recheck_ms is None


def test_events_of_one_moment_keep_their_order_when_gaps_are_merged() -> None:
    steps = tuple(Event(OLD, EventKind.REASON, f"step {number}") for number in range(12))
    left, right = (replace(gap_not_at_exchange(span), history=steps) for span in (hours(0, 2), hours(2, 4)))
    [whole] = recheck([left, right], [], OLD + 9)
    assert whole.history[:-1] == steps


def test_gaps_not_at_exchange_with_different_reasons_or_apart_stay_two() -> None:
    left = with_reason(gap_not_at_exchange(hours(0, 2)), Reason.HALT, "", OLD)
    for right in (
        gap_not_at_exchange(hours(2, 4)),
        with_reason(gap_not_at_exchange(hours(2, 4)), Reason.RELISTED, "", OLD),
        with_reason(gap_not_at_exchange(hours(3, 4)), Reason.HALT, "", OLD),
        replace(asked(hours(2, 4), OLD, REST), reason=Reason.HALT),
    ):
        assert recheck([left, right], [], OLD) == [left, right]


# Anything in any order, against sets of slots

SLOTS = 36  # from noon on: three days
RECHECKS = [0, 1, 29, 30, 31, 60, 24 * 60, 8 * 24 * 60]
ASKED = [(), (REST,), (REST, DAILY), (DAILY,), (REST,)]


@dataclass(frozen=True)
class Step:
    """One thing that happens to a series: a pause, then a recheck or a change of mind."""

    pause: int  # minutes
    rechecked: tuple[tuple[int, int], ...]  # first slot and number of slots
    lacking: tuple[tuple[int, int], ...]
    cuts: frozenset[int]  # where one hole ends and the next begins
    asked: tuple[tuple[Source, ...], ...]
    is_wide: bool  # answers are about a run of holes, not about each
    checksum: str
    all_known: bool  # every open gap is passed, not only those that are touched
    then: str

    @property
    def scope(self) -> list[Span]:
        return merge(hours(start, start + count) for start, count in self.rechecked)


blocks = st.sampled_from([(0, 6), (6, 6), (9, 9), (12, 1), (20, 8), (24, 12)])
ranges = st.tuples(st.integers(0, SLOTS - 6), st.integers(1, 6))
steps = st.builds(
    Step,
    pause=st.sampled_from(RECHECKS),
    rechecked=st.lists(blocks | ranges | st.just((0, SLOTS)), max_size=2).map(tuple),
    lacking=st.lists(blocks | blocks | ranges, max_size=3).map(tuple),
    cuts=st.frozensets(st.integers(0, SLOTS), max_size=3),
    asked=st.lists(st.sampled_from(ASKED), min_size=1, max_size=4).map(tuple),
    is_wide=st.booleans(),
    checksum=st.sampled_from(["aa" * 32, "aa" * 32, "bb" * 32]),
    all_known=st.booleans(),
    then=st.sampled_from(["", "", "", "reopened", "reason", "postponed"]),
)
start_times = st.sampled_from([parse_time("2024-01-17T00:00"), parse_time("2024-01-18T23:00"), OLD])


def numbers(spans: Iterable[Span]) -> set[int]:
    return {
        slot
        for span in spans
        for slot in range((span.start_ms - BEGIN) // MS_PER_HOUR, (span.end_ms - BEGIN) // MS_PER_HOUR)
    }


def runs_of(slots: Iterable[int], cuts: frozenset[int] = frozenset()) -> list[Span]:
    runs: list[list[int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][-1] == slot - 1 and slot not in cuts:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return [hours(run[0], run[-1] + 1) for run in runs]


def by_day(span: Span) -> list[Span]:
    midnights = frozenset((12, 36))
    return runs_of(numbers([span]), midnights)


@dataclass
class World:
    """The gap ledger of one series beside a model of it that knows slots and nothing else."""

    now_ms: int
    gaps: list[Gap] = field(default_factory=list)
    open_slots: set[int] = field(default_factory=set)
    # (source is REST, when) for every answer about a slot since it is open
    answers: dict[int, list[tuple[bool, int]]] = field(default_factory=dict)
    last_id: int = 0

    def holes(self, step: Step) -> list[Hole]:
        lacking = {slot for start, count in step.lacking for slot in range(start, start + count)}
        holes = []
        for number, piece in enumerate(runs_of(lacking, step.cuts)):
            [run] = [span for span in runs_of(lacking) if span.intersect(piece)]
            about = run if step.is_wide else piece
            answers: list[Answer] = []
            for source in step.asked[number % len(step.asked)]:
                spans = [about] if source is REST else by_day(about)
                answers += [
                    Answer(source, one, self.now_ms, self.now_ms, checksum=None if source is REST else step.checksum)
                    for one in spans
                ]
            holes.append(Hole(piece, tuple(answers)))
        return holes

    def take(self, step: Step) -> None:
        """Do one step, and hold what comes of it against the model."""
        self.now_ms += minutes(step.pause)
        holes, scope = self.holes(step), step.scope
        touched = numbers([*scope, *(one.span for one in holes)])
        known = [gap for gap in self.gaps if step.all_known or numbers([gap.span]) & touched]
        after = apply_answers(known, scope, holes, HOURS, self.now_ms, "run")
        lacking = numbers(one.span for one in holes)

        healed = [gap for gap in after if gap.status is HEALED]
        was_known = numbers(gap.span for gap in known)
        assert numbers(gap.span for gap in healed) == (was_known & numbers(scope)) - lacking
        self._nothing_is_lost(known, after)
        self._ids_are_single(known, after)

        self.open_slots = (self.open_slots - numbers(scope)) | lacking
        self._note_answers(holes)
        self._not_at_exchange_is_proven(known, after)
        not_there = [gap for gap in after if gap.status is NOT_AT_EXCHANGE]
        for left, right in itertools.pairwise(sorted(not_there, key=lambda gap: gap.span)):
            assert left.span.end_ms < right.span.start_ms or left.reason != right.reason

        untouched = [gap for gap in self.gaps if gap not in known]
        self.gaps = [self._then(step, self._saved(gap)) for gap in after if gap.status is not HEALED] + untouched
        assert Counter(slot for gap in self.gaps for slot in numbers([gap.span])) == Counter(self.open_slots)
        assert all(gap.next_recheck_ms is not None or gap.rechecks >= 3 for gap in self.gaps)

    def _nothing_is_lost(self, known: Sequence[Gap], after: Sequence[Gap]) -> None:
        for gap in known:
            for slot in numbers([gap.span]):
                [heir] = [one for one in after if slot in numbers([one.span])]
                assert set(gap.history) <= set(heir.history)
                assert heir.found_ms <= gap.found_ms
                old = {(a.source, a.span, a.checksum) for a in gap.answers}
                assert old <= {(a.source, a.span, a.checksum) for a in heir.answers}
        for gap in after:
            assert any(event.text == "found" for event in gap.history)
            assert [event.at_ms for event in gap.history] == sorted(event.at_ms for event in gap.history)

    def _ids_are_single(self, known: Sequence[Gap], after: Sequence[Gap]) -> None:
        ids = [gap.id for gap in after if gap.id is not None]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {gap.id for gap in known}
        for gap in known:
            if gap.id not in ids:  # its row became part of a neighbour's
                assert any(one.status is NOT_AT_EXCHANGE and one.span.intersect(gap.span) for one in after)

    def _note_answers(self, holes: Sequence[Hole]) -> None:
        self.answers = {slot: self.answers.get(slot, []) for slot in self.open_slots}
        for one in holes:
            for said in one.answers:
                for slot in numbers([said.span]):
                    self.answers[slot].append((said.source is REST, said.last_ms))

    def _not_at_exchange_is_proven(self, known: Sequence[Gap], after: Sequence[Gap]) -> None:
        was_not_there = numbers(gap.span for gap in known if gap.status is NOT_AT_EXCHANGE)
        for slot in numbers(gap.span for gap in after if gap.status is NOT_AT_EXCHANGE) - was_not_there:
            assert self._is_proven(slot)

    def _is_proven(self, slot: int) -> bool:
        """Whether what was answered about one slot suffices."""
        rest, archive = ([ms for by_rest, ms in self.answers[slot] if by_rest is wanted] for wanted in (True, False))
        if rest and archive:
            return True
        opens_ms = BEGIN + slot * MS_PER_HOUR
        archive_is_out = self.now_ms >= (opens_ms // MS_PER_DAY + 2) * MS_PER_DAY
        return archive_is_out and any(times and max(times) - min(times) >= minutes(30) for times in (rest, archive))

    def _saved(self, gap: Gap) -> Gap:
        if gap.id is not None:
            return gap
        self.last_id += 1
        return replace(gap, id=self.last_id)

    def _then(self, step: Step, gap: Gap) -> Gap:
        if step.then == "reopened" and gap.status is NOT_AT_EXCHANGE:
            for slot in numbers([gap.span]):
                self.answers[slot] = []
            return reopened(gap, self.now_ms, "why")
        if step.then == "reason" and gap.status is NOT_AT_EXCHANGE:
            return with_reason(gap, Reason.HALT if gap.span.start_ms % 2 else Reason.UNKNOWN, "note", self.now_ms)
        return postponed(gap, self.now_ms) if step.then == "postponed" and gap.status is MISSING else gap


@given(start_times, st.lists(steps, max_size=8))
def test_any_rechecks_in_any_order_leave_what_a_model_of_slots_says(now_ms: int, some_steps: list[Step]) -> None:
    world = World(now_ms)
    for step in some_steps:
        world.take(step)
