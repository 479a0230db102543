"""The list of series that a person keeps in a table: one row at a time, so that a wrong one stops no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.errors import ConfigurationError
from core.instrument import Market
from core.series import Series, make_series
from core.times import parse_time
from core.wanted import WantedSeries


@dataclass(frozen=True, slots=True)
class WantedRow:
    """A row as it was written, unchecked; None where a column is empty or absent."""

    symbol: str | None
    market: str | None = None
    interval: str | None = None
    start: str | None = None
    end: str | None = None

    def __str__(self) -> str:
        return " ".join(repr(text) for text in (self.market, self.symbol, self.interval) if text is not None)


@dataclass(frozen=True, slots=True)
class WantedList:
    """The series that a run is about, and why rows of the list could not be used (one sentence each)."""

    series: list[WantedSeries]
    unusable: tuple[str, ...] = ()


def read_rows(rows: Iterable[WantedRow], default_interval: str) -> WantedList:
    """Return the series of `rows`, each once, in their order; the market is spot where a row gives none."""
    found: dict[Series, WantedSeries] = {}
    unusable = []
    for row in rows:
        try:
            one = _read(row, default_interval)
            if found.setdefault(one.series, one) != one:
                raise ConfigurationError(f"series {one.series} is listed twice, with another range")
        except (ConfigurationError, ValueError) as error:
            unusable.append(f"row {row}: {error}")
    return WantedList(list(found.values()), tuple(unusable))


def _read(row: WantedRow, default_interval: str) -> WantedSeries:
    market, symbol, interval = ((text or "").strip() for text in (row.market, row.symbol, row.interval))
    series = make_series(market or Market.SPOT, symbol, interval or default_interval)
    start_ms, end_ms = (None if text is None else parse_time(text) for text in (row.start, row.end))
    return WantedSeries(series, start_ms, end_ms)
