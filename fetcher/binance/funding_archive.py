"""Reads the monthly archives of settled funding rates of futures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from core.archives import Period
from core.binance.archives import ArchiveFile, data_file
from core.errors import UnusableAnswer
from core.instrument import Instrument
from core.market_data import FundingRate
from core.market_rows import funding_rate
from fetcher.binance.archive_csv import HEADER, BoundedStream, read_zip

_MOST_BYTES = 1 << 20  # a month has at most 744 fundings
_COLUMNS = 3  # calc_time, funding_interval_hours, last_funding_rate


def funding_file(instrument: Instrument, period: Period) -> ArchiveFile:
    """Return the file with the settled fundings of a month."""
    return data_file(instrument, "fundingRate", period, _MOST_BYTES)


def read_fundings(path: Path, file: ArchiveFile, period: Period) -> list[FundingRate]:
    """Return the fundings of a downloaded zip, ascending; archives do not say the mark price.

    Raises ArchiveUnavailable.
    """

    def parse(stream: BoundedStream) -> list[FundingRate]:
        text = b"".join(iter(lambda: stream.read(1 << 16), b""))
        lines = text[header.end() :] if (header := HEADER.match(text)) else text
        found = [_funding(row) for row in csv.reader(io.StringIO(lines.decode("ascii"))) if row]
        times = [period.span.start_ms - 1, *(one.time_ms for one in found), period.span.end_ms]
        if sorted(set(times)) != times:
            raise UnusableAnswer(f"fundings out of order, doubled or outside {period.span}")
        return found

    return read_zip(path, file.stem, file.most_bytes, parse)


def _funding(row: list[str]) -> FundingRate:
    if len(row) != _COLUMNS or not (row[0].isascii() and row[0].isdigit()):
        raise UnusableAnswer(f"not a funding: {str(row)[:200]}")
    return funding_rate(int(row[0]), row[2], None)
