"""When a trouble that lasts is said again: at once, then ever more rarely. Pure."""

from __future__ import annotations

_FIRST_S, _LONGEST_S = 60.0, 3_600.0


class Seldom:
    """Says a lasting trouble at once, again after a minute, then after twice as long each time, up to an hour."""

    def __init__(self) -> None:
        self._next_s: float | None = None  # None: nothing is wrong
        self._pause_s = _FIRST_S

    def is_due(self, now_s: float) -> bool:
        """Note that the trouble is there at `now_s` (of any steady clock); return whether to say so."""
        if self._next_s is None:
            self._pause_s = _FIRST_S
        elif now_s < self._next_s:
            return False
        else:
            self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        self._next_s = now_s + self._pause_s
        return True

    def ends(self) -> bool:
        """Note that the trouble is over; return whether there was one."""
        was_there, self._next_s = self._next_s is not None, None
        return was_there
