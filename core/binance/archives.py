"""Names, periods and addresses of the public archives (contract section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from core.ranges import Span
from core.series import Market, Series
from core.times import MS_PER_DAY, add_months, first_of_month, from_datetime, to_datetime

_MARKET_PATH = {Market.SPOT: "spot", Market.UM: "futures/um", Market.CM: "futures/cm"}
# Daily files stop at 1d; 3d, 1w and 1mo are monthly only.
_MONTHLY_ONLY = frozenset({"3d", "1w", "1M"})


class Cadence(StrEnum):
    """How often an archive file is cut."""

    DAILY = "daily"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """One archive file's day or month."""

    cadence: Cadence
    span: Span

    @property
    def text(self) -> str:
        """`2023-01` or `2023-01-31`, as in the file name."""
        moment = to_datetime(self.span.start_ms)
        return moment.strftime("%Y-%m" if self.cadence is Cadence.MONTHLY else "%Y-%m-%d")


def month_of(ms: int) -> Period:
    """Return the month that holds `ms`."""
    start_ms = first_of_month(ms)
    return Period(Cadence.MONTHLY, Span(start_ms, add_months(start_ms, 1)))


def day_of(ms: int) -> Period:
    """Return the UTC day that holds `ms`."""
    start_ms = ms // MS_PER_DAY * MS_PER_DAY
    return Period(Cadence.DAILY, Span(start_ms, start_ms + MS_PER_DAY))


def has_daily_files(series: Series) -> bool:
    """Whether daily archives exist for the series' interval at all."""
    return series.interval.code not in _MONTHLY_ONLY


# A file is held in memory and committed at once; a month of 1s is 2.6 million candles.
_MAX_ROWS_PER_FILE = 100_000


def has_usable_monthly_files(series: Series) -> bool:
    """Whether the series' monthly files are small enough to be used; 1s goes by the day."""
    return series.interval.count(0, 31 * MS_PER_DAY) <= _MAX_ROWS_PER_FILE


def days_in(period: Period) -> frozenset[int]:
    """Return the first instants of the UTC days of `period`."""
    return frozenset(range(period.span.start_ms, period.span.end_ms, MS_PER_DAY))


def file_stem(series: Series, period: Period) -> str:
    """Return `BTCUSDT-1m-2023-01`, the name of the zip and of the CSV inside without their endings."""
    return f"{series.symbol}-{series.interval.name}-{period.text}"


def folder(series: Series, cadence: Cadence) -> str:
    """Return the path below the archive host, ending in `/`."""
    return f"data/{_MARKET_PATH[series.market]}/{cadence}/klines/{series.symbol}/{series.interval.name}/"


_PERIOD = re.compile(r"-([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?\.zip\Z")


def period_of_file(name: str) -> Period | None:
    """Return the period in an archive file's name, or None when it has none (CHECKSUM files)."""
    match = _PERIOD.search(name)
    if match is None:
        return None
    try:
        start = datetime(int(match[1]), int(match[2]), int(match[3] or 1), tzinfo=UTC)
        return (day_of if match[3] else month_of)(from_datetime(start))
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """Which archive files of one series exist, as far as is known."""

    months: frozenset[int]  # first instants of months, epoch ms
    days: frozenset[int]  # first instants of days, epoch ms

    def has(self, period: Period) -> bool:
        """Whether the file of `period` is published."""
        return period.span.start_ms in (self.months if period.cadence is Cadence.MONTHLY else self.days)


NO_ARCHIVES = ArchiveIndex(frozenset(), frozenset())


def index_of_files(names: list[str]) -> ArchiveIndex:
    """Return the index of the published files named `names`."""
    periods = [period for period in map(period_of_file, names) if period is not None]
    return ArchiveIndex(
        frozenset(p.span.start_ms for p in periods if p.cadence is Cadence.MONTHLY),
        frozenset(p.span.start_ms for p in periods if p.cadence is Cadence.DAILY),
    )


def expected_ms(period: Period) -> int:
    """Return when the file of `period` should be out.

    Daily files appear the next day, seen up to 08:40; monthly ones by "the first Monday" but at
    worst mid-month (contract section 4).
    """
    return period.span.end_ms + (15 if period.cadence is Cadence.MONTHLY else 1) * MS_PER_DAY


def guess_index(series: Series, wanted: Span, now_ms: int) -> ArchiveIndex:
    """Return which files should be there when the listing cannot be read.

    A guess that fails costs one request and falls back.
    """
    months: set[int] = set()
    days: set[int] = set()
    month = month_of(wanted.start_ms)
    while expected_ms(month) <= now_ms and month.span.start_ms < wanted.end_ms:
        months.add(month.span.start_ms)
        month = month_of(month.span.end_ms)
    if has_daily_files(series):
        day_ms = wanted.start_ms // MS_PER_DAY * MS_PER_DAY
        while expected_ms(day_of(day_ms)) <= now_ms and day_ms < wanted.end_ms:
            days.add(day_ms)
            day_ms += MS_PER_DAY
    return ArchiveIndex(frozenset(months), frozenset(days))
