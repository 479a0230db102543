"""Makes hypertables of the tables of market data where TimescaleDB is used and they are still empty."""

from __future__ import annotations

import logging

from psycopg2 import sql

from db.connection import Database, fetch_one
from db.locks import lock_schema
from db.market_tables import TABLES
from db.timescale import HypertableShape, find_hypertables, make_hypertable_of

_log = logging.getLogger(__name__)

_SHAPES = tuple(
    HypertableShape(table.name, table.time, table.chunk, "instrument_id") for table in dict.fromkeys(TABLES.values())
)


def make_market_hypertables(database: Database, compress_after_days: int) -> None:
    """Make those tables hypertables that are empty and are none; a table that has rows stays plain.

    The database has TimescaleDB. Raises DatabaseUnavailable.
    """
    with database.transaction("make hypertables of market data") as tx:
        lock_schema(tx)
        made = find_hypertables(tx, [shape.table for shape in _SHAPES])
        for shape in _SHAPES:
            if shape.table in made:
                continue
            tx.cursor.execute(sql.SQL("select exists (select from public.{})").format(sql.Identifier(shape.table)))
            if fetch_one(tx)[0]:
                _log.info("public.%s has rows and stays a plain table", shape.table)
                continue
            make_hypertable_of(tx, shape, compress_after_days)
