"""Compares stored longer candles with those computed from stored 1m candles, inside the database."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import sql

from core.columns import VALUE_NAMES
from core.intervals import Interval
from core.ranges import Span
from core.times import from_datetime, to_datetime
from db.connection import Transaction


@dataclass(frozen=True, slots=True)
class AggregateDifference:
    """A longer candle that differs from its 1m candles; None: no candle. Values are in the order of VALUE_NAMES."""

    time_ms: int
    stored: tuple[str, ...] | None
    made: tuple[str, ...] | None

    def differing(self) -> list[str]:
        """Return `name stored … made …` for each value that differs, or which candle is missing."""
        if self.stored is None or self.made is None:
            return ["no candle stored" if self.stored is None else "no 1m candle stored"]
        pairs = zip(VALUE_NAMES, self.stored, self.made, strict=True)
        return [f"{name} stored {stored} made {made}" for name, stored, made in pairs if stored != made]


# How a longer candle is computed from 1m candles; all other columns are summed.
_MADE_BY = {
    "open": "(array_agg(open order by time))[1]",
    "high": "max(high)",
    "low": "min(low)",
    "close": "(array_agg(close order by time desc))[1]",
}


def find_aggregate_differences(
    tx: Transaction, table: str, minute_table: str, interval: Interval, span: Span
) -> tuple[int, list[AggregateDifference]]:
    """Return how many candles of `table` open in `span`, and those that differ from their 1m candles.

    Computed are: open of the first and close of the last 1m candle, highest high, lowest low, summed volumes and
    trades. `span` must begin and end on the grid of `interval`.
    """
    columns = sql.SQL(", ").join(sql.SQL(f"{_MADE_BY.get(name, f'sum({name})')} as {name}") for name in VALUE_NAMES)
    tx.cursor.execute(
        sql.SQL(
            """
            with made as (
                select {slot} as time, {columns} from public.{minutes}
                where time >= %(start)s and time < %(end)s group by 1),
            longer as (select * from public.{table} where time >= %(start)s and time < %(end)s)
            select coalesce(longer.time, made.time), longer.time is not null, made.time is not null, {longer}, {made},
                   row({longer}) is distinct from row({made})
            from longer full join made on made.time = {slot_of_longer} order by 1
            """
        ).format(
            slot=_slot(interval, "time"),
            slot_of_longer=_slot(interval, "longer.time"),
            columns=columns,
            minutes=sql.Identifier(minute_table),
            table=sql.Identifier(table),
            longer=_values_of("longer"),
            made=_values_of("made"),
        ),
        {"start": to_datetime(span.start_ms), "end": to_datetime(span.end_ms)},
    )
    width = len(VALUE_NAMES)
    compared, differences = 0, []
    for time, is_stored, is_made, *values, differs in tx.cursor.fetchall():
        compared += is_stored
        if differs:
            stored = tuple(values[:width]) if is_stored else None
            differences.append(
                AggregateDifference(from_datetime(time), stored, tuple(values[width:]) if is_made else None)
            )
    return compared, differences


def _values_of(side: str) -> sql.Composable:
    """Numbers as they compare and are shown: without trailing zeros."""
    return sql.SQL(", ").join(sql.SQL(f"trim_scale({side}.{name}::numeric)::text") for name in VALUE_NAMES)


def _slot(interval: Interval, column: str) -> sql.Composable:
    name = sql.SQL(column)
    if interval.step_ms is None:
        return sql.SQL("date_trunc('month', {})").format(name)
    return sql.SQL("date_bin({}, {}, {})").format(
        sql.Literal(f"{interval.step_ms} milliseconds"), name, sql.Literal(to_datetime(interval.offset_ms))
    )
