"""The exchange's clock: set from its `/time` answer, then advanced by this machine's monotonic clock.

Whether a candle has closed is decided by this clock, never by the machine's own date.
"""

from __future__ import annotations

from collections.abc import Callable


class ExchangeClock:
    """The exchange's time in epoch ms; this machine's time until it is set. Thread-safe."""

    def __init__(self, local_now_ms: Callable[[], int], monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._base = (local_now_ms(), monotonic_s())
        self.is_set = False  # whether `now_ms` is the exchange's time

    def set(self, server_ms: int) -> None:
        """Set the time from an answer (epoch ms). It lags by the answer's latency, so no candle closes too early."""
        self._base = (server_ms, self._monotonic_s())  # one assignment, so that no thread sees only one of the two
        self.is_set = True

    def now_ms(self) -> int:
        """Return the exchange's time, epoch ms."""
        base_ms, base_s = self._base
        return base_ms + int((self._monotonic_s() - base_s) * 1000)
