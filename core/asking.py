"""Deciding which pages to request next, separate from requesting them.

A function that needs several answers is a generator: it yields the pages to request and is sent their candles. It does
no I/O and never waits. A short driver does (fetcher/binance/rest.py); a driver with asyncio could use the same
generators, and a test can send answers from a list.
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
    """Which ends of its window a request passes to the exchange."""

    BOTH = "both"
    START = "start"  # returns the oldest candles from the start on
    NONE = "none"  # returns the newest candles of the series


@dataclass(frozen=True, slots=True)
class Question:
    """One page to request: up to `rows` candles whose open time is in `window`."""

    window: Span
    rows: int
    bounds: Bounds = Bounds.BOTH
    may_be_open: bool = False  # the answer may hold a candle that has not closed
    is_repeat: bool = False  # requested before; not repeated once the deadline has passed


Asking = Generator[Sequence[Question], Sequence[CandleBatch], Found]
"""Yields questions that may be sent at the same time, receives their answers in that order, returns its result."""


def answer_to(question: Question) -> Asking[CandleBatch]:
    """Request one page and return its candles."""
    [found] = yield (question,)
    return found
