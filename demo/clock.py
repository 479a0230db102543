"""The replay exchange's own clock, so that a test or a demo decides what "now" is."""

from __future__ import annotations

import threading
import time


class ReplayClock:
    """Epoch ms that start at a chosen instant and run `speed` times as fast as real time; 0 stands still.

    Safe to read and to set from several threads.
    """

    def __init__(self, now_ms: int, speed: float = 1.0) -> None:
        if speed < 0:
            raise ValueError(f"a clock cannot run backwards: speed {speed}")
        self._lock = threading.Lock()
        self._speed = speed
        self._set_ms = now_ms
        self._set_at = time.monotonic()

    def now_ms(self) -> int:
        """Return the current instant, epoch ms."""
        with self._lock:
            return self._now_ms()

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
        self._set_ms = now_ms
        self._set_at = time.monotonic()
