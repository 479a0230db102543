"""The replay exchange's own clock, so that a test or a demo decides what "now" is."""

from __future__ import annotations

import threading
import time

LONG_JUMP_MS = 300_000
"""A step of the clock above which what lies between was not lived through: streams send nothing of it."""


class ReplayClock:
    """Epoch ms that start at a chosen instant and run `speed` times as fast as real time; 0 stands still.

    Safe to read and to set from several threads.
    """

    def __init__(self, now_ms: int, speed: float = 1.0) -> None:
        if speed < 0:
            raise ValueError(f"a clock cannot run backwards: speed {speed}")
        self._lock = threading.Lock()
        self._speed = speed
        self._jumps = 0
        self._set_ms = now_ms
        self._set_at = time.monotonic()

    def now_ms(self) -> int:
        """Return the current instant, epoch ms."""
        with self._lock:
            return self._now_ms()

    def reading(self) -> tuple[int, int]:
        """Return the current instant and how many long jumps, or jumps backwards, there were so far."""
        with self._lock:
            return self._now_ms(), self._jumps

    def set(self, now_ms: int) -> None:
        """Make it `now_ms` (epoch ms) from here on; earlier than before is allowed."""
        with self._lock:
            self._restart(now_ms)

    def advance(self, ms: int) -> None:
        """Move forward by `ms` at once."""
        with self._lock:
            self._restart(self._now_ms() + ms)

    def _now_ms(self) -> int:
        return self._set_ms + int((time.monotonic() - self._set_at) * 1000 * self._speed)

    def _restart(self, now_ms: int) -> None:
        if not 0 <= now_ms - self._now_ms() <= LONG_JUMP_MS:
            self._jumps += 1
        self._set_ms = now_ms
        self._set_at = time.monotonic()
