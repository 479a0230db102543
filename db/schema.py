"""The candle tables, one per series, and the view over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql

from core.series import Series
from db.connection import Transaction, fetch_one
from db.locks import lock_schema
from db.timescale import make_hypertable

# In the order of the tables; `time` is the open time. Values keep the exchange's digits.
VALUE_COLUMNS = (
    ("open", "numeric"),
    ("high", "numeric"),
    ("low", "numeric"),
    ("close", "numeric"),
    ("volume", "numeric"),
    ("quote_volume", "numeric"),
    ("trades", "integer"),
    ("taker_buy_volume", "numeric"),
    ("taker_buy_quote_volume", "numeric"),
)
COLUMNS = ("time", *(name for name, _ in VALUE_COLUMNS))
ALL_SERIES_VIEW = "ohlcv"


def table_exists(tx: Transaction, table: str) -> bool:
    """Whether `public.table` is there."""
    tx.cursor.execute("select to_regclass('public.' || quote_ident(%s)) is not null", (table,))
    return bool(fetch_one(tx)[0])


@dataclass(frozen=True, slots=True)
class TableShape:
    """What a candle table looks like."""

    has_key: bool  # a valid unique index on `time` alone, which keeps candles from being doubled
    columns: tuple[tuple[str, str], ...]  # name and type, in the table's order

    @property
    def fault(self) -> str | None:
        """What keeps candles from being stored as they are, or None. Further columns do no harm."""
        for name, kind in (("time", "timestamp with time zone"), *VALUE_COLUMNS):
            found = dict(self.columns).get(name)
            if found != kind:
                return f"column {name} is {found or 'gone'}, not {kind}"
        return None if self.has_key else "it has lost its primary key on time; verify --repair gives it back"


def find_tables(tx: Transaction, tables: Sequence[str]) -> dict[str, TableShape]:
    """Return which of `tables` are there in the schema public, and what they look like."""
    tx.cursor.execute(
        """
        select relname, exists (
            select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
            where indrelid = pg_class.oid and indisunique and indisvalid
              and indnkeyatts = 1 and indpred is null and attname = 'time'),
            (select array_agg(array[attname::text, format_type(atttypid, atttypmod)] order by attnum)
             from pg_attribute where attrelid = pg_class.oid and attnum > 0 and not attisdropped)
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname = any(%s::name[])
        """,
        (list(tables),),
    )
    return {
        name: TableShape(has_key, tuple((column, kind) for column, kind in columns or ()))
        for name, has_key, columns in tx.cursor.fetchall()
    }


def has_key(tx: Transaction, table: str) -> bool:
    """Whether `table` is there and has its key."""
    shape = find_tables(tx, [table]).get(table)
    return shape is not None and shape.has_key


def create_table_if_not_exists(tx: Transaction, series: Series, timescale: bool, compress_after_days: int) -> bool:
    """Create the series' table (a hypertable with `timescale`) and return True; False when it is there."""
    if table_exists(tx, series.table_name):
        return False
    values = sql.SQL(", ").join(
        sql.SQL("{} {} not null").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in VALUE_COLUMNS
    )
    table = sql.Identifier(series.table_name)
    tx.cursor.execute(sql.SQL("create table public.{} (time timestamptz primary key, {})").format(table, values))
    comment = sql.Literal(f"Binance {series.market} {series.symbol} {series.interval.code} candles by open time (UTC)")
    tx.cursor.execute(sql.SQL("comment on table public.{} is {}").format(table, comment))
    tx.cursor.execute(
        sql.SQL(
            "create trigger ohlcv_note_external_change after update or delete or truncate on public.{}"
            " for each statement execute function public.ohlcv_note_external_change()"
        ).format(table)
    )
    if timescale:
        make_hypertable(tx, series.table_name, series.interval, compress_after_days)
    return True


def refresh_all_series_view(tx: Transaction) -> bool:
    """Rebuild the view over all series when tables came or went; return whether it was rebuilt.

    One leg a series with its market, symbol and interval as constants, so that a query for one
    symbol reads that symbol's table only.
    """
    lock_schema(tx)
    tx.cursor.execute(
        """
        select market, symbol, "interval", table_name from public.symbols
        where to_regclass('public.' || quote_ident(table_name)) is not null order by table_name
        """
    )
    legs = tx.cursor.fetchall()
    tx.cursor.execute(
        """
        select table_name from information_schema.view_table_usage
        where view_schema = 'public' and view_name = %s order by table_name
        """,
        (ALL_SERIES_VIEW,),
    )
    if not legs or {name for (name,) in tx.cursor.fetchall()} == {leg[3] for leg in legs}:
        return False
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    selects = [
        sql.SQL('select {}::text as market, {}::text as symbol, {}::text as "interval", {} from public.{}').format(
            sql.Literal(market), sql.Literal(symbol), sql.Literal(interval), columns, sql.Identifier(table)
        )
        for market, symbol, interval, table in legs
    ]
    tx.cursor.execute(
        sql.SQL("create or replace view public.{} as {}").format(
            sql.Identifier(ALL_SERIES_VIEW), sql.SQL(" union all ").join(selects)
        )
    )
    return True
