"""Rows off the grid: believed only when a second answer, to another request, has the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asking_driver import Respond, drive, truthful
from core_samples import FIRST_HOUR, batch_at

from core.asking import Question
from core.binance.rules import BinanceRules
from core.candles import CandleBatch
from core.errors import SeriesError
from core.paging import candles_of
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_HOUR, parse_time

ROWS, SLOTS = 10, 35
RULES = BinanceRules(parse_series("BTCUSDT/1h"), ROWS)
ALL = [FIRST_HOUR + number * MS_PER_HOUR for number in range(SLOTS)]
SPAN = Span(ALL[0], ALL[-1] + MS_PER_HOUR)
OFFSETS = [1, 1000, MS_PER_HOUR // 2, -1, -MS_PER_HOUR // 2]


def shifted_in(honest: Respond, answers: Callable[[int], bool], slot: int, offset: int) -> Respond:
    """Shift the candle of `slot` by `offset` ms in those answers (numbered from 0) that `answers` chooses."""
    asked = -1

    def respond(question: Question) -> CandleBatch:
        nonlocal asked
        asked += 1
        times = honest(question).open_times()
        return batch_at(*(ms + offset if ms == ALL[slot] and answers(asked) else ms for ms in times))

    return respond


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("slot", [1, 9, 13, 19, 33])
def test_one_answer_with_a_shifted_candle_is_not_believed(offset: int, slot: int) -> None:
    found, _ = drive(candles_of(RULES, SPAN), shifted_in(truthful(ALL), lambda n: n < 4, slot, offset))
    assert found.batch.open_times() == ALL
    assert found.late == 1


@pytest.mark.parametrize("offset", [1, 1000, MS_PER_HOUR // 2])
def test_a_candle_off_the_grid_that_the_exchange_has_is_kept(offset: int) -> None:
    times = [ms + offset if n == 13 else ms for n, ms in enumerate(ALL)]
    found, asked = drive(candles_of(RULES, SPAN), truthful(times))
    assert (found.batch.open_times(), found.late) == (times, 0)
    pages, again = asked[0], [one for together in asked[1:] for one in together]
    assert again and all(one.is_repeat for one in again)
    assert not {(one.window, one.rows) for one in again} & {(one.window, one.rows) for one in pages}


@pytest.mark.parametrize("slots", [1, 4, ROWS, SLOTS])
def test_where_all_candles_are_off_the_grid_no_request_is_sent_twice_alike_for_the_witness(slots: int) -> None:
    times = [ms + 14_789 for ms in ALL[:slots]]
    span = Span(ALL[0], ALL[0] + slots * MS_PER_HOUR)
    found, asked = drive(candles_of(RULES, span), truthful(times))
    assert found.batch.open_times() == times
    again = {(one.window, one.rows) for together in asked[1:] for one in together}
    assert not again & {(one.window, one.rows) for one in asked[0]}


def test_answers_that_shift_it_differently_each_time_are_an_error_and_nothing_is_believed() -> None:
    asked = 0

    def respond(question: Question) -> CandleBatch:
        nonlocal asked
        asked += 1
        times = truthful(ALL)(question).open_times()
        return batch_at(*(ms + asked if ms == ALL[13] else ms for ms in times))

    with pytest.raises(SeriesError, match="off the grid and keep changing"):
        drive(candles_of(RULES, SPAN), respond)
    assert asked < 50


def test_a_shifted_row_in_a_repeated_answer_is_doubted_too() -> None:
    """The page lacks the candle; asked again, the exchange gives it shifted, and from then on right."""
    honest, asked = truthful(ALL), -1

    def respond(question: Question) -> CandleBatch:
        nonlocal asked
        asked += 1
        times = honest(question).open_times()
        if asked < 4:
            return batch_at(*(ms for ms in times if ms != ALL[13]))
        return batch_at(*(ms + 1 if ms == ALL[13] and asked == 4 else ms for ms in times))

    found, _ = drive(candles_of(RULES, SPAN), respond)
    assert found.batch.open_times() == ALL


def test_when_an_archive_may_hold_candles_off_the_grid() -> None:
    assert RULES.opens_off_grid(parse_time("2018-02-09T09:58") + 14_789)
    assert not RULES.opens_off_grid(parse_time("2018-02-12"))
    assert not BinanceRules(parse_series("um:BTCUSDT/1h"), ROWS).opens_off_grid(parse_time("2018-02-09T12:00"))
