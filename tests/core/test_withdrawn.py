"""When empty answers prove that the exchange has no candle."""

from __future__ import annotations

from dataclasses import replace

from core_samples import batch_at
from gap_samples import BEGIN, DAILY, HOURS, OLD, REST, answer, gap_not_at_exchange, hole, hours, minutes

from core.candles import CandleBatch
from core.compare import compare
from core.gaps import Answer, Hole, new_gap
from core.withdrawn import credible_empty_answers, empty_twice, kept_answers, proven_empty, unproven_slots


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


class TestAnswersAboutStoredCandles:
    def test_a_history_that_begins_later_says_nothing_of_what_was_before(self) -> None:
        later, earlier = hole(hours(2, 3), OLD, REST), hole(hours(0, 1), OLD, REST)
        by_rest = batch_at(hours(1, 2).start_ms)
        assert credible_empty_answers([earlier, later], by_rest) == [*later.answers]
        assert credible_empty_answers([earlier, later], CandleBatch.empty()) == []

    def test_an_archive_or_a_row_that_cannot_be_a_candle_is_no_answer_of_rest(self) -> None:
        slot = hours(5, 6)
        odd = Hole(slot, (Answer(REST, slot, OLD, OLD, unusable="[1]"),))
        assert credible_empty_answers([odd, hole(hours(3, 4), OLD, DAILY)], batch_at(BEGIN)) == []

    def test_two_answers_half_an_hour_apart_prove_what_they_share(self) -> None:
        first = answer(REST, hours(0, 3), OLD)
        for later_ms, proven in ((OLD + minutes(30) - 1, []), (OLD + minutes(30), [hours(2, 3)])):
            assert empty_twice([answer(REST, hours(2, 5), later_ms)], [first]) == proven

    def test_the_earliest_answer_is_kept_for_what_is_empty_still(self) -> None:
        first, now = answer(REST, hours(0, 3), OLD), answer(REST, hours(2, 5), OLD + minutes(40))
        assert kept_answers([now], [first]) == [replace(first, span=hours(2, 3)), replace(now, span=hours(3, 5))]
        assert kept_answers([], [first]) == []


def test_only_slots_that_the_reference_leaves_empty_need_a_proof() -> None:
    stored = batch_at(BEGIN, hours(1, 2).start_ms, hours(2, 3).start_ms + 1, hours(3, 4).start_ms)
    reference = batch_at(BEGIN, hours(2, 3).start_ms)
    differences = compare(stored, reference)
    assert unproven_slots(HOURS.interval, differences, reference, []) == [hours(1, 2), hours(3, 4)]
    assert unproven_slots(HOURS.interval, differences, reference, [hours(0, 3)]) == [hours(3, 4)]
