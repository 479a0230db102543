"""Stores market data other than candles: trades, tickers, mark prices, funding rates."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg2.errors
from psycopg2 import sql

from core.id_sequence import Mark
from core.instrument import Instrument
from core.stream_kinds import StreamKind
from core.times import from_datetime
from db.connection import Transaction, fetch_one
from db.market_tables import ID_COLUMNS, TABLES, MarketTable


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """What became of records."""

    inserted: int = 0
    equal: int = 0  # there already, with the same values
    conflicts: int = 0  # there already, with other values, which stayed

    def __add__(self, other: StoredRecords) -> StoredRecords:
        return StoredRecords(self.inserted + other.inserted, self.equal + other.equal, self.conflicts + other.conflicts)


def sync_instruments(tx: Transaction, instruments: Iterable[Instrument]) -> dict[Instrument, int]:
    """Return the ids of instruments; those that are new are entered."""
    wanted = list(dict.fromkeys(instruments))
    markets, symbols = [one.market.value for one in wanted], [one.symbol for one in wanted]
    tx.cursor.execute(
        "insert into public.market_instruments (market, symbol) select * from unnest(%s::text[], %s::text[])"
        " on conflict (market, symbol) do nothing",
        (markets, symbols),
    )
    tx.cursor.execute(
        "select id, market, symbol from public.market_instruments"
        " where (market, symbol) in (select * from unnest(%s::text[], %s::text[]))",
        (markets, symbols),
    )
    found = {(market, symbol): number for number, market, symbol in tx.cursor.fetchall()}
    return {one: found[one.market.value, one.symbol] for one in wanted}


def store_records(tx: Transaction, kind: StreamKind, lines: Sequence[str]) -> StoredRecords:
    """Store the records of one kind, as lines of its table (db.market_tables).

    One that is stored already stays as it is, and is counted as equal or as a conflict. Where it came from is not
    compared. Raises what the driver raises.
    """
    if not lines:
        return StoredRecords()
    table, content = TABLES[kind], "".join(lines).encode()
    tx.cursor.execute("savepoint straight")
    try:
        _copy(tx, sql.Identifier("public", table.name), table, content)
    except psycopg2.errors.UniqueViolation:
        tx.cursor.execute("rollback to savepoint straight")
        return _store_staged(tx, table, content, len(lines))
    tx.cursor.execute("release savepoint straight")
    return StoredRecords(inserted=len(lines))


def _copy(tx: Transaction, target: sql.Composable, table: MarketTable, content: bytes) -> None:
    statement = sql.SQL("copy {} ({}) from stdin").format(target, _names(table.columns))
    tx.cursor.copy_expert(statement, io.BytesIO(content))


def _store_staged(tx: Transaction, table: MarketTable, content: bytes, rows: int) -> StoredRecords:
    """Store what is new, by way of a table of this session: COPY alone ends at the first record that is there."""
    target, stage = sql.Identifier("public", table.name), sql.Identifier(f"stage_{table.name}")
    tx.cursor.execute(
        sql.SQL("create temporary table if not exists {} (like {}) on commit delete rows").format(stage, target)
    )
    _copy(tx, sql.SQL("pg_temp.") + stage, table, content)
    columns = _names(table.columns)
    tx.cursor.execute(
        sql.SQL("insert into {} ({}) select {} from pg_temp.{} on conflict do nothing").format(
            target, columns, columns, stage
        )
    )
    inserted = tx.cursor.rowcount
    tx.cursor.execute(
        sql.SQL(
            "select count(*) from pg_temp.{} as given join {} as stored using ({}) where ({}) is distinct from ({})"
        ).format(stage, target, _names(table.key), _names(table.values, "given"), _names(table.values, "stored"))
    )
    conflicts = fetch_one(tx)[0]
    return StoredRecords(inserted, rows - inserted - conflicts, conflicts)


def newest_trades(tx: Transaction, kind: StreamKind, instrument_ids: Sequence[int]) -> dict[int, Mark]:
    """Return the newest stored trade of each instrument that has any."""
    column = sql.Identifier(ID_COLUMNS[kind])
    tx.cursor.execute(
        sql.SQL(
            "select instrument, newest.id, newest.time from unnest(%s::integer[]) as instrument, lateral ("
            "  select {} as id, time from {} where instrument_id = instrument order by time desc, {} desc limit 1"
            ") as newest"
        ).format(column, sql.Identifier("public", TABLES[kind].name), column),
        ([*instrument_ids],),
    )
    return {instrument: Mark(number, from_datetime(time)) for instrument, number, time in tx.cursor.fetchall()}


def newest_funding(tx: Transaction, instrument_id: int) -> int | None:
    """Return the time (epoch ms) of an instrument's newest stored funding, or None."""
    tx.cursor.execute(
        "select max(funding_time) from public.market_funding_rates where instrument_id = %s", (instrument_id,)
    )
    newest = fetch_one(tx)[0]
    return None if newest is None else from_datetime(newest)


def _names(columns: Iterable[str], of: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(of, name) if of is not None else sql.Identifier(name) for name in columns)
