"""A clock that never goes back, and goes on while the machine sleeps where the system has such a one."""

from __future__ import annotations

import time

# Linux stops its monotonic clock while the machine sleeps, but not this one.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def steady_s() -> float:
    """Return seconds since some moment, the same moment in all threads."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
