"""The exchange's clock: set from `/time`, carried on by this machine's monotonic clock.

The machine's own idea of the date is never used to decide whether a candle has closed.
"""

from __future__ import annotations

from collections.abc import Callable


class ExchangeClock:
    """Epoch ms by the exchange; this machine's until it has been set."""

    def __init__(self, local_now_ms: Callable[[], int], monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._base = (local_now_ms(), monotonic_s())
        self.is_set = False  # whether it is the exchange's own time

    def set(self, server_ms: int) -> None:
        """Take over the exchange's time. It is older than now by the answer's way here: the safe side."""
        self._base = (server_ms, self._monotonic_s())  # one value, so that no thread sees half of it
        self.is_set = True

    def now_ms(self) -> int:
        """Return the exchange's time."""
        base_ms, base_s = self._base
        return base_ms + int((self._monotonic_s() - base_s) * 1000)
