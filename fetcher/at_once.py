"""Two requests that do not depend on each other, sent at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

First = TypeVar("First")
Second = TypeVar("Second")


def both(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """Call both at the same time and return both results; where both fail, the error is that of `first`.

    The thread is one of its own: the callers are workers, and in their pool two that wait for each other's place
    would wait for ever.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="at-once")
    try:
        beside = thread.submit(second)
        return first(), beside.result()
    finally:
        thread.shutdown(wait=False, cancel_futures=True)  # who is told to stop does not wait for an answer
