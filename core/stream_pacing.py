"""How often: messages on one connection, connections to one host, and the waits between failed attempts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from core.times import MS_PER_MINUTE, MS_PER_SECOND

_MOST_CONNECTS = 60
_CONNECTS_WINDOW_MS = 5 * MS_PER_MINUTE
_LONGEST_WAIT_MS = MS_PER_MINUTE
_MOST_DOUBLINGS = 6  # 1, 2, 4 ... 64 s, which the longest wait cuts to 60


class Window:
    """At most `most` happenings in any `length_ms`."""

    def __init__(self, most: int, length_ms: int) -> None:
        self._length_ms = length_ms
        self._times: deque[int] = deque(maxlen=most)

    @property
    def free_ms(self) -> int:
        """From when on the next one is allowed."""
        return self._times[0] + self._length_ms if len(self._times) == self._times.maxlen else 0

    def count(self, now_ms: int) -> None:
        """Count one that happens now."""
        self._times.append(now_ms)


class ConnectBudget:
    """When a host may be connected to. The sessions of all routes of a host share one."""

    def __init__(self) -> None:
        self._connects = Window(_MOST_CONNECTS, _CONNECTS_WINDOW_MS)
        self._held_until_ms = 0

    @property
    def free_ms(self) -> int:
        """From when on the next connection is allowed."""
        return max(self._connects.free_ms, self._held_until_ms)

    def count(self, now_ms: int) -> None:
        """Count a connection that is attempted now."""
        self._connects.count(now_ms)

    def hold(self, until_ms: int) -> None:
        """Allow none before `until_ms`: the exchange has said so."""
        self._held_until_ms = max(self._held_until_ms, until_ms)


class Backoff:
    """Waits between attempts: none, then at random up to 1, 2, 4 ... 60 s, so that many clients do not come at once."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random  # from 0 to below 1
        self._failures = 0

    def next_ms(self) -> int:
        """Return the wait before the next attempt, and count one more failure."""
        failures, self._failures = self._failures, min(self._failures + 1, _MOST_DOUBLINGS + 1)
        if failures == 0:
            return 0
        longest_ms = min(MS_PER_SECOND << (failures - 1), _LONGEST_WAIT_MS)
        return int(self._random() * longest_ms)

    def reset(self) -> None:
        """Begin with no wait again."""
        self._failures = 0
