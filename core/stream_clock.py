"""The time by which live streams are judged: it never goes back, and it goes on while the machine sleeps."""

from __future__ import annotations

_NS_PER_MS = 1_000_000
# A date that ran ahead of the steady clock by more than this was not corrected: the machine slept.
_SLEPT_MS = 10_000


class StreamClock:
    """Epoch ms as they were at the start, advanced by a steady clock, and by the date when the machine has slept.

    Many systems stop their steady clock while they sleep. A date that is set back or corrected changes nothing.
    `speed` is how many ms pass in a real one: above 1 where a test lets time run faster.
    """

    def __init__(self, date_ms: int, steady_ns: int, speed: float) -> None:
        self._per_ns = speed / _NS_PER_MS
        self._begin_ns = steady_ns
        self._offset_ms = date_ms
        self._lead_ms = date_ms  # of the date before the steady clock

    def at(self, steady_ns: int) -> int:
        """Return the time of a reading of the steady clock; a sleep since the last `read` is not in it yet."""
        return int((steady_ns - self._begin_ns) * self._per_ns) + self._offset_ms

    def read(self, date_ms: int, steady_ns: int) -> int:
        """Return the time of now, from readings of both clocks."""
        lead_ms = date_ms - int((steady_ns - self._begin_ns) * self._per_ns)
        if lead_ms - self._lead_ms > _SLEPT_MS:
            self._offset_ms += lead_ms - self._lead_ms
        self._lead_ms = lead_ms
        return self.at(steady_ns)
