"""Uses TimescaleDB where the server has it: hypertables, size of their chunks, compression."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import psycopg2
from psycopg2 import sql

from core.errors import DatabaseUnavailable, FetcherError
from core.intervals import Interval
from core.times import MS_PER_DAY, from_datetime
from core.timescale import TimescaleEdition, TimescaleUse
from db.connection import Database, Transaction, fetch_one
from db.locks import lock_schema

_log = logging.getLogger(__name__)

# About a month of 1m candles. Measured: with chunks of 7 to 30 days of 1m, inserts are as fast as into a plain table;
# chunks of one day cost 20-80 % more time and 29 % more space. Of 1s a week, so that a transaction can read a whole
# history: each chunk takes up to four locks.
_CANDLES_PER_CHUNK = 43_200
_SHORTEST_CHUNK_MS = 7 * MS_PER_DAY


def use_timescale(database: Database, use: TimescaleUse) -> TimescaleEdition | None:
    """Return which edition new tables use; None: they are plain tables.

    With ON the extension is created if need be, otherwise never: a server may have it for another of its databases.
    Raises DatabaseUnavailable when it is to be ON and cannot be had.
    """
    if use is TimescaleUse.OFF:
        _log.info("storage: plain PostgreSQL (TIMESCALE=off)")
        return None
    if use is TimescaleUse.ON:
        _create_extension(database)
    with database.transaction("look for TimescaleDB") as tx:
        tx.cursor.execute(
            "select extversion, current_setting('timescaledb.license', true) from pg_extension"
            " where extname = 'timescaledb'"
        )
        found = tx.cursor.fetchone()
    if found is None:
        _log.info("storage: plain PostgreSQL (no extension timescaledb in this database; TIMESCALE=on creates it)")
        return None
    version, licence = found
    edition = TimescaleEdition.COMMUNITY if licence == "timescale" else TimescaleEdition.APACHE
    compresses = "" if edition.can_compress else ", which cannot compress: tables are hypertables without compression"
    _log.info("storage: TimescaleDB %s, %s edition%s", version, edition.value, compresses)
    return edition


def _create_extension(database: Database) -> None:
    try:
        with database.transaction("create the extension timescaledb") as tx:
            lock_schema(tx)
            tx.cursor.execute("select exists (select from pg_extension where extname = 'timescaledb')")
            if fetch_one(tx)[0]:
                return
            # Creating it ends the connection when its library, which has this setting, is not preloaded.
            tx.cursor.execute("select current_setting('timescaledb.disable_load', true) is not null")
            if not fetch_one(tx)[0]:
                raise DatabaseUnavailable(
                    f"TIMESCALE=on, but the server at {database.address} has not loaded TimescaleDB: install it and "
                    "add timescaledb to shared_preload_libraries, or set TIMESCALE=auto"
                )
            tx.cursor.execute("create extension timescaledb")
    except FetcherError as error:
        if not isinstance(error.__cause__, psycopg2.Error) or error.__cause__.pgcode is None:
            raise  # said already, or the connection is lost
        raise DatabaseUnavailable(
            f"TIMESCALE=on, but {error}; let the owner of the database run `create extension timescaledb`, "
            "or set TIMESCALE=auto"
        ) from error


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
    chunk_ms = max(_SHORTEST_CHUNK_MS, _CANDLES_PER_CHUNK * interval.typical_ms)
    make_hypertable_of(tx, HypertableShape(table, "time", timedelta(milliseconds=chunk_ms)), compress_after_days)


@dataclass(frozen=True, slots=True)
class HypertableShape:
    """How a table is cut into chunks, and which rows are compressed together."""

    table: str
    time: str
    chunk: timedelta
    segment: str | None = None  # a column; None: rows are told apart by their time alone


def make_hypertable_of(tx: Transaction, shape: HypertableShape, compress_after_days: int) -> None:
    """Turn an empty table into a hypertable; compress chunks after `compress_after_days` (0: never)."""
    # The extension may be in any schema, and the database's search_path may leave that out.
    tx.cursor.execute("select extnamespace::regnamespace::text from pg_extension where extname = 'timescaledb'")
    functions = sql.SQL(fetch_one(tx)[0])  # quoted already where need be
    tx.cursor.execute(
        sql.SQL(
            "select {}.create_hypertable(('public.' || quote_ident(%s))::regclass, %s, chunk_time_interval => %s)"
        ).format(functions),
        (shape.table, shape.time, shape.chunk),
    )
    if compress_after_days:
        segment = "" if shape.segment is None else f", timescaledb.compress_segmentby = '{shape.segment}'"
        tx.cursor.execute(
            sql.SQL(
                f"alter table public.{{}} set (timescaledb.compress, timescaledb.compress_orderby = '{shape.time}'"
                f"{segment})"
            ).format(sql.Identifier(shape.table))
        )
        tx.cursor.execute(
            sql.SQL("select {}.add_compression_policy(('public.' || quote_ident(%s))::regclass, %s)").format(functions),
            (shape.table, timedelta(days=compress_after_days)),
        )


def lock_chunks_once(tx: Transaction, table: str) -> None:
    """Let no parallel worker of this transaction lock the chunks of a hypertable too: the server has room for few."""
    if find_hypertables(tx, [table]):
        tx.cursor.execute("set local max_parallel_workers_per_gather = 0")


def find_dropped_before(tx: Transaction, tables: Sequence[str]) -> dict[str, int]:
    """Return by table before when (epoch ms) candles are dropped by somebody's retention policy; most have none."""
    tx.cursor.execute("select to_regclass('timescaledb_information.jobs') is not null")
    if not fetch_one(tx)[0]:
        return {}
    tx.cursor.execute(
        """
        select hypertable_name, max(now() - (config ->> 'drop_after')::interval) from timescaledb_information.jobs
        where proc_name = 'policy_retention' and scheduled and hypertable_schema = 'public'
          and hypertable_name = any(%s::name[]) and config ? 'drop_after'
        group by hypertable_name
        """,
        ([*tables],),
    )
    return {name: from_datetime(horizon) for name, horizon in tx.cursor.fetchall()}


def lift_decompression_limit(tx: Transaction) -> None:
    """Let this transaction change as many rows of compressed chunks as it has to; does nothing without TimescaleDB.

    TimescaleDB decompresses whole batches of rows to change one, and by default fails at 100,000 rows.
    """
    tx.cursor.execute(
        "select set_config(name, '0', true) from pg_settings"
        " where name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'"
    )
