"""Which series' closed candles should have come by a stream and have not. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from core.intervals import Interval

LATE_MS = 10_000
"""A closed candle that has not come so long after its end is asked for by REST.

A quiet symbol's final frame comes with the next tick, up to 2.4 s late (docs/binance.md, Closing of candles).
"""


class FinalsDue:
    """Remembers the newest closed candle of each series. Times are epoch ms by the exchange's clock."""

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}
        self._by_interval: dict[Interval, set[int]] = {}
        self._looked_until: dict[Interval, int] = {}

    def watch(self, series_id: int, interval: Interval, now_ms: int) -> None:
        """Expect the candles of a series from the one that is open at `now_ms` on."""
        self._newest[series_id] = interval.add(interval.floor(now_ms), -1)
        self._by_interval.setdefault(interval, set()).add(series_id)

    def forget(self, series_id: int) -> None:
        """Expect nothing more of a series."""
        self._newest.pop(series_id, None)
        for of_interval in self._by_interval.values():
            of_interval.discard(series_id)

    def came(self, series_id: int, open_ms: int) -> None:
        """Note a closed candle."""
        if open_ms > self._newest.get(series_id, open_ms):
            self._newest[series_id] = open_ms

    def late(self, now_ms: int) -> list[int]:
        """Return the series whose newest candle is late at `now_ms`; each is named once for each candle."""
        found: list[int] = []
        for interval, ids in self._by_interval.items():
            due_ms = interval.add(interval.floor(now_ms - LATE_MS), -1)
            if due_ms != self._looked_until.get(interval):
                self._looked_until[interval] = due_ms
                found += self._behind(ids, due_ms)
        return found

    def _behind(self, ids: Iterable[int], due_ms: int) -> list[int]:
        return sorted(series_id for series_id in ids if self._newest[series_id] < due_ms)
