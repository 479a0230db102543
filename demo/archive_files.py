"""The archive files themselves: zips made of the store's candles or recorded ones, and their checksums."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache

from core.instrument import Market
from core.series import Series
from core.times import parse_time, to_datetime
from demo.archive_calendar import published_ms
from demo.archive_names import Period, archive_key, file_stem
from demo.candle_rows import CandleRows
from demo.candle_store import CandleStore

_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
_SPOT_MICROSECONDS_FROM_MS = parse_time("2025-01-01")
_FUTURES_HEADER_FROM_MS = parse_time("2022-06-01")
_FILES_KEPT = 64  # a zip of a month of 1m is about 2 MB, one of a day 60 kB


class ArchiveFiles:
    """Zips and CHECKSUM texts by series and period."""

    def __init__(self, store: CandleStore) -> None:
        self._store = store

    def zip_bytes(self, series: Series, period: Period) -> bytes:
        """Return the zip: the recorded bytes where there are some, else one made of the candles."""
        recorded = self._store.file(archive_key(series, period))
        if recorded is not None:
            return recorded.zip_path.read_bytes()
        return _zip_of(self._store.candles(series), series, period)

    def checksum_bytes(self, series: Series, period: Period) -> bytes:
        """Return the CHECKSUM text: 64 hex digits, two spaces, the zip's name, no newline."""
        recorded = self._store.file(archive_key(series, period))
        if recorded is not None and recorded.checksum_path is not None:
            return recorded.checksum_path.read_bytes()
        digest = hashlib.sha256(self.zip_bytes(series, period)).hexdigest()
        return f"{digest}  {file_stem(series, period)}.zip".encode()

    def known_size(self, series: Series, period: Period) -> int:
        """Return the size of a recorded zip; 0 for one that would have to be made first."""
        recorded = self._store.file(archive_key(series, period))
        return recorded.zip_path.stat().st_size if recorded is not None else 0


@lru_cache(maxsize=_FILES_KEPT)
def _zip_of(candles: CandleRows, series: Series, period: Period) -> bytes:
    """Return the zip of the candles that open in `period`. Kept for all stores: `candles` never change."""
    content = csv_bytes(candles, series.market, period)
    when = to_datetime(published_ms(period))
    stamp = (when.year, when.month, when.day, when.hour, when.minute, when.second)
    info = zipfile.ZipInfo(f"{file_stem(series, period)}.csv", stamp)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=1)
    return packed.getvalue()


def csv_bytes(candles: CandleRows, market: Market, period: Period) -> bytes:
    """Return the CSV of the candles that open in `period`, as the public archives write it.

    Spot: no header, microseconds from 2025-01-01 on. Futures: ms, a header from 2022-06 on.
    """
    first = candles.first_at_or_after(period.span.start_ms)
    last = candles.first_at_or_after(period.span.end_ms)
    lines = candles.json(first, last).replace(b'"', b"").removeprefix(b"[").removesuffix(b"]").split(b"],[")
    if market is Market.SPOT:
        if period.span.start_ms >= _SPOT_MICROSECONDS_FROM_MS:
            lines = [_in_microseconds(line) for line in lines]
    elif period.span.start_ms >= _FUTURES_HEADER_FROM_MS:
        lines.insert(0, _HEADER)
    return b"\n".join(lines) + b"\n"


def _in_microseconds(line: bytes) -> bytes:
    cells = line.split(b",")
    cells[0] += b"000"
    cells[6] += b"999"  # inclusive: the last microsecond of the last millisecond
    return b",".join(cells)
