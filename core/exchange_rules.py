"""What an exchange's rules say about fetching one series. Pure facts; they stand in `core/<exchange>/`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from core.archives import ArchiveIndex, Period, day_of, month_of
from core.intervals import Interval
from core.ranges import Span
from core.times import MS_PER_DAY


class SeriesRules(Protocol):
    """The rules of one series: what plans, gaps and estimates have to know of its exchange."""

    @property
    def interval(self) -> Interval:
        """The series' interval."""

    @property
    def page_rows(self) -> int:
        """How many candles a full page holds."""

    @property
    def weight_per_minute(self) -> int:
        """The published budget of request weight a minute."""

    @property
    def has_daily_archives(self) -> bool:
        """Whether daily archive files exist for the interval at all."""

    @property
    def has_monthly_archives(self) -> bool:
        """Whether monthly archive files exist that are small enough to be used."""

    def page_weight(self, rows: int) -> int:
        """Return the request weight of a page that asks for `rows` candles."""

    def pages(self, span: Span) -> Iterator[Span]:
        """Yield the windows that cover `span`, each holding at most `page_rows` grid open times."""

    def archive_due_ms(self, period: Period) -> int:
        """Return from when the file of `period` counts as out, epoch ms: later than it was ever seen to appear."""

    def archive_possible_ms(self, period: Period) -> int:
        """Return from when it is worth a request to see whether the file of `period` is out."""


def guess_index(rules: SeriesRules, wanted: Span, now_ms: int) -> ArchiveIndex:
    """Return which files of `wanted` should be out at `now_ms`, for where the listing is not read.

    A guess that fails costs one request and falls back.
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


def settled_ms(rules: SeriesRules, span: Span) -> int:
    """Return from when the archive of the span's last day (month, for long intervals) counts as out, epoch ms.

    Until then the exchange may still publish candles of it.
    """
    last_open_ms = rules.interval.add(span.end_ms, -1)
    return rules.archive_due_ms((day_of if rules.has_daily_archives else month_of)(last_open_ms))
