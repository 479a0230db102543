"""A market whose hours and days are what its minutes make, by sums of its own, and archives with altered values."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from core.intervals import INTERVALS, Interval
from core.ranges import Span
from core.series import Series
from demo.archive_files import csv_bytes
from demo.archive_names import Period, archive_key, file_stem
from demo.candle_rows import CandleRows
from demo.candle_store import CandleStore, RecordedFile
from demo.generated_market import generate_series

Row = Sequence[object]
OPEN, HIGH, LOW, CLOSE, VOLUME, CLOSE_TIME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(1, 11)
SUMMED = (VOLUME, QUOTE, TAKER, TAKER_QUOTE)


def longer_rows(rows: Sequence[Row], interval: Interval) -> Iterator[list[object]]:
    """Yield the 12-item rows of `interval` that shorter ones make."""
    for open_ms, group in groupby(rows, key=lambda row: interval.floor(int(str(row[0])))):
        parts = list(group)
        made = [open_ms, *parts[0][1:]]
        made[HIGH] = max((str(row[HIGH]) for row in parts), key=Decimal)
        made[LOW] = min((str(row[LOW]) for row in parts), key=Decimal)
        made[CLOSE] = parts[-1][CLOSE]
        made[CLOSE_TIME] = interval.add(open_ms, 1) - 1
        made[TRADES] = sum(int(str(row[TRADES])) for row in parts)
        for position in SUMMED:
            made[position] = str(sum(Decimal(str(row[position])) for row in parts))
        yield made


def market_of(series: Series, span: Span, *, halts: Sequence[Span] = (), seed: int = 1) -> CandleStore:
    """Return a store of its own with `series`, its hours and its days. What is in it is made once a process."""
    return _made_once(series, span, tuple(halts), seed).copy()


@functools.lru_cache(maxsize=12)
def _made_once(series: Series, span: Span, halts: tuple[Span, ...], seed: int) -> CandleStore:
    store = CandleStore()
    rows = list(generate_series(series, span, seed, halts=halts))
    store.add(series, rows)
    for code in ("1h", "1d"):
        if INTERVALS[code].typical_ms > series.interval.typical_ms:
            store.add(series.of(INTERVALS[code]), longer_rows(rows, INTERVALS[code]))
    return store


def alter_archive(
    store: CandleStore, series: Series, period: Period, folder: Path, change: Callable[[list[list[object]]], object]
) -> None:
    """Publish the file of `period` with `change` done to its rows, and a CHECKSUM that agrees with it."""
    rows = [list(row) for row in store.rows(series, period.span.start_ms, period.span.end_ms)]
    change(rows)
    path = folder / f"{file_stem(series, period)}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{file_stem(series, period)}.csv", csv_bytes(CandleRows.of(rows), series.market, period))
    store.keep_file(archive_key(series, period), RecordedFile(path, None))
