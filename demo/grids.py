"""The exchange's candle intervals and where their candles open.

Stated here and not taken from `core`: a mistake that the product and its replay exchange shared could
not be seen. Source: docs/binance.md, Klines.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.intervals import Interval
from core.times import add_months, first_of_month


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the candles of one interval open. Times are epoch ms, UTC."""

    archive_name: str  # how archive paths and file names write the interval
    length_ms: int | None  # None: a calendar month
    known_open_ms: int = 0  # some time at which a candle of the exchange opens

    def floor(self, ms: int) -> int:
        """Return the open time of the candle that `ms` falls in."""
        if self.length_ms is None:
            return first_of_month(ms)
        return ms - (ms - self.known_open_ms) % self.length_ms

    def ceil(self, ms: int) -> int:
        """Return the first open time at or after `ms`."""
        below = self.floor(ms)
        return below if below == ms else self.later(below, 1)

    def later(self, open_ms: int, count: int) -> int:
        """Return the open time `count` candles after (negative: before) the candle that opens at `open_ms`."""
        return add_months(open_ms, count) if self.length_ms is None else open_ms + count * self.length_ms


# A candle of three days opened on Thursday 2017-08-17, one of a week on Monday 2017-08-14.
_THREE_DAYS_OPENED_MS = 1_502_928_000_000
_WEEK_OPENED_MS = 1_502_668_800_000

GRIDS = {
    "1s": Grid("1s", 1_000),
    "1m": Grid("1m", 60_000),
    "3m": Grid("3m", 180_000),
    "5m": Grid("5m", 300_000),
    "15m": Grid("15m", 900_000),
    "30m": Grid("30m", 1_800_000),
    "1h": Grid("1h", 3_600_000),
    "2h": Grid("2h", 7_200_000),
    "4h": Grid("4h", 14_400_000),
    "6h": Grid("6h", 21_600_000),
    "8h": Grid("8h", 28_800_000),
    "12h": Grid("12h", 43_200_000),
    "1d": Grid("1d", 86_400_000),
    "3d": Grid("3d", 259_200_000, _THREE_DAYS_OPENED_MS),
    "1w": Grid("1w", 604_800_000, _WEEK_OPENED_MS),
    "1M": Grid("1mo", None),
}
"""Every interval that the exchange offers, by its code; shortest first. `1s` is offered on spot only."""


def grid_of(interval: Interval) -> Grid:
    """Return the grid of the interval that `interval` names; nothing but its code is read."""
    return GRIDS[interval.code]
