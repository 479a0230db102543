"""`public.ohlcv`: a view over the candle tables of all series, for people. Nothing of the program reads it."""

from __future__ import annotations

from psycopg2 import sql

from core.columns import TABLE_COLUMNS
from core.errors import StatementRefused
from db.connection import Transaction, fetch_one
from db.locks import lock_schema, wait_for_locks
from db.neighbours import OWN_MARK, find_marked

ALL_SERIES_VIEW = "ohlcv"
# Whoever reads the view holds up its rebuilding, which meanwhile would hold up every other reader.
_WAIT_S = 2
# A query over the view locks each table and its index, and a run beside it each series.
_LOCKS_A_TABLE = 3


def refresh_all_series_view(tx: Transaction) -> bool:
    """Rebuild the view over all series when tables were added or removed; return whether it was rebuilt.

    Each table is one part of a UNION ALL, with market, symbol and interval as constants, so that a query for one
    symbol reads only that symbol's table. Raises SeriesError when it has to stay as it is: somebody reads it, it is
    another role's or another program's, or a query over so many tables would take too many locks.
    """
    wait_for_locks(tx, _WAIT_S)
    lock_schema(tx)
    tx.cursor.execute(
        """
        select market, symbol, "interval", table_name from public.ohlcv_series
        where to_regclass('public.' || quote_ident(table_name)) is not null order by table_name
        """
    )
    legs = tx.cursor.fetchall()
    if not legs or _tables_read(tx) == {leg[3] for leg in legs}:
        return False
    if find_marked(tx, [ALL_SERIES_VIEW]).get(ALL_SERIES_VIEW) is False:
        raise StatementRefused("it is another program's (its comment does not say that it is this one's)")
    _require_room_for_locks(tx, len(legs))
    columns = sql.SQL(", ").join(map(sql.Identifier, TABLE_COLUMNS))
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
    tx.cursor.execute(
        sql.SQL("comment on view public.{} is {}").format(
            sql.Identifier(ALL_SERIES_VIEW), sql.Literal(f"{OWN_MARK}the candles of all series")
        )
    )
    return True


def _tables_read(tx: Transaction) -> set[str]:
    """Return what the view reads. From the catalogs: information_schema shows an owner's own tables only."""
    tx.cursor.execute(
        """
        select distinct relname from pg_rewrite
        join pg_depend on classid = 'pg_rewrite'::regclass and objid = pg_rewrite.oid
        join pg_class on refclassid = 'pg_class'::regclass and refobjid = pg_class.oid
        where ev_class = to_regclass(%s) and pg_class.oid <> ev_class
        """,
        (f"public.{ALL_SERIES_VIEW}",),
    )
    return {name for (name,) in tx.cursor.fetchall()}


def _require_room_for_locks(tx: Transaction, tables: int) -> None:
    """Raise StatementRefused when the server has no room for the locks of one query over the view and one run.

    The query would fail, or make the run and the statements of others fail (PostgreSQL manual,
    max_locks_per_transaction).
    """
    tx.cursor.execute(
        "select current_setting('max_locks_per_transaction')::integer,"
        " current_setting('max_connections')::integer + current_setting('max_prepared_transactions')::integer"
    )
    each, sessions = fetch_one(tx)
    if tables * _LOCKS_A_TABLE > each * sessions:
        needed = -(-tables * _LOCKS_A_TABLE // sessions)
        raise StatementRefused(
            f"a query over {tables:,} tables would take more locks than the server has room for; raise "
            f"max_locks_per_transaction from {each} to {needed} to have them all in it, or read the tables themselves"
        )
