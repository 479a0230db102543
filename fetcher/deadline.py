"""One bound on all asking again: transport retries and repeated questions together."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE_S = 900.0
"""How long one question (all pages of a span) may be asked again. A first attempt is never cut off by it."""


class Deadline:
    """Runs out `seconds` after it was made, by the monotonic clock."""

    def __init__(self, monotonic_s: Callable[[], float], seconds: float = PATIENCE_S) -> None:
        self._monotonic_s = monotonic_s
        self._ends_s = monotonic_s() + seconds
        self.seconds = seconds

    @property
    def is_past(self) -> bool:
        """Whether nothing is to be asked again any more."""
        return self._monotonic_s() >= self._ends_s
