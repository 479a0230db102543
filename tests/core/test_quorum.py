"""When an answer is believed, driven by lists of answers."""

from __future__ import annotations

import pytest
from asking_driver import drive, one_after_the_other, truthful
from core_samples import FIRST_HOUR
from hypothesis import given
from hypothesis import strategies as st

from core.asking import Asking, Question
from core.candles import CandleBatch
from core.errors import SeriesError, UnusableAnswer
from core.intervals import INTERVALS
from core.quorum import credible, first_by_quorum, oldest_by_halving
from core.ranges import Span
from core.times import MS_PER_HOUR

HOUR = INTERVALS["1h"]
WINDOW = Span(FIRST_HOUR, FIRST_HOUR + 10 * MS_PER_HOUR)
QUESTION = Question(WINDOW, 10)
NONE: list[int] = []
A, B, C = (FIRST_HOUR + number * MS_PER_HOUR for number in range(3))


class TestTheFirstCandle:
    @pytest.mark.parametrize(
        ("answers", "found"),
        [
            ([[A], [A]], A),
            ([[A, B], [A, C]], A),  # only the first counts
            ([[A], [B], [B]], B),
            ([[A], NONE, [A], [A]], A),
            ([NONE, NONE, NONE], None),
            ([NONE, NONE, [A], [A]], A),  # twice none is not enough
            ([NONE, [A], NONE, NONE, NONE], None),
            ([NONE, NONE, [A], NONE, NONE, NONE], None),
        ],
    )
    def test_is_believed_when_two_answers_in_a_row_agree_and_none_when_three_do(
        self, answers: list[list[int]], found: int | None
    ) -> None:
        left = iter(answers)
        assert drive(first_by_quorum(QUESTION), one_after_the_other(left))[0] == found
        assert next(left, "nothing") == "nothing"

    def test_the_first_two_questions_may_be_asked_at_once_and_the_others_are_repeats(self) -> None:
        _, asked = drive(first_by_quorum(QUESTION), one_after_the_other([[A], [B], [C], [C]]))
        assert [len(together) for together in asked] == [2, 1, 1]
        assert [one.is_repeat for together in asked for one in together] == [False, True, True, True]
        assert {one.window for together in asked for one in together} == {WINDOW}

    def test_answers_that_keep_changing_are_an_error(self) -> None:
        questions = 0

        def ever_another(question: Question) -> CandleBatch:
            nonlocal questions
            questions += 1
            return one_after_the_other([[A + questions * MS_PER_HOUR]])(question)

        with pytest.raises(SeriesError, match="keep changing"):
            drive(first_by_quorum(QUESTION), ever_another)
        assert 5 <= questions <= 20

    @given(st.lists(st.sampled_from([NONE, [A], [B]]), max_size=4), st.sampled_from([NONE, [A], [B]]))
    def test_whatever_comes_first_three_equal_answers_end_it(self, first: list[list[int]], last: list[int]) -> None:
        answers = [*first, last, last, last]
        found, asked = drive(first_by_quorum(QUESTION), one_after_the_other(answers))
        taken = sum(map(len, asked))
        end = answers[:taken]
        needed = 3 if found is None else 2
        assert all(one[:1] == ([] if found is None else [found]) for one in end[-needed:])


class TestACredibleAnswer:
    def test_that_holds_all_witnesses_is_believed_at_once(self) -> None:
        found, asked = drive(credible(QUESTION, {A, C}), one_after_the_other([[A, B, C]]))
        assert found.open_times() == [A, B, C]
        assert [[one.is_repeat for one in together] for together in asked] == [[True]]

    def test_that_lacks_a_witness_is_asked_for_again(self) -> None:
        found, asked = drive(credible(QUESTION, {A, C}), one_after_the_other([[A], [A], NONE, [A, C]]))
        assert found.open_times() == [A, C]
        assert len(asked) == 4

    @pytest.mark.parametrize("same", [NONE, [A], [A, B]])
    def test_without_witnesses_is_one_that_came_twice_in_a_row(self, same: list[int]) -> None:
        found, asked = drive(credible(QUESTION, ()), one_after_the_other([same, [C], same, same]))
        assert found.open_times() == same
        assert [len(together) for together in asked] == [2, 1, 1]  # the two that have to agree go at once

    @pytest.mark.parametrize("witnesses", [{C}, set()])
    def test_that_never_comes_is_an_error_that_names_the_window(self, witnesses: set[int]) -> None:
        answers = [[A], [A, B]] * 20
        with pytest.raises(UnusableAnswer, match="answers for 2024-01-15 .. 2024-01-15T10:00Z lack candles"):
            drive(credible(QUESTION, witnesses), one_after_the_other(answers))


class TestHalving:
    """Of a market that answers the newest candles of a range, as COIN-M."""

    SLOTS = 5_000

    def newest_in(self, span: Span) -> Asking[int | None]:
        return first_by_quorum(Question(span, 1))

    @given(st.sets(st.integers(0, SLOTS - 1), min_size=1, max_size=30))
    def test_finds_the_oldest_candle_in_few_questions(self, slots: set[int]) -> None:
        times = sorted(FIRST_HOUR + slot * MS_PER_HOUR for slot in slots)
        asking = oldest_by_halving(HOUR, FIRST_HOUR, times[-1], self.newest_in)
        oldest_ms, asked = drive(asking, truthful(times, newest=True))
        assert oldest_ms == times[0]
        assert sum(map(len, asked)) <= 3 * 14  # 5,000 slots are halved 13 times

    def test_asks_nothing_where_the_candle_known_is_the_first_slot(self) -> None:
        assert drive(oldest_by_halving(HOUR, A, A, self.newest_in), one_after_the_other([])) == (A, [])

    def test_one_wrong_empty_answer_does_not_move_the_beginning(self) -> None:
        times = [FIRST_HOUR + slot * MS_PER_HOUR for slot in range(40, 100)]
        honest = truthful(times, newest=True)
        for wrong in range(1, 12):
            count = 0

            def respond(question: Question, wrong: int = wrong) -> CandleBatch:
                nonlocal count
                count += 1
                return one_after_the_other([NONE])(question) if count == wrong else honest(question)

            asking = oldest_by_halving(HOUR, FIRST_HOUR, times[-1], self.newest_in)
            assert drive(asking, respond)[0] == times[0], wrong
