"""What to ask an exchange next, apart from asking it.

Each function that needs several answers is a generator: it yields the pages to ask for and is sent what came. It never
waits and never sends; a driver of a few lines does (fetcher/binance/rest.py), and another one may do the same with
asyncio. In tests a list of answers is driver enough.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from core.candles import CandleBatch
from core.ranges import Span

Found = TypeVar("Found")


class Bounds(Enum):
    """Which ends of its window a question names to the exchange."""

    BOTH = "both"
    START = "start"  # the oldest candles from there on
    NONE = "none"  # the newest candles of all


@dataclass(frozen=True, slots=True)
class Question:
    """One page: up to `rows` candles that open in `window`."""

    window: Span
    rows: int
    bounds: Bounds = Bounds.BOTH
    may_be_open: bool = False  # whether the answer may hold a candle that has not closed
    is_repeat: bool = False  # asked before: not asked again once patience has run out


Asking = Generator[Sequence[Question], Sequence[CandleBatch], Found]
"""Yields questions that may be asked at the same time, is sent their answers in that order, returns what was found."""


def answer_to(question: Question) -> Asking[CandleBatch]:
    """Ask one question."""
    [found] = yield (question,)
    return found
