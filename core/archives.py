"""Published archive files: a day's or a month's candles in one file. Which of them a series has, as far as is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from core.ranges import Span
from core.sources import Source
from core.times import MS_PER_DAY, add_months, first_of_month, to_datetime


class Cadence(StrEnum):
    """How often an archive file is cut."""

    DAILY = "daily"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """One archive file's day or month (UTC)."""

    cadence: Cadence
    span: Span

    @property
    def text(self) -> str:
        """`2023-01` or `2023-01-31`."""
        moment = to_datetime(self.span.start_ms)
        return moment.strftime("%Y-%m" if self.cadence is Cadence.MONTHLY else "%Y-%m-%d")

    @property
    def source(self) -> Source:
        """What the ledger calls a file of this cadence."""
        return Source.ARCHIVE_MONTHLY if self.cadence is Cadence.MONTHLY else Source.ARCHIVE_DAILY


def month_of(ms: int) -> Period:
    """Return the month that holds `ms`."""
    start_ms = first_of_month(ms)
    return Period(Cadence.MONTHLY, Span(start_ms, add_months(start_ms, 1)))


def day_of(ms: int) -> Period:
    """Return the UTC day that holds `ms`."""
    start_ms = ms // MS_PER_DAY * MS_PER_DAY
    return Period(Cadence.DAILY, Span(start_ms, start_ms + MS_PER_DAY))


def period_of(source: Source, ms: int) -> Period | None:
    """Return the file of `source` that holds `ms`; None for a source that is no archive."""
    match source:
        case Source.ARCHIVE_MONTHLY:
            return month_of(ms)
        case Source.ARCHIVE_DAILY:
            return day_of(ms)
        case Source.REST:
            return None
        case _:
            assert_never(source)


def days_in(period: Period) -> frozenset[int]:
    """Return the first instants of the UTC days of `period`."""
    return frozenset(range(period.span.start_ms, period.span.end_ms, MS_PER_DAY))


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """Which archive files of one series exist, as far as is known."""

    months: frozenset[int]  # first instants of months, epoch ms
    days: frozenset[int]  # first instants of days, epoch ms

    def has(self, period: Period) -> bool:
        """Whether the file of `period` is published."""
        return period.span.start_ms in (self.months if period.cadence is Cadence.MONTHLY else self.days)

    @property
    def periods(self) -> list[Period]:
        """All files, in no order."""
        return [*map(month_of, self.months), *map(day_of, self.days)]


NO_ARCHIVES = ArchiveIndex(frozenset(), frozenset())


def index_of(periods: Iterable[Period]) -> ArchiveIndex:
    """Return the index of the files of `periods`."""
    found = list(periods)
    return ArchiveIndex(
        frozenset(p.span.start_ms for p in found if p.cadence is Cadence.MONTHLY),
        frozenset(p.span.start_ms for p in found if p.cadence is Cadence.DAILY),
    )
