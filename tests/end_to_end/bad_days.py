"""Names the bad days of docs/live-bad-days.md and the tests that live through them, in the order of the document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class BadDay:
    """A row of the document."""

    name: str
    message: str  # what a person reads, and the test has seen; empty where nothing needs to be said
    test: str


DAYS: list[BadDay] = []


def bad_day(name: str, message: str) -> Callable[[T], T]:
    """Mark a test as that of a row; the fixture `said` of its module holds that the message was said."""

    def register(test: T) -> T:
        DAYS.append(BadDay(name, message, f"{test.__module__.rpartition('.')[2]}.py::{test.__name__}"))
        test.__dict__.setdefault("bad_days", []).append(DAYS[-1])
        return test

    return register
