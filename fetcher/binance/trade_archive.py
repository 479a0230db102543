"""Reads the archives of aggregate trades; refuses a file whose content does not fit its name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from core.archives import Period
from core.binance.archives import ArchiveFile, data_file
from core.instrument import Instrument
from core.trade_batch import TRADE_SCHEMA, check_trades
from fetcher.binance.archive_csv import HEADER, BoundedStream, read_zip

# The busiest days have some ten million aggregate trades of less than a hundred bytes.
_MOST_BYTES = 2 << 30
_BLOCK_BYTES = 1 << 22
_FIRST_MICROSECONDS = 10**14
_COLUMNS = (*TRADE_SCHEMA.names, "is_best_match")  # the last one on spot only


def trade_file(instrument: Instrument, period: Period) -> ArchiveFile:
    """Return the file with an instrument's aggregate trades of a day."""
    return data_file(instrument, "aggTrades", period, _MOST_BYTES)


def read_trades(path: Path, file: ArchiveFile, period: Period) -> pa.Table:
    """Return the trades of a downloaded zip (core.trade_batch), checked. Raises ArchiveUnavailable.

    Accepts times in milliseconds or microseconds, with or without a header row.
    """

    def parse(stream: BoundedStream) -> pa.Table:
        trades = _parse(stream)
        check_trades(trades, period.span)
        return trades

    return read_zip(path, file.stem, file.most_bytes, parse)


def _parse(stream: BoundedStream) -> pa.Table:
    if not stream.head.strip():
        return TRADE_SCHEMA.empty_table()
    columns = stream.head.split(b"\n", 1)[0].count(b",") + 1
    table = pa_csv.read_csv(
        stream,
        pa_csv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK_BYTES,
            column_names=_COLUMNS[:columns],
            skip_rows=1 if HEADER.match(stream.head) else 0,
        ),
        pa_csv.ParseOptions(quote_char=False),
        pa_csv.ConvertOptions(
            column_types={field.name: field.type for field in TRADE_SCHEMA},
            include_columns=TRADE_SCHEMA.names,
            strings_can_be_null=False,
            null_values=[],
        ),
    )
    times = table["time"]
    if table.num_rows and times[0].as_py() >= _FIRST_MICROSECONDS:
        place = TRADE_SCHEMA.get_field_index("time")
        table = table.set_column(place, TRADE_SCHEMA.field(place), pc.divide(times, 1000))
    return table
