"""What live streams have delivered: counts since the start, and rates over the last minutes. Pure.

Counts are written by one thread and may be read by others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from core.latencies import Latencies
from core.streams import StreamKey

K = TypeVar("K", bound=Hashable)


class StreamState(StrEnum):
    """What a stream is doing."""

    CONNECTING = "connecting"  # asked for, and nothing has come yet, or not again since a cut
    LIVE = "live"
    HEALING = "healing"  # it delivers, and what it missed is being fetched by REST
    SYNCING = "syncing"  # it delivers, and the order book is not complete yet, or not again
    SILENT = "silent"  # it delivers nothing although it was asked for again and on another connection
    STOPPED = "stopped"


@dataclass(slots=True)
class StreamActivity:
    """What one stream has delivered since the start, over all its connections."""

    key: StreamKey
    frames: int = 0
    bytes: int = 0
    last_ms: int = 0  # when the newest frame was read, by core/stream_clock.py; 0: none came
    latencies: Latencies = field(default_factory=Latencies)  # from the exchange's event time to the reading


class Recent(Generic[K]):
    """Counts that only grow, as they were at the times of the last minutes: what came per second since.

    Times are ms of one clock, whichever.
    """

    def __init__(self, now_ms: int, longest_ms: int) -> None:
        self._longest_ms = longest_ms
        self._samples: deque[tuple[int, Mapping[K, int]]] = deque([(now_ms, {})])

    def note(self, now_ms: int, counts: Mapping[K, int]) -> None:
        """Note the counts of now; the caller changes the mapping no more."""
        self._samples.append((now_ms, counts))
        while len(self._samples) > 2 and self._samples[1][0] <= now_ms - self._longest_ms:
            self._samples.popleft()

    def per_second(self, key: K, over_ms: int) -> float:
        """Return how much came per second in the last `over_ms` before the newest note, or since the first one."""
        newest_ms, newest = self._samples[-1]
        begin_ms, begin = self._samples[0]
        for at_ms, counts in self._samples:
            if at_ms > newest_ms - over_ms:
                break
            begin_ms, begin = at_ms, counts
        if newest_ms <= begin_ms:
            return 0.0
        return (newest.get(key, 0) - begin.get(key, 0)) * 1000 / (newest_ms - begin_ms)
