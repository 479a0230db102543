"""Streamed candles are provisional until they were held against REST: how many, and when that is overdue. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.intervals import Interval
from core.ranges import Span
from core.times import MS_PER_HOUR, MS_PER_MINUTE

AUDITED_AFTER_MS = MS_PER_MINUTE
"""A candle is audited this long after its end at the earliest: REST's own value may change for some seconds."""
OVERDUE_MS = 2 * MS_PER_HOUR
"""A stream audits once an hour: a candle that has waited twice as long since its end is not looked at any more."""

LEFT_BEHIND_MS = 90 * MS_PER_MINUTE
"""What has waited so long was left by a stream that no longer runs: a backfill audits it."""


@dataclass(frozen=True, slots=True)
class ProvisionalCandles:
    """The candles of one series that were not audited yet."""

    candles: int = 0
    since_ms: int | None = None  # when the oldest of them closed, epoch ms; None: there is none

    @classmethod
    def of(cls, interval: Interval, rows: Iterable[tuple[Span, int]]) -> ProvisionalCandles:
        """Return those of provisional ledger rows, given as spans with their candles."""
        known = list(rows)
        if not known:
            return cls()
        first_ms = min(span.start_ms for span, _ in known)
        return cls(sum(candles for _, candles in known), interval.add(interval.floor(first_ms), 1))

    def is_overdue(self, now_ms: int) -> bool:
        """Whether an audit should have come by now; `now_ms` is the exchange's clock, epoch ms."""
        return self.since_ms is not None and now_ms - self.since_ms > OVERDUE_MS
