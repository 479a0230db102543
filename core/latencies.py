"""Counts of latencies in buckets that grow by an eighth: percentiles of months in a few kilobytes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

_GROWTH = 1.125
_LOG_GROWTH = math.log(_GROWTH)
_SHORTEST_MS = 0.001


class Latencies:
    """Latencies in milliseconds; a percentile is right to an eighth of its value.

    One thread adds; others may copy it meanwhile.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.longest_ms = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self._counts.copy().values())

    def add(self, ms: float) -> None:
        """Count one latency; a negative one, from a clock that was corrected, counts as none."""
        if ms < _SHORTEST_MS:  # not max(): this runs for every frame
            ms = _SHORTEST_MS
        bucket = math.ceil(math.log(ms) / _LOG_GROWTH)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        if ms > self.longest_ms:
            self.longest_ms = ms

    def percentile(self, share: float) -> float | None:
        """Return what `share` (0 to 1) of the latencies do not exceed, in ms; None when there is none."""
        counts = self._counts.copy()
        left = math.ceil(share * sum(counts.values()))
        for bucket, count in sorted(counts.items()):
            left -= count
            if left <= 0:
                return min(self.longest_ms, _GROWTH**bucket)
        return None

    def since(self, earlier: Latencies) -> Latencies:
        """Return those that were added after `earlier`, a copy of this one, was made."""
        found = Latencies()
        found.longest_ms = self.longest_ms
        known = earlier._counts
        found._counts = {
            bucket: count - known.get(bucket, 0)
            for bucket, count in self._counts.copy().items()
            if count > known.get(bucket, 0)
        }
        return found

    @classmethod
    def together(cls, several: Iterable[Latencies]) -> Latencies:
        """Return a copy of all of `several`."""
        found = cls()
        for one in several:
            found.longest_ms = max(found.longest_ms, one.longest_ms)
            for bucket, count in one._counts.copy().items():
                found._counts[bucket] = found._counts.get(bucket, 0) + count
        return found
