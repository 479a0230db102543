"""Where the public archives keep their files and what they call them (docs/binance.md, Archives).

Stated here, not taken from `core`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from core.instrument import Market
from core.ranges import Span
from core.series import Series
from core.times import MS_PER_DAY, add_months, first_of_month, parse_time, to_datetime
from demo.grids import grid_of

MARKET_FOLDERS = {Market.SPOT: "data/spot", Market.UM: "data/futures/um", Market.CM: "data/futures/cm"}
_WITHOUT_DAILY_FILES = ("3d", "1w", "1M")
_DATE_AND_ENDING = re.compile(r"-(\d{4}-\d{2})(-\d{2})?\.zip\Z", re.ASCII)


class Cadence(StrEnum):
    """What one file holds; also the name of its folder."""

    DAILY = "daily"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True)
class Period:
    """The UTC day or calendar month of one file."""

    cadence: Cadence
    span: Span


def day_of(ms: int) -> Period:
    """Return the day that holds `ms` (epoch ms)."""
    start_ms = ms - ms % MS_PER_DAY
    return Period(Cadence.DAILY, Span(start_ms, start_ms + MS_PER_DAY))


def month_of(ms: int) -> Period:
    """Return the month that holds `ms` (epoch ms)."""
    start_ms = first_of_month(ms)
    return Period(Cadence.MONTHLY, Span(start_ms, add_months(start_ms, 1)))


def has_daily_files(series: Series) -> bool:
    """Whether files are cut by the day too: of intervals up to 1d."""
    return series.interval.code not in _WITHOUT_DAILY_FILES


def folder(series: Series, cadence: Cadence) -> str:
    """Return the path of the series' files below the host, such as `data/spot/daily/klines/BTCUSDT/1m/`."""
    return f"{MARKET_FOLDERS[series.market]}/{cadence}/klines/{series.symbol}/{grid_of(series.interval).archive_name}/"


def file_stem(series: Series, period: Period) -> str:
    """Return the name of the zip and of the CSV in it without ending, such as `BTCUSDT-1m-2024-02`."""
    date_form = "%Y-%m" if period.cadence == Cadence.MONTHLY else "%Y-%m-%d"
    date_text = to_datetime(period.span.start_ms).strftime(date_form)
    return f"{series.symbol}-{grid_of(series.interval).archive_name}-{date_text}"


def archive_key(series: Series, period: Period) -> str:
    """Return the path of the zip below the host, without a leading slash."""
    return f"{folder(series, period.cadence)}{file_stem(series, period)}.zip"


def period_of_key(key: str) -> Period | None:
    """Return the period that a zip's path ends with, or None where it ends with no date of a zip."""
    found = _DATE_AND_ENDING.search(key)
    if found is None:
        return None
    month, day = found.groups()
    try:
        return day_of(parse_time(month + day)) if day else month_of(parse_time(f"{month}-01"))
    except ValueError:
        return None
