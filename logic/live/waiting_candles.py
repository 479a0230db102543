"""Closed candles between the sockets and the database: bounded, in order for each series. Thread-safe.

The sockets are always read: a reader that waits for the database would be cut off by the exchange. So a queue that is
full drops its oldest candle, which is then asked for by REST.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.closed_round import ClosedCandle

MOST_OF_A_SERIES = 1_440  # a day of 1m
MOST = 200_000


@dataclass(frozen=True, slots=True)
class WaitingCandle:
    """A closed candle on its way into the database."""

    candle: ClosedCandle
    received_ns: int  # time.monotonic_ns() when its frame was read
    event_ms: int = 0  # when the exchange sent it

    @property
    def series_id(self) -> int:
        """Its series in the catalog."""
        return self.candle.series_id


class WaitingCandles:
    """The queue. `dropped` is called with the ids of series that lost a candle to its bounds."""

    def __init__(self, dropped: Callable[[Sequence[int]], None]) -> None:
        self._dropped = dropped
        self._changed = threading.Condition()
        self._queues: dict[int, deque[WaitingCandle]] = {}
        self._held_until_s: dict[int, float] = {}
        self._count = 0
        self._is_closed = False
        self._has_news = False
        self.drops = 0

    def __len__(self) -> int:
        return self._count

    def put(self, candle: WaitingCandle) -> None:
        """Add a candle behind those of its series. Returns at once."""
        lost: list[int] = []
        with self._changed:
            queue = self._queues.setdefault(candle.series_id, deque())
            queue.append(candle)
            self._count += 1
            if len(queue) > MOST_OF_A_SERIES:
                lost.append(self._drop_oldest_of(queue))
            elif self._count > MOST:
                lost.append(self._drop_oldest_of(max(self._queues.values(), key=len)))
            self._has_news = True
            self._changed.notify()
        if lost:
            self._dropped(lost)

    def give_back(self, candles: Sequence[WaitingCandle], until_s: float) -> None:
        """Put candles back before those of their series; none of these is taken before `until_s` (monotonic)."""
        lost: list[int] = []
        with self._changed:
            for candle in reversed(candles):
                queue = self._queues.setdefault(candle.series_id, deque())
                if len(queue) >= MOST_OF_A_SERIES:
                    self.drops += 1
                    lost.append(candle.series_id)
                    continue
                queue.appendleft(candle)
                self._count += 1
                self._held_until_s[candle.series_id] = until_s
        if lost:
            self._dropped(lost)

    def take(self, most: int, now_s: float) -> list[WaitingCandle]:
        """Take up to `most` candles of series that are not held back at `now_s`, those of a series in order."""
        taken: list[WaitingCandle] = []
        with self._changed:
            self._has_news = False
            for series_id, queue in list(self._queues.items()):
                if self._held_until_s.get(series_id, 0.0) > now_s:
                    continue
                self._held_until_s.pop(series_id, None)
                while queue and len(taken) < most:
                    taken.append(queue.popleft())
                if not queue:
                    del self._queues[series_id]
                if len(taken) >= most:
                    break
            self._count -= len(taken)
        return taken

    def wait(self, longest_s: float) -> None:
        """Wait until a candle was put since the last `take` or the queue is closed, at most `longest_s`."""
        with self._changed:
            if not self._is_closed and not self._has_news:
                self._changed.wait(longest_s)

    def close(self) -> None:
        """Wake whoever waits: no more candles will come."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether no more candles will come."""
        return self._is_closed

    def _drop_oldest_of(self, queue: deque[WaitingCandle]) -> int:
        self.drops += 1
        self._count -= 1
        return queue.popleft().series_id
