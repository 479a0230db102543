"""When an answer of the exchange is accepted: by quorum, or because it holds known candles (docs/adr/0004). Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from core.asking import Asking, Question, answer_to
from core.candles import CandleBatch, UnusableCandle
from core.errors import SeriesError, UnusableAnswer
from core.intervals import Interval
from core.ranges import Span

QUORUM = 2
"""Number of equal answers in a row that is accepted."""
QUORUM_OF_NONE = 3
"""The same for "no candle", because a faulty answer looks just like it."""
_MAX_ASKED = 8


def first_by_quorum(question: Question) -> Asking[int | None]:
    """Return the open time of the first candle of an answer that reached its quorum; None for "no candle".

    Raises SeriesError when the answers keep changing.
    """
    again = replace(question, is_repeat=True)
    seen = [_first(answer) for answer in (yield (question, again))]
    while not _has_quorum(seen):
        if len(seen) > _MAX_ASKED:
            raise SeriesError("the exchange's answers about the first or last candle keep changing")
        seen.append(_first((yield from answer_to(again))))
    return seen[-1]


def is_agreed(seen: Sequence[tuple[UnusableCandle, ...]]) -> bool:
    """Whether the last answers, as many as for "no candle", hold the same rows that cannot be candles.

    A damaged answer is told from a damaged record of the exchange only by asking again.
    """
    return list(seen[-QUORUM_OF_NONE:]) == [seen[-1]] * QUORUM_OF_NONE


def _has_quorum(seen: Sequence[int | None]) -> bool:
    needed = QUORUM_OF_NONE if seen[-1] is None else QUORUM
    return list(seen[-needed:]) == [seen[-1]] * needed


def _first(batch: CandleBatch) -> int | None:
    """Return the first open time; a row that cannot be a candle counts too: the series has begun."""
    times = [*batch.open_times()[:1], *(one.open_ms for one in batch.unusable)]
    return min(times, default=None)


def credible(question: Question, known_times: Collection[int]) -> Asking[CandleBatch]:
    """Return an answer that holds all open times `known_times`; without any, one that came twice in a row.

    Together with the page that was read before, two make a quorum of three. Raises UnusableAnswer when no answer
    is accepted.
    """
    again = replace(question, is_repeat=True)
    found = yield (again,) if known_times else (again, again)
    asked = len(found)
    while not _is_credible(found, known_times):
        if asked >= _MAX_ASKED:
            break
        found = [found[-1], (yield from answer_to(again))]
        asked += 1
    else:
        return found[-1]
    raise UnusableAnswer(
        f"the exchange's answers for {question.window} lack candles that it has just given, or keep changing"
    )


def _is_credible(newest: Sequence[CandleBatch], known_times: Collection[int]) -> bool:
    """Whether the last of the newest two answers is accepted."""
    times = newest[-1].open_times()
    return set(known_times) <= set(times) if known_times else times == newest[0].open_times()


def oldest_by_halving(
    interval: Interval, none_before_ms: int, candle_ms: int, newest_in: Callable[[Span], Asking[int | None]]
) -> Asking[int]:
    """Return the open time of the first candle at or after `none_before_ms`, by binary search.

    `candle_ms` is the open time of any later candle. For markets that return the newest candles of a range:
    `newest_in` requests the newest of a span.
    """
    while (low := interval.index(none_before_ms)) < (high := interval.index(candle_ms)):
        middle_ms = interval.open_of((low + high + 1) // 2)
        earlier_ms = yield from newest_in(Span(none_before_ms, middle_ms))
        if earlier_ms is None:
            none_before_ms = middle_ms
        else:
            candle_ms = earlier_ms
    return candle_ms
