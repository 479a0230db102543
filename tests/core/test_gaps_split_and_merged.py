"""Gaps that are healed in part, grow together or stay apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gap_samples import (
    HEALED,
    MISSING,
    NOT_AT_EXCHANGE,
    OLD,
    REST,
    asked,
    gap_not_at_exchange,
    hole,
    hours,
    outcome,
    recheck,
)

from core.gaps import (
    Event,
    EventKind,
    Hole,
    Reason,
    with_reason,
)


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
