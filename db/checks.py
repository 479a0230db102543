"""Checks of a candle table that the database computes: counts, off-grid and doubled rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql

from core.intervals import Interval
from core.ranges import Span
from core.times import from_datetime, to_datetime
from db.connection import Transaction, fetch_one


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Row counts of a part of a table. The open time of an off-grid row is not on the grid of the interval."""

    rows: int
    off_grid: int
    first_off_grid_ms: int | None = None
    last_off_grid_ms: int | None = None


def count_rows_within(tx: Transaction, table: str, interval: Interval, span: Span) -> RowCounts:
    """Return the counts of the rows in `span`, in one pass."""
    off_grid = _off_grid(interval)
    tx.cursor.execute(
        sql.SQL(
            """
            select count(*), count(*) filter (where {off}),
                   min(time) filter (where {off}), max(time) filter (where {off})
            from public.{table} where time >= %s and time < %s
            """
        ).format(off=off_grid, table=sql.Identifier(table)),
        (to_datetime(span.start_ms), to_datetime(span.end_ms)),
    )
    rows, off, first, last = fetch_one(tx)
    return RowCounts(rows, off, *(None if moment is None else from_datetime(moment) for moment in (first, last)))


def count_rows_in_each(tx: Transaction, table: str, spans: Sequence[Span]) -> list[int]:
    """Return the number of rows in each of `spans`, in the same order."""
    tx.cursor.execute(
        sql.SQL(
            """
            select (select count(*) from public.{} where time >= wanted.first and time < wanted.last)
            from unnest(%s::timestamptz[], %s::timestamptz[]) with ordinality as wanted(first, last, place)
            order by place
            """
        ).format(sql.Identifier(table)),
        ([to_datetime(span.start_ms) for span in spans], [to_datetime(span.end_ms) for span in spans]),
    )
    return [count for (count,) in tx.cursor.fetchall()]


def find_row_edges(tx: Transaction, table: str, span: Span) -> Span | None:
    """Return the range from the first row in `span` to 1 ms after the last one, or None when there is no row."""
    tx.cursor.execute(
        sql.SQL("select min(time), max(time) from public.{} where time >= %s and time < %s").format(
            sql.Identifier(table)
        ),
        (to_datetime(span.start_ms), to_datetime(span.end_ms)),
    )
    first, last = fetch_one(tx)
    return None if first is None else Span(from_datetime(first), from_datetime(last) + 1)


def find_off_grid(tx: Transaction, table: str, interval: Interval, span: Span, limit: int) -> list[int]:
    """Return the open times (epoch ms) of the first `limit` off-grid rows in `span`."""
    tx.cursor.execute(
        sql.SQL("select time from public.{} where time >= %s and time < %s and {} order by time limit %s").format(
            sql.Identifier(table), _off_grid(interval)
        ),
        (to_datetime(span.start_ms), to_datetime(span.end_ms), limit),
    )
    return [from_datetime(time) for (time,) in tx.cursor.fetchall()]


def count_between_milliseconds(tx: Transaction, table: str, span: Span) -> int:
    """Return how many rows of `span` have a time that is not a whole millisecond; no source gives such a time."""
    tx.cursor.execute(
        sql.SQL(
            "select count(*) from public.{} where time >= %s and time < %s and date_trunc('milliseconds', time) <> time"
        ).format(sql.Identifier(table)),
        (to_datetime(span.start_ms), to_datetime(span.end_ms)),
    )
    return int(fetch_one(tx)[0])


def count_doubles(tx: Transaction, table: str) -> int:
    """Return how many rows are too many because another row has the same open time."""
    tx.cursor.execute(sql.SQL("select count(*) - count(distinct time) from public.{}").format(sql.Identifier(table)))
    return int(fetch_one(tx)[0])


def _off_grid(interval: Interval) -> sql.Composable:
    if interval.step_ms is None:
        return sql.SQL("date_trunc('month', time) <> time")
    return sql.SQL("date_bin({}, time, {}) <> time").format(
        sql.Literal(f"{interval.step_ms} milliseconds"), sql.Literal(to_datetime(interval.offset_ms))
    )
