"""Two requests that do not depend on each other travel together."""

from __future__ import annotations

import threading

import pytest

from fetcher.at_once import both


def test_the_two_are_called_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)  # broken when one of them is called after the other
    first, second = both(lambda: (meeting.wait(), "first")[1], lambda: (meeting.wait(), 2)[1])
    assert (first, second) == ("first", 2)


def test_the_error_is_the_firsts_where_both_fail() -> None:
    def fail(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="^first$"):
        both(lambda: fail("first"), lambda: fail("second"))
    with pytest.raises(ValueError, match="^second$"):
        both(lambda: 1, lambda: fail("second"))


def test_a_failure_of_the_first_does_not_wait_for_the_second() -> None:
    answered = threading.Event()
    try:
        with pytest.raises(ZeroDivisionError):
            both(lambda: 1 // 0, lambda: answered.wait(10))
        assert not answered.is_set()
    finally:
        answered.set()
