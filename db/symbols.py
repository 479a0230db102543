"""`public.symbols`: the list of series that a person keeps, read where there is no symbols.yml. Never written here.

It may be another program's table or view; all that it needs is a column `symbol`.
"""

from __future__ import annotations

from psycopg2 import sql

from core.errors import ConfigurationError
from core.wanted_rows import WantedList, WantedRow, read_rows
from db.connection import Transaction, fetch_one

# Each column that is read, and which kind of type it has to have where it is there.
_COLUMNS = {
    "symbol": "a text",
    "market": "a text",
    "interval": "a text",
    "active": "true or false",
    "wanted_from": "a time",
    "wanted_until": "a time",
}


def load_symbols_from_db(tx: Transaction, default_interval: str) -> WantedList:
    """Return the active series of public.symbols, by market, symbol and interval.

    A row without a market is spot, one without an interval has `default_interval`, one that does not say whether it is
    active is. Raises ConfigurationError when there is no such table, or it is none of this kind.
    """
    there = _find_columns(tx)
    named = {name: sql.Identifier(name) if name in there else sql.SQL("null") for name in _COLUMNS}
    tx.cursor.execute(
        sql.SQL(
            "select {symbol}::text, {market}::text, {interval}::text, {wanted_from}::text, {wanted_until}::text"
            " from public.symbols where coalesce({active}::boolean, true) order by 2, 1, 3, 4, 5"
        ).format(**named)
    )
    return read_rows([WantedRow(*row) for row in tx.cursor.fetchall()], default_interval)


def _find_columns(tx: Transaction) -> set[str]:
    """Return which of the columns are there. Raises ConfigurationError."""
    tx.cursor.execute(
        "select relation is not null, coalesce(has_table_privilege(relation, 'select'), false)"
        " from to_regclass('public.symbols') as relation"
    )
    exists, may_read = fetch_one(tx)
    if not exists:
        raise ConfigurationError("there is no table public.symbols")
    if not may_read:
        raise ConfigurationError("public.symbols may not be read: grant the user select on it")
    tx.cursor.execute(
        """
        select attname, format_type(atttypid, null),
            case typcategory when 'S' then 'a text' when 'E' then 'a text' when 'B' then 'true or false'
                             when 'D' then 'a time' end
        from pg_attribute join pg_type on pg_type.oid = atttypid
        where attrelid = 'public.symbols'::regclass and attnum > 0 and not attisdropped and attname = any(%s::name[])
        """,
        ([*_COLUMNS],),
    )
    found = {name: (sql_type, kind) for name, sql_type, kind in tx.cursor.fetchall()}
    if "symbol" not in found:
        raise ConfigurationError("public.symbols has no column symbol, so it is not a list of series")
    for name, (sql_type, kind) in found.items():
        if kind != _COLUMNS[name]:
            raise ConfigurationError(
                f"public.symbols is not a list of series: its column {name} is of type {sql_type}, not {_COLUMNS[name]}"
            )
    return set(found)
