"""Reads the CSV inside an archive zip into a batch; refuses a file whose content does not fit its name."""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from isal import isal_zlib

from core.archives import Period
from core.binance.archives import file_stem
from core.binance.row import ROW_LENGTH, ROW_POSITIONS
from core.candles import CandleBatch
from core.columns import SCHEMA
from core.errors import ArchiveUnavailable, UnusableAnswer
from core.series import Series
from core.times import format_ms
from core.validation import without_impossible

# Real rows have at most about 220 bytes; a file far larger than its number of candles allows is not an archive.
_MAX_BYTES_PER_ROW = 512
_MAX_EXTRA_BYTES = 1 << 20
_HEAD_BYTES = 1 << 12
# Small blocks need little memory and fit into the processor's cache.
_BLOCK_BYTES = 1 << 19
HEADER = re.compile(rb"[A-Za-z_][A-Za-z_ ]*(,[A-Za-z_ ]+)+\r?\n")
# Epoch ms have 13 digits today, epoch microseconds 16 (docs/binance.md, Inside the files).
_FIRST_MICROSECONDS = 10**14

Result = TypeVar("Result")

_ISA_L_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the library's types call it an instance


def read_archive(path: Path, series: Series, period: Period) -> CandleBatch:
    """Return the candles of a downloaded zip, ascending and validated; single rows that cannot be as its `unusable`.

    Accepts times in milliseconds or microseconds, with or without a header row. Raises ArchiveUnavailable
    when the zip or its rows are invalid or do not fit the file's name.
    """
    name = file_stem(series, period)
    batch = read_zip(path, name, most_bytes(series, period), lambda stream: without_impossible(_parse(stream)))
    for time_ms in (batch.open_times()[0], batch.open_times()[-1]) if batch.rows else ():
        if not period.span.start_ms <= time_ms < period.span.end_ms:
            raise ArchiveUnavailable(f"archive {name}.zip holds a candle of {format_ms(time_ms)}")
    return batch


def read_zip(path: Path, name: str, most: int, parse: Callable[[BoundedStream], Result]) -> Result:
    """Return what `parse` makes of the CSV in the zip of the archive `name`, which has at most `most` bytes.

    Raises ArchiveUnavailable when zip or rows are invalid.
    """
    try:
        with zipfile.ZipFile(path) as archive, _open(archive, _only_member(archive, name)) as stream:
            return parse(BoundedStream(stream, most, name))
    except (pa.ArrowInvalid, UnusableAnswer) as error:  # first, because ArrowInvalid is a ValueError
        raise ArchiveUnavailable(f"archive {name}.zip holds unusable rows: {error}") from error
    except (
        zipfile.BadZipFile,
        _ISA_L_ERROR,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
    ) as error:
        raise ArchiveUnavailable(f"archive {name}.zip is not a readable zip: {error}") from error


def _only_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    members = archive.infolist()
    if [member.filename for member in members] != [f"{name}.csv"]:
        names = ", ".join(member.filename[:80] for member in members[:5])
        raise ArchiveUnavailable(f"archive {name}.zip holds {names or 'nothing'} instead of {name}.csv")
    return members[0]


def _open(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """Open a member like `zipfile`, with all its checks, but decompress it with ISA-L, in less than half the time."""
    stream = archive.open(member)
    if member.compress_type == zipfile.ZIP_DEFLATED:
        # Not a public name. If a later Python renames it, Python's own zlib decompresses.
        stream._decompressor = isal_zlib.decompressobj(-zlib.MAX_WBITS)  # type: ignore[attr-defined]
    return stream


def most_bytes(series: Series, period: Period) -> int:
    """Return an upper bound in bytes for the zip file and for the CSV in it."""
    return series.interval.count(period.span.start_ms, period.span.end_ms) * _MAX_BYTES_PER_ROW + _MAX_EXTRA_BYTES


class BoundedStream(io.RawIOBase):
    """A stream with a maximum length: the size that the zip itself gives may be wrong."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream = stream
        self._limit = limit
        self._name = name
        self._taken = 0
        self.head = stream.read(_HEAD_BYTES)
        self._waiting = self.head

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes. Raises ArchiveUnavailable past the limit."""
        # The head alone would make a first block of a few rows, which costs as much as one of thousands.
        rest = max(size - len(self._waiting), 0) if self._waiting else size
        block, self._waiting = self._waiting + self._stream.read(rest), b""
        self._taken += len(block)
        if self._taken > self._limit:
            raise ArchiveUnavailable(f"archive {self._name}.zip unpacks to more than {self._limit} bytes")
        return block


def _parse(stream: BoundedStream) -> CandleBatch:
    blank = len(stream.head) - len(stream.head.lstrip(b"\r\n"))
    if len(stream.head) < _HEAD_BYTES and not stream.head.strip():
        return CandleBatch.empty()
    positions = {position: name for name, position in ROW_POSITIONS.items()}
    names = [positions.get(position, f"unused_{position}") for position in range(ROW_LENGTH)]
    # A header consists of words (open_time,open,...). Anything else is a row; a damaged one is refused later.
    has_header = HEADER.match(stream.head, blank) is not None
    table = pa_csv.read_csv(
        stream,
        # One thread: other files are read in parallel, and the database needs a core.
        pa_csv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK_BYTES,
            column_names=names,
            skip_rows=stream.head.count(b"\n", 0, blank) + 1 if has_header else 0,
        ),
        pa_csv.ParseOptions(quote_char=False),
        pa_csv.ConvertOptions(
            column_types={field.name: field.type for field in SCHEMA},
            include_columns=SCHEMA.names,
            strings_can_be_null=False,
            null_values=[],
            check_utf8=True,
        ),
    )
    times = table["open_time"]
    if table.num_rows and times[0].as_py() >= _FIRST_MICROSECONDS:
        table = table.set_column(0, SCHEMA.field(0), pc.divide(times, 1000))
    return CandleBatch(table)
