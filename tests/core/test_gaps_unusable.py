"""Rows that cannot be candles: gaps of their own, explained at once, with the row as evidence."""

from __future__ import annotations

from dataclasses import replace

from gap_samples import BEGIN, DAILY, NOT_AT_EXCHANGE, OLD, REST, YOUNG, hole, hours, outcome, recheck

from core.gaps import Answer, GapStatus, Hole, Reason, new_gap
from core.times import MS_PER_DAY

ROW = '[1705320000000,"-1"]'


def unusable(slot: int, at_ms: int, row: str = ROW) -> Hole:
    span = hours(slot, slot + 1)
    return Hole(span, (Answer(REST, span, at_ms, at_ms, unusable=row),))


def test_it_is_explained_at_once_and_rechecked_after_a_day() -> None:
    [gap] = recheck([], [unusable(3, YOUNG)], YOUNG)
    assert (gap.status, gap.reason, gap.next_recheck_ms) == (NOT_AT_EXCHANGE, Reason.UNUSABLE, YOUNG + MS_PER_DAY)
    assert gap.answers[0].document()["row"] == ROW
    [again] = recheck([gap], [unusable(3, YOUNG + MS_PER_DAY)], YOUNG + MS_PER_DAY)
    assert (again.answers[0].times, again.rechecks, again.reason) == (2, 1, Reason.UNUSABLE)


def test_a_candle_that_comes_heals_it() -> None:
    [gap] = recheck([], [unusable(3, OLD)], OLD)
    assert outcome(recheck([gap], [], OLD, [gap.span])) == [(gap.span, GapStatus.HEALED)]


def test_a_slot_amid_missing_ones_is_a_gap_of_its_own() -> None:
    holes = [hole(hours(0, 2), YOUNG, REST), unusable(2, YOUNG), hole(hours(3, 5), YOUNG, REST)]
    found = outcome(recheck([], holes, YOUNG))
    assert found == [
        (hours(0, 2), GapStatus.MISSING),
        (hours(2, 3), NOT_AT_EXCHANGE),
        (hours(3, 5), GapStatus.MISSING),
    ]
    before = replace(new_gap(hours(0, 5), YOUNG), id=7)
    after = recheck([before], holes, YOUNG)
    assert outcome(after) == found
    assert [gap.id for gap in after] == [7, None, None]


def test_neighbours_stay_apart_each_with_its_row() -> None:
    gaps = recheck([], [unusable(0, OLD), unusable(1, OLD, "[2]")], OLD)
    assert [(gap.span, gap.answers[0].unusable) for gap in gaps] == [(hours(0, 1), ROW), (hours(1, 2), "[2]")]


def test_another_row_is_another_answer() -> None:
    [gap] = recheck([], [unusable(0, OLD)], OLD)
    [after] = recheck([gap], [unusable(0, OLD + MS_PER_DAY, "[2]")], OLD + MS_PER_DAY)
    assert [answer.unusable for answer in after.answers] == [ROW, "[2]"]


def test_a_plain_hole_beside_it_is_proven_by_itself() -> None:
    holes = [hole(hours(0, 2), OLD, REST, DAILY), unusable(2, OLD)]
    first, second = recheck([], holes, OLD)
    assert (first.span, first.status, first.reason) == (hours(0, 2), NOT_AT_EXCHANGE, None)
    assert (second.span, second.reason) == (hours(2, 3), Reason.UNUSABLE)
    assert first.span.start_ms == BEGIN
