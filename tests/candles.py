"""Makes candle batches for tests, and reads tables back as the exchange's own text."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import pyarrow as pa
from psycopg2 import sql

from core.binance.row import ROW_POSITIONS
from core.candles import CandleBatch
from core.columns import SCHEMA, VALUE_NAMES
from core.errors import UnusableAnswer
from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import Series
from core.times import from_datetime
from core.validation import without_impossible
from db.commit import CommitContext
from db.connection import Transaction
from db.operations import PreparedSpan, SaveResult, save_ohlcv
from demo.generated_market import generate_series

Row = tuple[object, ...]


def batch_of(rows: Sequence[Sequence[object]]) -> CandleBatch:
    """Return a batch of 12-item exchange rows."""
    columns = [[row[ROW_POSITIONS[field.name]] for row in rows] for field in SCHEMA]
    return CandleBatch(pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA))


def generated_batch(series: Series, span: Span, seed: int = 1) -> CandleBatch:
    return batch_of(list(generate_series(series, span, seed)))


def save_spans(
    tx: Transaction, series_id: int, table: str, spans: Sequence[FetchedSpan], run_id: str, at_ms: int
) -> SaveResult:
    commit = CommitContext(series_id, table, run_id, at_ms)
    return save_ohlcv(tx, commit, [PreparedSpan.of(span) for span in spans])


def truth_rows(rows: Sequence[Sequence[object]]) -> list[Row]:
    """Return 12-item exchange rows as (open time, nine values as text), in the order of SCHEMA."""
    values = itemgetter(*(ROW_POSITIONS[name] for name in SCHEMA.names[1:]))
    return [(row[0], *map(str, values(row))) for row in rows]


def stored_rows(tx: Transaction, table: str) -> list[Row]:
    """Return a table's rows in the same form: every digit as stored."""
    names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in VALUE_NAMES)
    tx.cursor.execute(
        sql.SQL("select time, {} from public.{} order by public.{}.time").format(names, *[sql.Identifier(table)] * 2)
    )
    return [(from_datetime(row[0]), *row[1:]) for row in tx.cursor.fetchall()]


def validate(batch: CandleBatch) -> None:
    """Raise UnusableAnswer at the first candle that is not possible, or that is out of order."""
    for one in without_impossible(batch).unusable:
        raise UnusableAnswer(f"impossible candle, {one.why}: {one.row}")
