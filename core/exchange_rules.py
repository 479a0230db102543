"""The rules of an exchange for fetching one series. Pure; each exchange's own are in `core/<exchange>/`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from core.archives import ArchiveIndex, Period, day_of, month_of
from core.intervals import Interval
from core.ranges import Span
from core.times import MS_PER_DAY


class PublishingRules(Protocol):
    """Which archive files of an interval there are, and when they appear."""

    @property
    def interval(self) -> Interval:
        """The candle interval."""

    @property
    def has_daily_archives(self) -> bool:
        """Whether the exchange publishes daily archive files for the interval."""

    def archive_due_ms(self, period: Period) -> int:
        """Return when (epoch ms) the file of `period` should be published at the latest; none was seen to be later."""

    def archive_possible_ms(self, period: Period) -> int:
        """Return from when (epoch ms) the file of `period` may be published, so that a request is worthwhile."""


class SeriesRules(PublishingRules, Protocol):
    """What plans, gaps and estimates need to know of the exchange to handle one series."""

    @property
    def page_rows(self) -> int:
        """Number of candles in a full page."""

    @property
    def weight_per_minute(self) -> int:
        """The published limit of request weight per minute."""

    @property
    def has_monthly_archives(self) -> bool:
        """Whether it publishes monthly archive files that are small enough to be used."""

    def page_weight(self, rows: int) -> int:
        """Return the request weight of a page with a limit of `rows` candles."""

    def pages(self, span: Span) -> Iterator[Span]:
        """Yield the windows that cover `span`, each holding at most `page_rows` grid open times."""

    def opens_off_grid(self, time_ms: int) -> bool:
        """Whether the exchange is known to have candles off the grid around `time_ms` (epoch ms)."""


def guess_index(rules: SeriesRules, wanted: Span, now_ms: int) -> ArchiveIndex:
    """Return which files of `wanted` should be published at `now_ms`; for use without reading the file listing.

    A wrong guess costs one request, then a finer source is used.
    """
    months: set[int] = set()
    days: set[int] = set()
    month = month_of(wanted.start_ms)
    while rules.archive_due_ms(month) <= now_ms and month.span.start_ms < wanted.end_ms:
        months.add(month.span.start_ms)
        month = month_of(month.span.end_ms)
    if rules.has_daily_archives:
        day_ms = wanted.start_ms // MS_PER_DAY * MS_PER_DAY
        while rules.archive_due_ms(day_of(day_ms)) <= now_ms and day_ms < wanted.end_ms:
            days.add(day_ms)
            day_ms += MS_PER_DAY
    return ArchiveIndex(frozenset(months), frozenset(days))


def settled_ms(rules: PublishingRules, span: Span) -> int:
    """Return the time (epoch ms) by which the archive of the span's last day should be published.

    For intervals without daily files it is the archive of the last month. Until then the exchange may still add
    candles of the span.
    """
    last_open_ms = rules.interval.add(span.end_ms, -1)
    return rules.archive_due_ms((day_of if rules.has_daily_archives else month_of)(last_open_ms))
