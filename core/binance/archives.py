"""Names and paths of Binance's public archives (docs/binance.md, Archives)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from core.archives import ArchiveIndex, Cadence, Period, day_of, index_of, month_of
from core.instrument import Instrument, Market
from core.series import Series
from core.times import from_datetime

_MARKET_PATH = {Market.SPOT: "spot", Market.UM: "futures/um", Market.CM: "futures/cm"}


def file_stem(series: Series, period: Period) -> str:
    """Return `BTCUSDT-1m-2023-01`: the name of the zip and of the CSV in it, without the extension."""
    return f"{series.symbol}-{series.interval.name}-{period.text}"


def folder(series: Series, cadence: Cadence) -> str:
    """Return the folder on the archive host, ending in `/` and without one at the start."""
    return f"data/{_MARKET_PATH[series.market]}/{cadence}/klines/{series.symbol}/{series.interval.name}/"


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One zip on the archive host, with the CSV of the same name in it."""

    folder: str  # ends in `/`
    stem: str  # without the extension
    most_bytes: int  # of the zip, and of the CSV


def data_file(instrument: Instrument, kind: str, period: Period, most_bytes: int) -> ArchiveFile:
    """Return the file of a kind of data that is not about an interval, such as aggTrades."""
    folder = f"data/{_MARKET_PATH[instrument.market]}/{period.cadence}/{kind}/{instrument.symbol}/"
    return ArchiveFile(folder, f"{instrument.symbol}-{kind}-{period.text}", most_bytes)


_PERIOD = re.compile(r"-([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?\.zip\Z")


def period_of_file(name: str) -> Period | None:
    """Return the period that an archive file is named after; None for other files, such as CHECKSUM."""
    match = _PERIOD.search(name)
    if match is None:
        return None
    try:
        start = datetime(int(match[1]), int(match[2]), int(match[3] or 1), tzinfo=UTC)
        return (day_of if match[3] else month_of)(from_datetime(start))
    except (ValueError, OverflowError):
        return None


def index_of_files(names: list[str]) -> ArchiveIndex:
    """Return the index of the published files named `names`."""
    return index_of(period for period in map(period_of_file, names) if period is not None)
