"""All candles of a span by pages, driven by lists of answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asking_driver import Respond, drive, truthful
from core_samples import FIRST_HOUR, batch_at
from hypothesis import given
from hypothesis import strategies as st

from core.asking import Bounds, Question
from core.binance.rules import BinanceRules
from core.candles import CandleBatch
from core.errors import SeriesError, UnusableAnswer
from core.paging import candles_of
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_HOUR

Times = list[int]
ROWS = 10  # of a page
SLOTS = 35


def hour(number: int) -> int:
    return FIRST_HOUR + number * MS_PER_HOUR


SPAN = Span(hour(0), hour(SLOTS))
ALL = [hour(number) for number in range(SLOTS)]


def rules(notation: str = "BTCUSDT/1h") -> BinanceRules:
    return BinanceRules(parse_series(notation), ROWS)


def without(*slots: int) -> Times:
    return [ms for number, ms in enumerate(ALL) if number not in slots]


def altered(honest: Respond, changes: dict[int, Callable[[Times], Times]]) -> Respond:
    """Answer as `honest`, with the answer to the n-th question (from 0) changed."""
    asked = -1

    def respond(question: Question) -> CandleBatch:
        nonlocal asked
        asked += 1
        times = honest(question).open_times()
        return batch_at(*changes.get(asked, lambda same: same)(times))

    return respond


def test_whole_pages_are_believed_at_once_and_asked_for_together() -> None:
    found, asked = drive(candles_of(rules(), SPAN), truthful(ALL))
    assert (found.batch.open_times(), found.late) == (ALL, 0)
    [together] = asked
    windows = [(one.window.start_ms, one.window.end_ms, one.rows) for one in together]
    assert windows == [
        (hour(0), hour(10), 10),
        (hour(10), hour(20), 10),
        (hour(20), hour(30), 10),
        (hour(30), hour(35), 5),
    ]
    assert not any(one.is_repeat or one.may_be_open for one in together)
    assert {one.bounds for one in together} == {Bounds.BOTH}


def test_a_hole_of_the_exchange_is_believed_after_asking_again_beside_known_candles() -> None:
    times = without(13, 14)
    found, asked = drive(candles_of(rules(), SPAN), truthful(times))
    assert (found.batch.open_times(), found.late) == (times, 0)
    [again] = [one for together in asked[1:] for one in together]
    assert again.is_repeat
    assert again.window == Span(hour(12), hour(16))  # a witness on both sides


@pytest.mark.parametrize("page", range(4))
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_what_a_page_that_was_cut_off_lacks_comes_on_asking_again_and_is_counted(page: int, kept: int) -> None:
    found, _ = drive(candles_of(rules(), SPAN), altered(truthful(ALL), {page: lambda times: times[:kept]}))
    assert found.batch.open_times() == ALL
    assert found.late == (10 if page < 3 else 5) - kept


def test_a_page_that_lacks_candles_in_the_middle_is_completed() -> None:
    change = {1: lambda times: times[:3] + times[6:]}
    found, _ = drive(candles_of(rules(), SPAN), altered(truthful(ALL), change))
    assert (found.batch.open_times(), found.late) == (ALL, 3)


def test_an_answer_without_its_witnesses_is_not_believed() -> None:
    """Asked again, the exchange answers nothing once, not even the candles beside the hole."""
    changes = {1: lambda times: times[:5], 4: lambda times: []}
    found, asked = drive(candles_of(rules(), SPAN), altered(truthful(ALL), changes))
    assert (found.batch.open_times(), found.late) == (ALL, 5)
    assert [together[0].window for together in asked[1:3]] == [asked[1][0].window] * 2


@pytest.mark.parametrize("end", range(1, 12))
def test_a_hole_at_the_end_is_asked_for_by_itself_until_two_answers_agree(end: int) -> None:
    times = ALL[: SLOTS - end]
    found, asked = drive(candles_of(rules(), SPAN), truthful(times))
    assert (found.batch.open_times(), found.late) == (times, 0)
    alone = [one for together in asked[1:] for one in together if one.window.start_ms >= hour(SLOTS - end)]
    assert len(alone) >= 2


def test_an_answer_cut_off_twice_at_the_end_of_a_window_is_seen_through() -> None:
    """The witnesses lie before the cut, so that they are all there: the rest is asked for by itself."""
    changes = {3: lambda times: times[:2], 4: lambda times: times[:1]}
    found, _ = drive(candles_of(rules(), SPAN), altered(truthful(ALL), changes))
    assert (found.batch.open_times(), found.late) == (ALL, 3)


def test_of_a_span_without_candles_silence_is_believed_after_three_answers() -> None:
    span = Span(hour(0), hour(5))
    found, asked = drive(candles_of(rules(), span), truthful([]))
    assert (found.batch.rows, found.late) == (0, 0)
    assert sum(map(len, asked)) == 3


def test_of_a_span_without_candles_one_that_comes_late_is_found() -> None:
    honest = truthful([hour(3)])
    span = Span(hour(0), hour(5))
    found, _ = drive(candles_of(rules(), span), altered(honest, {0: lambda times: [], 1: lambda times: []}))
    assert (found.batch.open_times(), found.late) == ([hour(3)], 1)


def test_answers_that_always_change_are_never_believed() -> None:
    count = 0

    def respond(question: Question) -> CandleBatch:
        nonlocal count
        count += 1
        times = [ms for ms in ALL if question.window.start_ms <= ms < question.window.end_ms]
        return batch_at(*times[: count % 2])

    with pytest.raises((SeriesError, UnusableAnswer), match="keep changing"):
        drive(candles_of(rules(), SPAN), respond)
    assert count < 200


def test_answers_that_grow_a_candle_at_a_time_are_an_error() -> None:
    """One candle a round: the rounds run out before all have come."""
    wide = Span(hour(0), hour(9))
    given_so_far: Times = []
    count = 0

    def respond(question: Question) -> CandleBatch:
        nonlocal count
        count += 1
        if count % 3 == 1:
            given_so_far.append(hour(len(given_so_far)))
        return batch_at(*(ms for ms in given_so_far if question.window.start_ms <= ms < question.window.end_ms))

    with pytest.raises(SeriesError, match="keep changing"):
        drive(candles_of(rules(), wide), respond)


@pytest.mark.parametrize("notation", ["BTCUSDT/1h", "cm:BTCUSD_PERP/1h"])
@given(
    holes=st.sets(st.integers(0, SLOTS - 1)),
    damaged=st.none() | st.tuples(st.integers(0, 3), st.sets(st.integers(0, ROWS - 1))),
)
def test_with_any_holes_and_one_damaged_page_exactly_the_exchange_s_candles_are_found(
    notation: str, holes: set[int], damaged: tuple[int, set[int]] | None
) -> None:
    times = without(*holes)
    respond = truthful(times, newest=notation.startswith("cm"))
    lacking = 0
    if damaged is not None:
        page, dropped = damaged
        held = [ms for ms in times if hour(page * ROWS) <= ms < hour((page + 1) * ROWS)]
        kept = [ms for number, ms in enumerate(held) if number not in dropped]
        lacking = len(held) - len(kept)
        respond = altered(respond, {page: lambda _: kept})
    found, asked = drive(candles_of(rules(notation), SPAN), respond)
    assert (found.batch.open_times(), found.late) == (times, lacking)
    assert all(one.is_repeat for together in asked[1:] for one in together)
    assert all(one.rows <= ROWS for together in asked for one in together)
