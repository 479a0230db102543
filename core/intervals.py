"""Candle intervals and their grids of open times, as arithmetic on epoch ms (docs/binance.md, Grids).

Up to 1d the grid starts at the UTC epoch; 1w opens on Mondays; 3d opens on days whose number since the epoch
modulo 3 is 1; 1M opens on the first day of the calendar month.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.ranges import Span
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND, add_months, first_of_month, to_datetime


@dataclass(frozen=True, slots=True)
class Interval:
    """One candle length. `step_ms` is None for the calendar month, whose steps differ in length."""

    code: str  # as the REST API writes it, case-sensitive: 1m is a minute, 1M a month
    step_ms: int | None
    offset_ms: int = 0  # first grid open time at or after the epoch

    @property
    def name(self) -> str:
        """The name in tables, files and archives: `code`, but `1mo` instead of `1M`.

        `1m` and `1M` would collide in lower-case SQL names and on case-insensitive file systems;
        `1mo` is also what the public archives use (docs/binance.md, Paths and names).
        """
        return "1mo" if self.code == "1M" else self.code

    @property
    def typical_ms(self) -> int:
        """Length in ms; for the month the mean (30.44 days). For estimates only."""
        return self.step_ms if self.step_ms is not None else 2_629_746_000

    def floor(self, ms: int) -> int:
        """Return the last grid open time at or before `ms`."""
        if self.step_ms is None:
            return first_of_month(ms)
        return (ms - self.offset_ms) // self.step_ms * self.step_ms + self.offset_ms

    def ceil(self, ms: int) -> int:
        """Return the first grid open time at or after `ms`."""
        below = self.floor(ms)
        return below if below == ms else self.add(below, 1)

    def add(self, open_ms: int, count: int) -> int:
        """Return the grid open time `count` candles after the grid open time `open_ms`."""
        if self.step_ms is None:
            return add_months(open_ms, count)
        return open_ms + count * self.step_ms

    def index(self, ms: int) -> int:
        """Return the number of the grid slot that `ms` falls in; adjacent slots differ by one."""
        if self.step_ms is None:
            moment = to_datetime(ms)
            return moment.year * 12 + moment.month - 1
        return (ms - self.offset_ms) // self.step_ms

    def open_of(self, index: int) -> int:
        """Return the open time of the slot with number `index`: the inverse of `index()`."""
        if self.step_ms is None:
            return add_months(0, index - 1970 * 12)
        return index * self.step_ms + self.offset_ms

    def count(self, start_ms: int, end_ms: int) -> int:
        """Return how many grid open times lie in `[start_ms, end_ms)`."""
        if end_ms <= start_ms:
            return 0
        return self.index(self.ceil(end_ms)) - self.index(self.ceil(start_ms))

    def count_in(self, spans: Iterable[Span]) -> int:
        """Return how many grid open times lie in `spans`, which must be disjoint."""
        return sum(self.count(span.start_ms, span.end_ms) for span in spans)

    def slot_of(self, ms: int) -> Span:
        """Return the grid slot that `ms` falls in: from its open time to the next, half-open."""
        open_ms = self.floor(ms)
        return Span(open_ms, self.add(open_ms, 1))

    def __str__(self) -> str:
        return self.code


_FIXED = {
    "1s": MS_PER_SECOND,
    "1m": MS_PER_MINUTE,
    "3m": 3 * MS_PER_MINUTE,
    "5m": 5 * MS_PER_MINUTE,
    "15m": 15 * MS_PER_MINUTE,
    "30m": 30 * MS_PER_MINUTE,
    "1h": MS_PER_HOUR,
    "2h": 2 * MS_PER_HOUR,
    "4h": 4 * MS_PER_HOUR,
    "6h": 6 * MS_PER_HOUR,
    "8h": 8 * MS_PER_HOUR,
    "12h": 12 * MS_PER_HOUR,
    "1d": MS_PER_DAY,
}

INTERVALS: dict[str, Interval] = {
    **{code: Interval(code, step_ms) for code, step_ms in _FIXED.items()},
    "3d": Interval("3d", 3 * MS_PER_DAY, offset_ms=MS_PER_DAY),
    "1w": Interval("1w", 7 * MS_PER_DAY, offset_ms=4 * MS_PER_DAY),  # 1970-01-05 was a Monday
    "1M": Interval("1M", None),
}
"""All known intervals by code. Not every market offers all of them (core/exchanges.py)."""
