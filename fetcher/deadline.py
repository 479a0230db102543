"""A time limit for all repetitions of a request: retries after failures and repeated questions together."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE_S = 900.0
"""How long the requests for one span (all its pages) may be repeated. The first attempt of each is always made."""


class Deadline:
    """Passes `seconds` after its creation, by the monotonic clock."""

    def __init__(self, monotonic_s: Callable[[], float], seconds: float = PATIENCE_S) -> None:
        self._monotonic_s = monotonic_s
        self._ends_s = monotonic_s() + seconds
        self.seconds = seconds

    @property
    def is_past(self) -> bool:
        """Whether requests must not be repeated any more."""
        return self._monotonic_s() >= self._ends_s
