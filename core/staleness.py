"""Whether a series that should grow stands still. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.closing import closed_end
from core.intervals import Interval
from core.listing import ListingPeriod
from core.ranges import TimeRange
from core.sources import Source
from core.times import MS_PER_DAY

_LONGEST_MS = MS_PER_DAY
"""A run a day keeps every interval: what has closed longer ago than this should be stored."""
# Most files of a day come the next day, those of a month within 15 days of its end (docs/binance.md, Archives).
_LONGEST_BY_DAILY_FILES_MS = 3 * MS_PER_DAY
_LONGEST_BY_MONTHLY_FILES_MS = (31 + 15 + 1) * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class NewestCoverage:
    """Up to where a series is covered (exclusive end, epoch ms), and the source of that newest part."""

    until_ms: int
    source: Source


def is_stale(
    interval: Interval, listing: ListingPeriod, wanted: TimeRange, newest: NewestCoverage, now_ms: int
) -> bool:
    """Whether a series that an unattended run fetches lacks a candle that closed more than a day ago at its end.

    Where the newest part came from archives the next file may be on its way: then it is 3 days, and 47 for intervals
    longer than a day, which have monthly files only. Never for a symbol that has ended or not begun, nor beyond the
    wanted end. `now_ms` is the exchange's clock, epoch ms.
    """
    if listing.end_ms is not None or listing.is_pending:
        return False
    until_ms = closed_end(interval, now_ms)
    if wanted.end_ms is not None:
        until_ms = min(until_ms, interval.ceil(wanted.end_ms))
    if newest.until_ms >= until_ms:
        return False
    longest_ms = _LONGEST_MS
    if newest.source.is_archive:
        is_long = interval.typical_ms > MS_PER_DAY
        longest_ms = _LONGEST_BY_MONTHLY_FILES_MS if is_long else _LONGEST_BY_DAILY_FILES_MS
    closed_ms = interval.add(interval.floor(newest.until_ms), 1)  # of the first candle that lacks
    return now_ms - closed_ms > longest_ms
