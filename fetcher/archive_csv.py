"""The CSV inside an archive: zip to a batch of columns, refused unless it is what the name promises."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from core.archive_names import Period, file_stem
from core.candles import EXCHANGE_ROW, EXCHANGE_ROW_LENGTH, SCHEMA, CandleBatch
from core.errors import ArchiveUnavailable, UnusableAnswer
from core.series import Series
from core.times import format_ms
from core.validation import validate

# No real row is longer than some 220 bytes; anything far larger than its candles is not an archive.
_MAX_BYTES_PER_ROW = 512
_MAX_EXTRA_BYTES = 1 << 20
_HEADER = re.compile(rb"[A-Za-z_][A-Za-z_ ]*(,[A-Za-z_ ]+)+\r?\n")
# Epoch ms of today has 13 digits, epoch microseconds 16 (contract section 4: decide by magnitude).
_FIRST_MICROSECONDS = 10**14


def read_archive(path: Path, series: Series, period: Period) -> CandleBatch:
    """Return the candles of a downloaded zip, ascending and validated.

    Accepts milliseconds or microseconds, with or without a header row. Raises ArchiveUnavailable
    when the zip or its rows are not what the file's name promises.
    """
    name = file_stem(series, period)
    try:
        batch = _parse(_csv_bytes(path, series, period))
        validate(batch)
    except (pa.ArrowInvalid, UnusableAnswer) as error:  # before ValueError, of which ArrowInvalid is one
        raise ArchiveUnavailable(f"archive {name}.zip holds unusable rows: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ArchiveUnavailable(f"archive {name}.zip is not a readable zip: {error}") from error
    for time_ms in (batch.open_times()[0], batch.open_times()[-1]) if batch.rows else ():
        if not period.span.start_ms <= time_ms < period.span.end_ms:
            raise ArchiveUnavailable(f"archive {name}.zip holds a candle of {format_ms(time_ms)}")
    return batch


def _csv_bytes(path: Path, series: Series, period: Period) -> bytes:
    expected = f"{file_stem(series, period)}.csv"
    slots = series.interval.count(period.span.start_ms, period.span.end_ms)
    limit = slots * _MAX_BYTES_PER_ROW + _MAX_EXTRA_BYTES
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if [member.filename for member in members] != [expected]:
            names = ", ".join(member.filename[:80] for member in members[:5])
            raise ArchiveUnavailable(f"archive {path.name} holds {names or 'nothing'} instead of {expected}")
        with archive.open(members[0]) as stream:
            # Read no more than is plausible: the size in the zip's own directory may lie.
            content = stream.read(limit + 1)
    if len(content) > limit:
        raise ArchiveUnavailable(f"archive {path.name} unpacks to more than {limit} bytes")
    return content


def _parse(content: bytes) -> CandleBatch:
    content = content.lstrip(b"\r\n")
    if not content.strip():
        return CandleBatch.empty()
    positions = {position: name for name, position in EXCHANGE_ROW.items()}
    names = [positions.get(position, f"unused_{position}") for position in range(EXCHANGE_ROW_LENGTH)]
    # A header is words only (open_time,open,...). Anything else is a row, and refused when it is a damaged one.
    has_header = _HEADER.match(content) is not None
    table = pa_csv.read_csv(
        io.BytesIO(content),
        # One block and one thread: a chunk is small, and the other core belongs to the database.
        pa_csv.ReadOptions(
            use_threads=False, block_size=len(content) + 1, column_names=names, skip_rows=1 if has_header else 0
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
