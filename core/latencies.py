"""Counts of latencies in buckets that grow by an eighth: percentiles of months in a few kilobytes. Pure."""

from __future__ import annotations

import math

_GROWTH = 1.125
_LOG_GROWTH = math.log(_GROWTH)


class Latencies:
    """Latencies in milliseconds; a percentile is right to an eighth of its value."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.longest_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one latency; a negative one, from a clock that was corrected, counts as none."""
        ms = max(ms, 0.001)
        bucket = math.ceil(math.log(ms) / _LOG_GROWTH)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.longest_ms = max(self.longest_ms, ms)

    def percentile(self, share: float) -> float | None:
        """Return what `share` (0 to 1) of the latencies do not exceed, in ms; None when there is none."""
        left = math.ceil(share * self.count)
        for bucket, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return min(self.longest_ms, _GROWTH**bucket)
        return None
