"""The candle tables, one for each series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from psycopg2 import sql

from core.columns import CANDLE_COLUMNS, VALUE_COLUMNS
from core.series import Series
from db.connection import Transaction, fetch_one
from db.external_changes import watch_table
from db.timescale import make_hypertable


def table_exists(tx: Transaction, table: str) -> bool:
    """Whether the table exists in the schema public."""
    tx.cursor.execute("select to_regclass('public.' || quote_ident(%s)) is not null", (table,))
    return bool(fetch_one(tx)[0])


class ShapeFaultKind(Enum):
    """What is wrong with the shape of a candle table."""

    COLUMNS = "columns"  # candles cannot be stored and read correctly
    KEY = "key"  # candles could be stored twice


@dataclass(frozen=True, slots=True)
class ShapeFault:
    """Why candles cannot be stored correctly in a table."""

    kind: ShapeFaultKind
    text: str  # completes "table ...: "


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a candle table."""

    name: str
    sql_type: str
    must_be_given: bool  # NOT NULL and without a default


@dataclass(frozen=True, slots=True)
class TableShape:
    """Key and columns of a candle table; `faults` says what is wrong with them."""

    has_key: bool  # a valid unique index on `time` alone, which prevents double candles
    columns: tuple[TableColumn, ...]  # in the table's order

    @property
    def faults(self) -> list[ShapeFault]:
        """Return why candles cannot be stored correctly; additional columns do no harm.

        The columns of candles must be in their original order: another one means that columns were renamed, so that
        values would go to the wrong ones.
        """
        faults = []
        expected = [(column.sql_name, column.kind.sql_type) for column in CANDLE_COLUMNS]
        names = {name for name, _ in expected}
        found = [(column.name, column.sql_type) for column in self.columns if column.name in names]
        if found != expected:
            has, wants = (", ".join(f"{name} {kind}" for name, kind in columns) for columns in (found, expected))
            faults.append(ShapeFault(ShapeFaultKind.COLUMNS, f"its columns are {has}; they should be {wants}"))
        for column in self.columns:
            if column.must_be_given and column.name not in names:
                why = (
                    f"column {column.name} has to be filled, and no candle has it; drop its NOT NULL or give a default"
                )
                faults.append(ShapeFault(ShapeFaultKind.COLUMNS, why))
        if not self.has_key:
            why = "it has lost its primary key on time; verify --repair gives it back"
            faults.append(ShapeFault(ShapeFaultKind.KEY, why))
        return faults


def find_tables(tx: Transaction, tables: Sequence[str]) -> dict[str, TableShape]:
    """Return the shapes of those of `tables` that exist in the schema public, by name."""
    tx.cursor.execute(
        """
        select relname, exists (
            select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
            where indrelid = pg_class.oid and indisunique and indisvalid
              and indnkeyatts = 1 and indpred is null and attname = 'time'),
            (select json_agg(json_build_array(attname, format_type(atttypid, atttypmod), attnotnull and not atthasdef
                                              and attidentity = '' and attgenerated = '') order by attnum)
             from pg_attribute where attrelid = pg_class.oid and attnum > 0 and not attisdropped)
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname = any(%s::name[])
        """,
        (list(tables),),
    )
    return {
        name: TableShape(has_key, tuple(TableColumn(*column) for column in columns or ()))
        for name, has_key, columns in tx.cursor.fetchall()
    }


def has_key(tx: Transaction, table: str) -> bool:
    """Whether `table` exists and has its key."""
    shape = find_tables(tx, [table]).get(table)
    return shape is not None and shape.has_key


def create_table_if_not_exists(tx: Transaction, series: Series, timescale: bool, compress_after_days: int) -> bool:
    """Create the table of a series (with `timescale` a hypertable); return False when it exists already."""
    if table_exists(tx, series.table_name):
        return False
    values = sql.SQL(", ").join(
        sql.SQL("{} {} not null").format(sql.Identifier(column.sql_name), sql.SQL(column.kind.sql_type))
        for column in VALUE_COLUMNS
    )
    table = sql.Identifier(series.table_name)
    tx.cursor.execute(sql.SQL("create table public.{} (time timestamptz primary key, {})").format(table, values))
    comment = sql.Literal(
        f"{series.exchange} {series.market} {series.symbol} {series.interval.code} candles by open time (UTC)"
    )
    tx.cursor.execute(sql.SQL("comment on table public.{} is {}").format(table, comment))
    if timescale:
        make_hypertable(tx, series.table_name, series.interval, compress_after_days)
    watch_table(tx, series.table_name)
    return True
