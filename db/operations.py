"""Saves and reads candles: bulk COPY into a staging table, existing rows skipped, all counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
from psycopg2 import sql
from psycopg2.errors import UniqueViolation

from core.candles import CandleBatch
from core.columns import TABLE_COLUMNS, VALUE_COLUMNS, VALUE_NAMES
from core.errors import SeriesError
from core.fetched import FetchedSpan, SpanRecord
from core.intervals import Interval
from core.ranges import Span
from core.times import from_datetime, to_datetime
from db.binary_copy import CopyRows, encode_candles
from db.commit import CommitContext
from db.connection import Transaction, fetch_one
from db.ledger import add_entry, hash_stored
from db.timescale import find_hypertables

_CONFLICTS_SHOWN = 20
_COPY_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Conflict:
    """A stored candle that differs from the fetched one. The stored one stays."""

    time_ms: int
    stored: tuple[object, ...]  # in the order of core.columns.VALUE_NAMES
    given: tuple[object, ...]

    def __str__(self) -> str:
        differing = [
            f"{name} stored {stored} given {given}"
            for name, stored, given in zip(VALUE_NAMES, self.stored, self.given, strict=True)
            if stored != given
        ]
        return f"{to_datetime(self.time_ms).isoformat()}: {', '.join(differing)}"


@dataclass(frozen=True, slots=True)
class SaveResult:
    """How many of the given rows were inserted, stored already and equal, or stored already with other values."""

    inserted: int = 0
    equal: int = 0
    conflicts: int = 0
    shown_conflicts: tuple[Conflict, ...] = field(default=())

    def __add__(self, other: SaveResult) -> SaveResult:
        return SaveResult(
            self.inserted + other.inserted,
            self.equal + other.equal,
            self.conflicts + other.conflicts,
            (self.shown_conflicts + other.shown_conflicts)[:_CONFLICTS_SHOWN],
        )


@dataclass(frozen=True, slots=True)
class PreparedSpan:
    """A fetched span, hashed and encoded, so that the database does not have to wait for that."""

    record: SpanRecord
    candles: CopyRows

    @classmethod
    def of(cls, fetched: FetchedSpan) -> PreparedSpan:
        """Hash and encode the candles of `fetched`."""
        return cls(SpanRecord.of(fetched), encode_candles(fetched.batch))


def save_ohlcv(tx: Transaction, commit: CommitContext, spans: Sequence[PreparedSpan]) -> SaveResult:
    """Store the candles of `spans` and their ledger rows in the caller's transaction.

    Rows that are stored already stay as they are. Raises SeriesError, which rolls the transaction
    back, when the table does not hold every given row afterwards.
    """
    total = SaveResult()
    for prepared in spans:
        result = _insert_rows(tx, commit.table, prepared.candles, prepared.record)
        add_entry(tx, commit, prepared.record, is_stored=not result.conflicts)
        total += result
    return total


def insert_candles(tx: Transaction, table: str, batch: CandleBatch) -> SaveResult:
    """Store candles without a ledger row. Rows that are stored already stay as they are; raises like `save_ohlcv`."""
    return _insert_rows(tx, table, encode_candles(batch))


def _insert_rows(tx: Transaction, table: str, given: CopyRows, record: SpanRecord | None = None) -> SaveResult:
    if given.rows == 0:
        return SaveResult()
    # With these bounds TimescaleDB skips all other chunks.
    bounds = {"low": to_datetime(given.first_ms), "high": to_datetime(given.last_ms)}
    if _copy_into_empty(tx, table, given, bounds):
        return SaveResult(inserted=given.rows)
    # When a span is fetched again, usually all rows are stored and equal: the hash shows that faster than comparing.
    if record is not None and hash_stored(tx, table, record.span) == (record.rows, record.content_hash):
        return SaveResult(equal=given.rows)
    _stage(tx, given)
    held, conflicts = _compare_stage(tx, table, bounds)
    inserted = 0
    if held < given.rows:
        inserted = _insert_from_stage(tx, table, bounds)
        held, conflicts = _compare_stage(tx, table, bounds)
    if held != given.rows:
        raise _not_all_held(table, held, given.rows)
    shown = _load_conflicts(tx, table, bounds) if conflicts else ()
    return SaveResult(inserted, held - inserted - conflicts, conflicts, shown)


def _not_all_held(table: str, held: int, given: int) -> SeriesError:
    return SeriesError(
        f"table public.{table} holds {held} of the {given} candles just given; nothing of this chunk "
        "was committed. Check its primary key on time, its triggers and rules, and the TimescaleDB release"
    )


def _copy_into_empty(tx: Transaction, table: str, given: CopyRows, bounds: dict[str, datetime]) -> bool:
    """Copy the rows directly into the table when it has none between the bounds; return whether that was done."""
    target = sql.Identifier(table)
    held = sql.SQL("from public.{} where time between %(low)s and %(high)s").format(target)
    # Two statements in one round trip: these decide how long a run of many small series takes.
    tx.cursor.execute(sql.SQL("savepoint ohlcv_copy; select exists (select {})").format(held), bounds)
    if fetch_one(tx)[0]:
        return False
    try:
        _copy(tx, sql.SQL("public.{}").format(target), given)
    except UniqueViolation:  # another session has just inserted one of them
        tx.cursor.execute("rollback to savepoint ohlcv_copy; release savepoint ohlcv_copy")
        return False
    tx.cursor.execute(sql.SQL("release savepoint ohlcv_copy; select count(*) {}").format(held), bounds)
    if (held_now := fetch_one(tx)[0]) != given.rows:
        raise _not_all_held(table, held_now, given.rows)
    return True


def stage_candles(tx: Transaction, batch: CandleBatch) -> None:
    """Copy `batch` into the staging table `pg_temp.ohlcv_stage`, which is emptied when the transaction ends."""
    _stage(tx, encode_candles(batch))


def _stage(tx: Transaction, given: CopyRows) -> None:
    values = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(one.sql_name), sql.SQL(one.kind.sql_type)) for one in VALUE_COLUMNS
    )
    tx.cursor.execute(
        sql.SQL(
            "create temporary table if not exists ohlcv_stage (time timestamptz not null, {}) on commit delete rows"
        ).format(values)
    )
    tx.cursor.execute("truncate pg_temp.ohlcv_stage")
    _copy(tx, sql.SQL("pg_temp.ohlcv_stage"), given)


def _copy(tx: Transaction, target: sql.Composable, given: CopyRows) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, TABLE_COLUMNS))
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(target, names)
    tx.cursor.copy_expert(statement, pa.BufferReader(given.stream), size=_COPY_BLOCK_BYTES)


def _insert_from_stage(tx: Transaction, table: str, bounds: dict[str, datetime]) -> int:
    """Insert the staged rows that the table lacks and return how many they were."""
    names = sql.SQL(", ").join(map(sql.Identifier, TABLE_COLUMNS))
    # The anti-join skips existing rows in a third of the time that ON CONFLICT needs, in compressed
    # chunks in a thousandth. ON CONFLICT is for rows that another session inserts meanwhile.
    tx.cursor.execute(
        sql.SQL(
            """
            insert into public.{table} ({names})
            select {names} from pg_temp.ohlcv_stage as given
            where not exists (select from public.{table} as stored
                              where stored.time = given.time and stored.time between %(low)s and %(high)s)
            on conflict (time) do nothing
            """
        ).format(table=sql.Identifier(table), names=names),
        bounds,
    )
    return int(tx.cursor.rowcount)


_STORED_VALUES = sql.SQL(", ").join(sql.SQL("stored.{}").format(sql.Identifier(name)) for name in VALUE_NAMES)
_GIVEN_VALUES = sql.SQL(", ").join(sql.SQL("given.{}").format(sql.Identifier(name)) for name in VALUE_NAMES)


def _compare_stage(tx: Transaction, table: str, bounds: dict[str, datetime]) -> tuple[int, int]:
    """Return how many of the staged rows are in the table, and how many of these have other values there."""
    tx.cursor.execute(
        sql.SQL(
            """
            select count(*), count(*) filter (where ({stored}) is distinct from ({given}))
            from pg_temp.ohlcv_stage as given
            join public.{table} as stored on stored.time = given.time and stored.time between %(low)s and %(high)s
            """
        ).format(table=sql.Identifier(table), stored=_STORED_VALUES, given=_GIVEN_VALUES),
        bounds,
    )
    held, conflicts = fetch_one(tx)
    return int(held), int(conflicts)


def _load_conflicts(tx: Transaction, table: str, bounds: dict[str, datetime]) -> tuple[Conflict, ...]:
    tx.cursor.execute(
        sql.SQL(
            """
            select stored.time, {stored}, {given} from pg_temp.ohlcv_stage as given
            join public.{table} as stored on stored.time = given.time and stored.time between %(low)s and %(high)s
            where ({stored}) is distinct from ({given}) order by stored.time limit {shown}
            """
        ).format(
            table=sql.Identifier(table),
            stored=_STORED_VALUES,
            given=_GIVEN_VALUES,
            shown=sql.Literal(_CONFLICTS_SHOWN),
        ),
        bounds,
    )
    width = len(VALUE_NAMES)
    return tuple(Conflict(from_datetime(row[0]), row[1 : 1 + width], row[1 + width :]) for row in tx.cursor.fetchall())


def get_last_timestamp(tx: Transaction, tables: Sequence[str]) -> dict[str, int | None]:
    """Return the open time (epoch ms) of the newest candle by table; None for an empty one. All tables must exist.

    For few tables: all are locked until the transaction ends (db/many_tables.py).
    """
    return _edges(tx, tables, "max")


def get_first_timestamp(tx: Transaction, tables: Sequence[str]) -> dict[str, int | None]:
    """Return the open time (epoch ms) of the oldest candle by table; None for an empty one. All tables must exist."""
    return _edges(tx, tables, "min")


def _edges(tx: Transaction, tables: Sequence[str], which: str) -> dict[str, int | None]:
    """Return the newest (`max`) or oldest (`min`) open time by table.

    Of a hypertable only the chunks where the ledger has its newest or oldest candles are locked, if there are some.
    """
    bounds = _ledger_bounds(tx, sorted(find_hypertables(tx, tables)), which)
    found = _edges_within(tx, {table: bounds.get(table) for table in tables}, which)
    lacking = [table for table in bounds if found[table] is None]
    return found | _edges_within(tx, dict.fromkeys(lacking), which)


def _ledger_bounds(tx: Transaction, tables: Sequence[str], which: str) -> dict[str, datetime]:
    """Return by table where the ledger's newest span with candles begins, or where its oldest one ends."""
    if not tables:
        return {}
    column, order = ("span_start", "desc") if which == "max" else ("span_end", "asc")
    tx.cursor.execute(
        f"""
        select table_name, {column} from public.ohlcv_series as series cross join lateral (
            select {column} from public.ohlcv_ledger where series_id = series.id and rows > 0
            order by span_start {order} limit 1) as ledger
        where table_name = any(%s)
        """,
        ([*tables],),
    )
    return dict(tx.cursor.fetchall())


def _edges_within(tx: Transaction, bounds: Mapping[str, datetime | None], which: str) -> dict[str, int | None]:
    """Return the edges by table: of its rows from the bound on (`max`), or before it (`min`); without one of all."""
    if not bounds:
        return {}
    one = sql.SQL("select {name}, (select {which}(time) from public.{table} where {within})")
    compared = sql.SQL("time >= {}" if which == "max" else "time < {}")
    legs = [
        one.format(
            name=sql.Literal(table),
            which=sql.SQL(which),
            table=sql.Identifier(table),
            within=sql.SQL("true") if bound is None else compared.format(sql.Literal(bound)),
        )
        for table, bound in bounds.items()
    ]
    tx.cursor.execute(sql.SQL(" union all ").join(legs))
    return {table: None if moment is None else from_datetime(moment) for table, moment in tx.cursor.fetchall()}


def count_rows(tx: Transaction, table: str) -> int:
    """Return the exact number of stored candles."""
    tx.cursor.execute(sql.SQL("select count(*) from public.{}").format(sql.Identifier(table)))
    return int(fetch_one(tx)[0])


def sum_traded(tx: Transaction, table: str, span: Span) -> tuple[Decimal, int]:
    """Return the summed volume and number of trades of the candles stored in `span`."""
    tx.cursor.execute(
        sql.SQL(
            "select coalesce(sum(volume), 0), coalesce(sum(trades), 0) from public.{} where time >= %s and time < %s"
        ).format(sql.Identifier(table)),
        (to_datetime(span.start_ms), to_datetime(span.end_ms)),
    )
    volume, trades = fetch_one(tx)
    return volume, int(trades)


def load_newest(tx: Transaction, table: str, count: int) -> tuple[list[str], list[list[str]]]:
    """Return the column names and the newest `count` candles as text, newest first."""
    names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in TABLE_COLUMNS)
    tx.cursor.execute(
        sql.SQL("select {} from public.{} as candles order by candles.time desc limit %s").format(
            names, sql.Identifier(table)
        ),
        (count,),
    )
    return list(TABLE_COLUMNS), [list(row) for row in tx.cursor.fetchall()]


def get_existing_timestamps(tx: Transaction, table: str, span: Span) -> list[int]:
    """Return the open times (epoch ms) stored in `span`, ascending. They are all held in memory: for short spans."""
    tx.cursor.execute(
        sql.SQL("select time from public.{} where time >= %s and time < %s order by time").format(
            sql.Identifier(table)
        ),
        (to_datetime(span.start_ms), to_datetime(span.end_ms)),
    )
    return [from_datetime(time) for (time,) in tx.cursor.fetchall()]


def find_holes(tx: Transaction, table: str, interval: Interval, span: Span) -> list[Span]:
    """Return the holes between stored candles in `span`, ascending, computed in the database.

    A hole is from the end of one candle to the open time of the next. Next to candles that are off the grid its
    bounds are off the grid too.
    """
    step = "interval '1 month'" if interval.step_ms is None else f"interval '{interval.step_ms} milliseconds'"
    tx.cursor.execute(
        sql.SQL(
            """
            select previous + {step}, time
            from (select time, lag(time, 1, %(start)s - {step}) over (order by time) as previous
                  from (select time from public.{table} where time >= %(start)s and time < %(end)s
                        union all select %(end)s) as stored) as pairs
            where time > previous + {step}
            order by time
            """
        ).format(table=sql.Identifier(table), step=sql.SQL(step)),
        {"start": to_datetime(span.start_ms), "end": to_datetime(span.end_ms)},
    )
    return [Span(from_datetime(start), from_datetime(end)) for start, end in tx.cursor.fetchall()]
