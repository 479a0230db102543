"""Published archive files, each with the candles of one UTC day or month, and which of them are known to exist."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from core.ranges import Span
from core.sources import Source
from core.times import MS_PER_DAY, add_months, first_of_month, to_datetime


class Cadence(StrEnum):
    """How long a time one archive file covers."""

    DAILY = "daily"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The day or month (UTC) that one archive file covers; half-open."""

    cadence: Cadence
    span: Span

    @property
    def text(self) -> str:
        """`2023-01` or `2023-01-31`."""
        moment = to_datetime(self.span.start_ms)
        return moment.strftime("%Y-%m" if self.cadence is Cadence.MONTHLY else "%Y-%m-%d")

    @property
    def source(self) -> Source:
        """The source to record in the ledger for a file of this cadence."""
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
    """Return the period of the `source` file that holds `ms` (epoch ms); None for a source that is not an archive."""
    match source:
        case Source.ARCHIVE_MONTHLY:
            return month_of(ms)
        case Source.ARCHIVE_DAILY:
            return day_of(ms)
        case Source.REST | Source.STREAM:
            return None
        case _:
            assert_never(source)


def days_in(period: Period) -> frozenset[int]:
    """Return the start of each UTC day of `period`, epoch ms."""
    return frozenset(range(period.span.start_ms, period.span.end_ms, MS_PER_DAY))


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """The archive files of one series that are known to exist."""

    months: frozenset[int]  # starts of months, epoch ms
    days: frozenset[int]  # starts of days, epoch ms

    def has(self, period: Period) -> bool:
        """Whether the file of `period` is published."""
        return period.span.start_ms in (self.months if period.cadence is Cadence.MONTHLY else self.days)

    @property
    def periods(self) -> list[Period]:
        """The periods of all files, in no particular order."""
        return [*map(month_of, self.months), *map(day_of, self.days)]


NO_ARCHIVES = ArchiveIndex(frozenset(), frozenset())


def index_of(periods: Iterable[Period]) -> ArchiveIndex:
    """Return the index that holds one file for each of `periods`."""
    found = list(periods)
    return ArchiveIndex(
        frozenset(p.span.start_ms for p in found if p.cadence is Cadence.MONTHLY),
        frozenset(p.span.start_ms for p in found if p.cadence is Cadence.DAILY),
    )
