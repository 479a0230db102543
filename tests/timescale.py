"""TimescaleDB for tests: TIMESCALE_TEST_URL names a server that has it and lets its user create databases.

TEST_TIMESCALE (tests/servers.py) is the other way: a server of its own that has it in every database.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from psycopg2.extensions import make_dsn
from servers import HAS_TIMESCALE

from db.connection import Transaction
from db.external_changes import watch_table

TIMESCALE_URL = "" if HAS_TIMESCALE else os.environ.get("TIMESCALE_TEST_URL", "")
needs_timescale = pytest.mark.skipif(
    not TIMESCALE_URL, reason="no TimescaleDB here: set TIMESCALE_TEST_URL to test that path"
)

of_plain_tables = pytest.mark.skipif(
    HAS_TIMESCALE, reason="TimescaleDB refuses what this test does by hand, or reads the table otherwise"
)

# For tests of a table's behaviour that has to be the same with and without TimescaleDB.
STORAGES = ["plain", pytest.param("compressed", marks=needs_timescale)]


@contextmanager
def timescale_database() -> Iterator[str]:
    """Where to connect to a new database on that server, which is dropped at the end."""
    name = f"ohlcv_test_{uuid.uuid4().hex[:12]}"
    _execute(f"create database {name}")
    try:
        yield make_dsn(TIMESCALE_URL, dbname=name)
    finally:
        _execute(f"drop database {name} with (force)")


def _execute(statement: str) -> None:
    connection = psycopg2.connect(TIMESCALE_URL)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def compress_table(tx: Transaction, table: str, watched: bool = True) -> None:
    """Turn a table with candles into a hypertable with chunks of two days, and compress all of them, where that can be.

    `watched`: external changes are noted there, as in tables of the present version.
    """
    tx.cursor.execute("create extension if not exists timescaledb")
    tx.cursor.execute("set local ohlcv.own_change = 'on'")  # the candles are moved, which is no external change
    tx.cursor.execute(
        "select create_hypertable(%s, 'time', chunk_time_interval => interval '2 days', migrate_data => true)", (table,)
    )
    if watched:
        watch_table(tx, table.removeprefix("public."))  # hypertables have no triggers that are handed the rows
    if can_compress(tx):
        tx.cursor.execute(f"alter table {table} set (timescaledb.compress, timescaledb.compress_orderby = 'time')")
    compress_chunks(tx, table)


def compress_chunks(tx: Transaction, table: str) -> None:
    """Compress all chunks of a hypertable, those too of which rows were changed since; not in the Apache edition."""
    if can_compress(tx):
        # Its policy's job may be compressing them just now.
        tx.cursor.execute("select remove_compression_policy(%s, if_exists => true)", (table,))
        tx.cursor.execute("select compress_chunk(chunk) from show_chunks(%s) as chunk", (table,))


def can_compress(tx: Transaction) -> bool:
    """Whether this is the community edition; the Apache edition has hypertables alone."""
    tx.cursor.execute("select current_setting('timescaledb.license', true) = 'timescale'")
    [(answer,)] = tx.cursor.fetchall()
    return bool(answer)
