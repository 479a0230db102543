"""This machine's clocks: its date for stamps, a steady one for waits. Neither decides whether a candle has closed."""

from __future__ import annotations

import time

# Linux stops its monotonic clock while the machine sleeps, but not this one.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def local_now_ms() -> int:
    """Return epoch ms, for stamps in logs and ledger."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return ms since some moment, by a clock that nobody can set."""
    return (time.monotonic_ns() if _CLOCK is None else time.clock_gettime_ns(_CLOCK)) // 1_000_000
