"""Drives a generator of questions with plain answers, without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from core_samples import batch_at

from core.asking import Asking, Question
from core.candles import CandleBatch

Found = TypeVar("Found")
Respond = Callable[[Question], CandleBatch]


def drive(asking: Asking[Found], respond: Respond) -> tuple[Found, list[list[Question]]]:
    """Return what `asking` found, and the questions: those that were yielded together in one list."""
    asked: list[list[Question]] = []
    try:
        questions = next(asking)
        while True:
            asked.append(list(questions))
            questions = asking.send([respond(question) for question in questions])
    except StopIteration as end:
        found: Found = end.value
        return found, asked


def one_after_the_other(answers: Iterable[Sequence[int]]) -> Respond:
    """Answer with the candles at these open times, whatever is asked; fail where more is asked than there are."""
    left = iter(answers)
    return lambda question: batch_at(*next(left))


def truthful(times: Sequence[int], *, newest: bool = False) -> Respond:
    """Answer as an exchange that has candles at `times`: the oldest of the window, or the newest as COIN-M does."""

    def respond(question: Question) -> CandleBatch:
        inside = [ms for ms in times if question.window.start_ms <= ms < question.window.end_ms]
        return batch_at(*(inside[-question.rows :] if newest else inside[: question.rows]))

    return respond
