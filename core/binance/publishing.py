"""Which archive files Binance publishes of an interval, and when they appear (docs/binance.md, Archives)."""

from __future__ import annotations

from dataclasses import dataclass

from core.archives import Cadence, Period
from core.intervals import Interval
from core.times import MS_PER_DAY, MS_PER_HOUR

# These intervals have no daily files.
_MONTHLY_ONLY = frozenset({"3d", "1w", "1M"})
# A file is held in memory and committed at once; a month of 1s is 2.6 million candles.
_MAX_ROWS_PER_FILE = 100_000
# Daily files appear the next day, seen as late as 08:40; monthly ones by "the first Monday", at worst mid-month.
_DUE_AFTER_MS = {Cadence.DAILY: MS_PER_DAY, Cadence.MONTHLY: 15 * MS_PER_DAY}
# Daily files were seen from 02:50 on the next day; monthly ones come days later.
_POSSIBLE_AFTER_MS = {Cadence.DAILY: 3 * MS_PER_HOUR, Cadence.MONTHLY: MS_PER_DAY}


def has_daily_files(interval: Interval) -> bool:
    """Whether daily archives exist for the interval at all."""
    return interval.code not in _MONTHLY_ONLY


def has_usable_monthly_files(interval: Interval) -> bool:
    """Whether monthly files of the interval are small enough to be used; those of 1s are not."""
    return interval.count(0, 31 * MS_PER_DAY) <= _MAX_ROWS_PER_FILE


@dataclass(frozen=True, slots=True)
class BinancePublishing:
    """When the archives of one interval appear (core.exchange_rules.PublishingRules)."""

    interval: Interval

    @property
    def has_daily_archives(self) -> bool:
        """False for 3d, 1w and 1M."""
        return has_daily_files(self.interval)

    def archive_due_ms(self, period: Period) -> int:
        """Return the time (epoch ms) by which the file of `period` should be published."""
        return period.span.end_ms + _DUE_AFTER_MS[period.cadence]

    def archive_possible_ms(self, period: Period) -> int:
        """Return the earliest time (epoch ms) at which the file of `period` may be published."""
        return period.span.end_ms + _POSSIBLE_AFTER_MS[period.cadence]
