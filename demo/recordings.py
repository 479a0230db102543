"""Recorded public archives as a store: the exchange's own candles, digit for digit."""

from __future__ import annotations

import lzma
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.instrument import Market
from core.ranges import Span, merge
from core.series import Series, make_series
from core.times import MS_PER_DAY, add_months, parse_time
from demo.archive_names import Period, archive_key, day_of, month_of
from demo.candle_rows import ROW_LENGTH
from demo.candle_store import CandleStore, RecordedFile
from demo.grids import GRIDS, grid_of

_NAME = re.compile(
    r"(?P<symbol>[^-]+)-(?P<interval>\w+)"
    r"-(?P<year>\d{4})-(?:Q(?P<quarter>[1-4])|(?P<month>\d{2})(?:-(?P<day>\d{2}))?)"
    r"(?:\.noheader)?\.(?P<kind>zip|csv|csv\.xz)"
)
_CODE_OF_NAME = {grid.archive_name: code for code, grid in GRIDS.items()} | {code: code for code in GRIDS}
# Spot archives are in microseconds from 2025 on, with exceptions: the magnitude decides (docs/binance.md, Archives).
_FIRST_MICROSECONDS = 100_000_000_000_000
_LONGEST_MONTH_MS = 31 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded klines file, by what its name and place say."""

    path: Path
    series: Series
    span: Span
    period: Period | None  # None for a quarter, which the exchange does not publish


def load_recordings(folder: Path, only: set[Series] | None = None) -> CandleStore:
    """Return a store with all recorded klines below `folder`, or those of the series in `only`.

    Read are `SYMBOL-INTERVAL-YYYY-MM[-DD]` and `-YYYY-Q1` as `.zip`, `.csv` or `.csv.xz`, also
    `.noheader.csv.xz`; with or without a header; ms or microseconds (REST serves ms). The market is a
    folder of the path: spot, um or cm. Other kinds of data are passed over. Archive routes serve the
    recorded zips as they are, and make those of other periods that are recorded whole.
    Raises ValueError for a klines file that cannot be read.
    """
    found: dict[Series, list[Recording]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        recording = identify(path)
        if recording is not None and (only is None or recording.series in only):
            found[recording.series].append(recording)
    store = CandleStore()
    for series, recordings in found.items():
        recordings.sort(key=lambda recording: (recording.span.start_ms, recording.path.name))
        store.add(series, _rows_of_all(recordings))
        store.limit_archives(series, (recording.span for recording in recordings))
        for recording in recordings:
            _keep_original(store, recording)
    return store


def identify(path: Path) -> Recording | None:
    """Return what `path` records, or None when it is not a klines file of a known market."""
    match = _NAME.fullmatch(path.name)
    market = _market_of(path)
    if match is None or market is None or match["interval"] not in _CODE_OF_NAME or not path.is_file():
        return None
    try:
        series = make_series(market, match["symbol"], _CODE_OF_NAME[match["interval"]])
    except ConfigurationError:
        return None
    if match["quarter"]:
        start_ms = parse_time(f"{match['year']}-{int(match['quarter']) * 3 - 2:02d}-01")
        return Recording(path, series, Span(start_ms, add_months(start_ms, 3)), None)
    start_ms = parse_time(f"{match['year']}-{match['month']}-{match['day'] or '01'}")
    period = day_of(start_ms) if match["day"] else month_of(start_ms)
    return Recording(path, series, period.span, period)


def read_rows(path: Path) -> Iterator[list[Any]]:
    """Yield the candles of a recorded file as REST rows. Raises ValueError where it is not what it should be."""
    for number, line in enumerate(_lines(path), start=1):
        if number == 1 and not line[:1].isdigit():
            continue  # the header
        cells: list[Any] = line.split(",")
        if len(cells) != ROW_LENGTH:
            raise ValueError(f"{path} line {number}: {len(cells)} items instead of {ROW_LENGTH}")
        cells[0], cells[6], cells[8] = _in_ms(int(cells[0])), _in_ms(int(cells[6])), int(cells[8])
        yield cells


def _market_of(path: Path) -> Market | None:
    if any(part.endswith("Klines") for part in path.parts):  # mark, index and premium index prices
        return None
    names = [part for part in path.parts[:-1] if part in {market.value for market in Market}]
    return Market(names[-1]) if names else None


def _rows_of_all(recordings: Iterable[Recording]) -> Iterator[list[Any]]:
    for recording in recordings:
        yield from read_rows(recording.path)


def _in_ms(time: int) -> int:
    return time // 1000 if time >= _FIRST_MICROSECONDS else time


def _lines(path: Path) -> list[str]:
    if path.name.endswith(".csv"):
        return path.read_text().splitlines()
    if path.name.endswith(".xz"):
        with lzma.open(path, "rt") as unpacked:
            return unpacked.read().splitlines()
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(members) != 1:
                raise ValueError(f"{path} holds {len(members)} files instead of one")
            return archive.read(members[0]).decode().splitlines()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a zip file") from error


def _keep_original(store: CandleStore, recording: Recording) -> None:
    if recording.period is None or recording.path.suffix != ".zip":
        return
    checksum = recording.path.with_name(recording.path.name + ".CHECKSUM")
    file = RecordedFile(recording.path, checksum if checksum.is_file() else None)
    store.keep_file(archive_key(recording.series, recording.period), file)


def longest_stretch(store: CandleStore, series: Series) -> Span:
    """Return the longest run of recorded UTC days (gaps of a day are bridged: outages), as a half-open span.

    A folder of recordings holds a day here and a year there; between them lies nothing to be shown.
    """
    step_ms = 2 * max(MS_PER_DAY, grid_of(series.interval).length_ms or _LONGEST_MONTH_MS)
    days = (Span(ms // MS_PER_DAY * MS_PER_DAY, (ms // MS_PER_DAY + 1) * MS_PER_DAY) for ms in store.open_times(series))
    return max(merge(days, max_distance_ms=step_ms), key=lambda span: span.end_ms - span.start_ms)
