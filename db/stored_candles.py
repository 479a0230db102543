"""Reads stored candles back as a batch, digit for digit."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg2 import sql

from core.candles import CandleBatch
from core.columns import SCHEMA, VALUE_NAMES
from core.ranges import Span
from core.times import to_datetime
from db.connection import Transaction


def load_candles(tx: Transaction, table: str, span: Span) -> CandleBatch:
    """Return the candles of `table` in `span`, ascending, not validated. A candle stored twice comes twice."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in VALUE_NAMES)
    query = sql.SQL(
        "copy (select floor(extract(epoch from time) * 1000)::bigint, {} from public.{}"
        " where time >= {} and time < {} order by time) to stdout (format csv)"
    ).format(
        names,
        sql.Identifier(table),
        sql.Literal(to_datetime(span.start_ms)),
        sql.Literal(to_datetime(span.end_ms)),
    )
    content = io.BytesIO()
    tx.cursor.copy_expert(query, content)
    if not content.getbuffer().nbytes:
        return CandleBatch.empty()
    table_ = pa_csv.read_csv(
        pa.BufferReader(content.getbuffer()),
        pa_csv.ReadOptions(use_threads=False, block_size=content.getbuffer().nbytes + 1, column_names=SCHEMA.names),
        pa_csv.ParseOptions(quote_char=False),
        pa_csv.ConvertOptions(
            column_types={field.name: field.type for field in SCHEMA}, strings_can_be_null=False, null_values=[]
        ),
    )
    return CandleBatch(table_)
