"""Whether a host that fails again and again is asked at all: a circuit breaker. Pure; times are epoch ms.

Closed: it is asked. Open: it is left alone for a while. Half-open: when that is over, one request is a trial; its
success closes the circuit, its failure opens it for twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.times import MS_PER_MINUTE, MS_PER_SECOND

FAILURES = 5
"""So many failures in a row open the circuit ..."""
WITHIN_MS = MS_PER_MINUTE
"""... when they came within this time."""
FIRST_OPEN_MS, LONGEST_OPEN_MS = 30 * MS_PER_SECOND, 10 * MS_PER_MINUTE
_TRIAL_MS = 2 * MS_PER_MINUTE  # no request takes longer; a trial whose process died is given up then


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of one host; nothing of it: it is well."""

    failed_ms: tuple[int, ...] = ()  # failures in a row, the newest last
    open_ms: int = 0  # for how long it was opened the last time; 0: it is closed
    until_ms: int = 0  # no request before
    trial_ms: int = 0  # when a trial was begun that has not ended; 0: there is none

    def asked(self, now_ms: int) -> Circuit | None:
        """Return the circuit with a request under way, or None when none may be sent now."""
        if not self.open_ms:
            return self
        if self._left(now_ms, self.until_ms, self.open_ms) > 0:
            return None
        if self.trial_ms and self._left(now_ms, self.trial_ms + _TRIAL_MS, _TRIAL_MS) > 0:
            return None
        return replace(self, trial_ms=now_ms)

    def next_ms(self, now_ms: int) -> int:
        """Return when a request may be tried again."""
        return max(now_ms, self.until_ms, self.trial_ms + _TRIAL_MS if self.trial_ms else 0)

    def failed(self, now_ms: int) -> Circuit:
        """Return the circuit after a failure of the host: no connection, no answer, or a server fault."""
        if self.open_ms:
            if not self.trial_ms:
                return self  # a request that was under way when it opened
            open_ms = min(2 * self.open_ms, LONGEST_OPEN_MS)
            return Circuit((), open_ms, now_ms + open_ms)
        failed = (*self.failed_ms, now_ms)[-FAILURES:]
        if len(failed) == FAILURES and 0 <= now_ms - failed[0] <= WITHIN_MS:
            return Circuit((), FIRST_OPEN_MS, now_ms + FIRST_OPEN_MS)
        return Circuit(failed)

    def _left(self, now_ms: int, until_ms: int, for_ms: int) -> int:
        """Return what is left; nothing of what would last longer than it can, because a clock was set back."""
        left_ms = until_ms - now_ms
        return left_ms if left_ms <= for_ms else 0
