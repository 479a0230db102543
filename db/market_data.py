"""Stores market data other than candles: trades, tickers, mark prices, funding rates."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg2.errors
import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg2 import sql

from core.id_sequence import IdGap, Mark
from core.instrument import Instrument
from core.ranges import Span
from core.stream_kinds import StreamKind
from core.times import from_datetime, to_datetime
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


def store_archived_trades(tx: Transaction, instrument_id: int, trades: pa.Table, source: str) -> StoredRecords:
    """Store aggregate trades (core.trade_batch) as `store_records` does."""
    rows = trades.num_rows
    given = {
        "instrument_id": pa.repeat(pa.scalar(instrument_id, pa.int32()), rows),
        "time": trades["time"].cast(pa.timestamp("ms", "UTC")),
        **{name: trades[name] for name in trades.column_names if name != "time"},
        "source": pa.repeat(pa.scalar(source, pa.string()), rows),
    }
    content = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    pa_csv.write_csv(pa.table({name: given[name] for name in TABLES[StreamKind.AGG_TRADE].columns}), content, options)
    return _store(tx, TABLES[StreamKind.AGG_TRADE], _Lines(content.getvalue().to_pybytes(), rows, "csv"))


@dataclass(frozen=True, slots=True)
class _Lines:
    content: bytes
    rows: int
    format: str  # of COPY


def store_records(tx: Transaction, kind: StreamKind, lines: Sequence[str]) -> StoredRecords:
    """Store the records of one kind, as lines of its table (db.market_tables).

    One that is stored already stays as it is, and is counted as equal or as a conflict. Where it came from is not
    compared. Raises what the driver raises.
    """
    return _store(tx, TABLES[kind], _Lines("".join(lines).encode(), len(lines), "text"))


def _store(tx: Transaction, table: MarketTable, lines: _Lines) -> StoredRecords:
    if not lines.rows:
        return StoredRecords()
    tx.cursor.execute("savepoint straight")
    try:
        _copy(tx, sql.Identifier("public", table.name), table, lines)
    except psycopg2.errors.UniqueViolation:
        tx.cursor.execute("rollback to savepoint straight")
        return _store_staged(tx, table, lines)
    tx.cursor.execute("release savepoint straight")
    return StoredRecords(inserted=lines.rows)


def _copy(tx: Transaction, target: sql.Composable, table: MarketTable, lines: _Lines) -> None:
    statement = sql.SQL("copy {} ({}) from stdin (format {})").format(
        target, _names(table.columns), sql.SQL(lines.format)
    )
    tx.cursor.copy_expert(statement, io.BytesIO(lines.content))


def _store_staged(tx: Transaction, table: MarketTable, lines: _Lines) -> StoredRecords:
    """Store what is new, by way of a table of this session: COPY alone ends at the first record that is there."""
    target, stage = sql.Identifier("public", table.name), sql.Identifier(f"stage_{table.name}")
    tx.cursor.execute(
        sql.SQL("create temporary table if not exists {} (like {}) on commit delete rows").format(stage, target)
    )
    _copy(tx, sql.SQL("pg_temp.") + stage, table, lines)
    columns = _names(table.columns)
    tx.cursor.execute(
        sql.SQL("insert into {} ({}) select {} from pg_temp.{} on conflict do nothing").format(
            target, columns, columns, stage
        )
    )
    inserted = tx.cursor.rowcount
    compared = [name for name in table.values if name not in table.may_lack]
    tx.cursor.execute(
        sql.SQL(
            "select count(*) from pg_temp.{} as given join {} as stored using ({}) where ({}) is distinct from ({})"
        ).format(stage, target, _names(table.key), _names(compared, "given"), _names(compared, "stored"))
    )
    conflicts = fetch_one(tx)[0]
    return StoredRecords(inserted, lines.rows - inserted - conflicts, conflicts)


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


@dataclass(frozen=True, slots=True)
class StoredTrades:
    """The aggregate trades that are stored of a span of time, and their neighbours before and behind it."""

    rows: int
    first: Mark | None
    last: Mark | None
    before: Mark | None
    behind: Mark | None

    @property
    def is_whole(self) -> bool:
        """Whether no trade of the span can be missing: ids run without a hole into it, through it and out of it."""
        if self.before is None or self.behind is None:
            return False
        if self.first is None or self.last is None:
            return self.behind.id == self.before.id + 1
        return (
            self.rows == self.last.id - self.first.id + 1
            and self.first.id == self.before.id + 1
            and self.behind.id == self.last.id + 1
        )


def stored_trades(tx: Transaction, instrument_id: int, span: Span) -> StoredTrades:
    """Return what is stored of an instrument's aggregate trades in `span`."""
    start, end = to_datetime(span.start_ms), to_datetime(span.end_ms)
    of = "from public.market_agg_trades where instrument_id = %s and"
    tx.cursor.execute(f"select count(*) {of} time >= %s and time < %s", (instrument_id, start, end))
    rows = fetch_one(tx)[0]

    def edge(where: str, bounds: tuple[object, ...], order: str) -> Mark | None:
        tx.cursor.execute(
            f"select agg_id, time {of} {where} order by time {order}, agg_id {order} limit 1", (instrument_id, *bounds)
        )
        found = tx.cursor.fetchone()
        return None if found is None else Mark(found[0], from_datetime(found[1]))

    inside = "time >= %s and time < %s"
    return StoredTrades(
        rows,
        edge(inside, (start, end), "asc"),
        edge(inside, (start, end), "desc"),
        edge("time < %s", (start,), "desc"),
        edge("time >= %s", (end,), "asc"),
    )


def holes_between(tx: Transaction, instrument_id: int, span: Span) -> list[IdGap]:
    """Return the jumps in the ids of the aggregate trades that are stored in `span`."""
    tx.cursor.execute(
        """
        select id + 1, next_id - 1, time, next_time from (
            select agg_id as id, time, lead(agg_id) over ids as next_id, lead(time) over ids as next_time
            from public.market_agg_trades where instrument_id = %s and time >= %s and time < %s
            window ids as (order by agg_id)) as trades
        where next_id > id + 1 order by id
        """,
        (instrument_id, to_datetime(span.start_ms), to_datetime(span.end_ms)),
    )
    return [
        IdGap(first, last, from_datetime(start), from_datetime(end)) for first, last, start, end in tx.cursor.fetchall()
    ]


def newest_funding(tx: Transaction, instrument_id: int) -> int | None:
    """Return the time (epoch ms) of an instrument's newest stored funding, or None."""
    tx.cursor.execute(
        "select max(funding_time) from public.market_funding_rates where instrument_id = %s", (instrument_id,)
    )
    newest = fetch_one(tx)[0]
    return None if newest is None else from_datetime(newest)


def _names(columns: Iterable[str], of: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(of, name) if of is not None else sql.Identifier(name) for name in columns)
