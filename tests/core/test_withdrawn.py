"""When empty answers prove that the exchange has no candle."""

from __future__ import annotations

from dataclasses import replace

from core_samples import batch_at
from gap_samples import BEGIN, DAILY, HOURS, OLD, REST, answer, gap_not_at_exchange, hole, hours, minutes

from core.compare import compare
from core.gaps import Answer, Hole, new_gap
from core.withdrawn import proven_empty, unproven_slots


def test_rest_alone_proves_nothing() -> None:
    assert proven_empty([hole(hours(0, 2), OLD, REST)], [], OLD) == []


def test_a_verified_archive_does() -> None:
    assert proven_empty([hole(hours(0, 2), OLD, REST, DAILY)], [], OLD) == [hours(0, 2)]


def test_an_answer_from_half_an_hour_before_does() -> None:
    gap = replace(new_gap(hours(0, 2), OLD), answers=(answer(REST, hours(0, 2), OLD),))
    assert proven_empty([], [gap], OLD + minutes(30) - 1) == []
    assert proven_empty([], [gap], OLD + minutes(30)) == [hours(0, 2)]


def test_an_explained_gap_does_and_a_row_that_cannot_be_a_candle_does_not() -> None:
    slot = hours(5, 6)
    odd = Hole(slot, (Answer(DAILY, slot, OLD, OLD, checksum="ab", unusable="[1]"),))
    assert proven_empty([odd], [gap_not_at_exchange(hours(0, 2))], OLD) == [hours(0, 2)]


def test_only_slots_that_the_reference_leaves_empty_need_a_proof() -> None:
    stored = batch_at(BEGIN, hours(1, 2).start_ms, hours(2, 3).start_ms + 1, hours(3, 4).start_ms)
    reference = batch_at(BEGIN, hours(2, 3).start_ms)
    differences = compare(stored, reference)
    assert unproven_slots(HOURS.interval, differences, reference, []) == [hours(1, 2), hours(3, 4)]
    assert unproven_slots(HOURS.interval, differences, reference, [hours(0, 3)]) == [hours(3, 4)]
