"""Uses TimescaleDB where the server has it: hypertables, size of their chunks, compression."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

import psycopg2
from psycopg2 import sql

from core.errors import FetcherError
from core.intervals import Interval
from core.times import MS_PER_DAY
from db.connection import Database, Transaction, fetch_one
from db.locks import lock_schema

_log = logging.getLogger(__name__)

# About a month of 1m candles. Measured: with chunks of 7 to 30 days of 1m, inserts are as fast as into a plain table;
# chunks of one day cost 20-80 % more time and 29 % more space.
_CANDLES_PER_CHUNK = 43_200


def use_timescale_if_there(database: Database) -> bool:
    """Return whether this database has TimescaleDB; create the extension if possible and allowed."""
    try:
        with database.transaction("look for TimescaleDB") as tx:
            if _is_only_preloaded(tx):
                lock_schema(tx)
                tx.cursor.execute("create extension if not exists timescaledb")
            tx.cursor.execute("select extversion from pg_extension where extname = 'timescaledb'")
            found = tx.cursor.fetchone()
    except FetcherError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg2.Error) or cause.pgcode is None:
            raise  # the connection is lost: nothing else would work either
        _log.info("storage: plain PostgreSQL (TimescaleDB cannot be enabled: %s)", error)
        return False
    if found is None:
        _log.info("storage: plain PostgreSQL (no extension timescaledb in this database)")
        return False
    _log.info("storage: TimescaleDB %s", found[0])
    return True


def _is_only_preloaded(tx: Transaction) -> bool:
    # Creating the extension ends the connection when its library is not preloaded, so this is checked first.
    # Users who may not read that setting get no row here and have to create the extension themselves.
    tx.cursor.execute(
        """
        select exists (select from pg_available_extensions
                       where name = 'timescaledb' and installed_version is null)
           and exists (select from pg_settings
                       where name = 'shared_preload_libraries' and setting like '%timescaledb%')
        """
    )
    return bool(fetch_one(tx)[0])


def find_hypertables(tx: Transaction, tables: Sequence[str]) -> set[str]:
    """Return those of `tables` that are hypertables; none where the extension is not."""
    tx.cursor.execute("select to_regclass('_timescaledb_catalog.hypertable') is not null")
    if not fetch_one(tx)[0]:
        return set()
    tx.cursor.execute(
        "select table_name from _timescaledb_catalog.hypertable"
        " where schema_name = 'public' and table_name = any(%s::name[])",
        ([*tables],),
    )
    return {name for (name,) in tx.cursor.fetchall()}


def make_hypertable(tx: Transaction, table: str, interval: Interval, compress_after_days: int) -> None:
    """Turn the new, empty `table` into a hypertable; compress chunks after `compress_after_days` (0: never)."""
    chunk_ms = max(MS_PER_DAY, _CANDLES_PER_CHUNK * interval.typical_ms)
    chunk = timedelta(milliseconds=chunk_ms)
    tx.cursor.execute(
        "select create_hypertable(('public.' || quote_ident(%s))::regclass, 'time', chunk_time_interval => %s)",
        (table, chunk),
    )
    if compress_after_days:
        tx.cursor.execute(
            sql.SQL("alter table public.{} set (timescaledb.compress, timescaledb.compress_orderby = 'time')").format(
                sql.Identifier(table)
            )
        )
        tx.cursor.execute(
            "select add_compression_policy(('public.' || quote_ident(%s))::regclass, %s)",
            (table, timedelta(days=compress_after_days)),
        )


def lift_decompression_limit(tx: Transaction) -> None:
    """Let this transaction change as many rows of compressed chunks as it has to; does nothing without TimescaleDB.

    TimescaleDB decompresses whole batches of rows to change one, and by default fails at 100,000 rows.
    """
    tx.cursor.execute(
        "select set_config(name, '0', true) from pg_settings"
        " where name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'"
    )
