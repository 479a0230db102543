from __future__ import annotations

from collections.abc import Sequence
from random import Random

import psycopg2
import pytest
from candles import batch_of
from servers import HAS_TIMESCALE
from timescale import of_plain_tables

from core.intervals import INTERVALS, Interval
from core.ranges import Span
from core.series import Series, make_series, parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from db.checks import (
    RowCounts,
    count_doubles,
    count_rows_in_each,
    count_rows_within,
    find_off_grid,
)
from db.connection import Database
from db.operations import insert_candles
from db.schema import create_table_if_not_exists, find_tables, has_key
from demo.generated_market import generate_series

BTC = parse_series("BTCUSDT")
TABLE = BTC.table_name
START_MS = parse_time("2024-02-20T10:11:12")
COLUMNS = "time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"


def series_of(interval: Interval) -> Series:
    return make_series("spot", "BTCUSDT", interval.code)


def grid(interval: Interval, slots: int) -> Span:
    """Return that many slots, from the first of the interval's grid after 2024-02-20."""
    first = interval.ceil(START_MS)
    return Span(first, interval.add(first, slots))


def store(database: Database, series: Series, times: Sequence[int]) -> None:
    """Store generated candles that open at `times` (any order)."""
    ordered = sorted(times)
    made = list(generate_series(BTC, Span(START_MS, START_MS + (len(ordered) + 1) * MS_PER_MINUTE), 1))
    rows = [[ms, *row[1:]] for ms, row in zip(ordered, made, strict=False)]
    assert len(rows) == len(ordered)
    with database.transaction("store") as tx:
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        if rows:
            insert_candles(tx, series.table_name, batch_of(rows))


def execute(database: Database, *statements: str) -> None:
    with database.transaction("execute") as tx:
        for statement in statements:
            tx.cursor.execute(statement)


def faults(database: Database) -> list[str]:
    with database.transaction("look") as tx:
        return [fault.text for fault in find_tables(tx, [TABLE])[TABLE].faults]


def keyed(database: Database) -> bool:
    with database.transaction("look") as tx:
        return has_key(tx, TABLE)


def names_told(fault: str) -> list[list[str]]:
    """Return the columns that a fault says there are and those that it says there should be."""
    told = fault.removeprefix("its columns are ").split("; they should be ")
    return [[column.split()[0] for column in side.split(", ")] for side in told]


@pytest.fixture
def table(database: Database) -> Database:
    """A database with one table of ten candles."""
    store(database, BTC, [START_MS // MS_PER_MINUTE * MS_PER_MINUTE + i * MS_PER_MINUTE for i in range(10)])
    return database


@pytest.mark.parametrize("interval", INTERVALS.values(), ids=str)
def test_rows_between_two_slots_are_told_from_those_on_the_grid(database: Database, interval: Interval) -> None:
    span, series = grid(interval, 14), series_of(interval)
    slots = [interval.add(span.start_ms, i) for i in range(14)]
    # A month's grid is off by a day, a second's by a millisecond; all others by both.
    shifts = [1] if interval.step_ms == 1000 else [1, MS_PER_DAY] if interval.step_ms is None else [1, 500]
    off_grid = [slots[4] + shifts[0], slots[9] + shifts[-1], slots[9] + 499]
    store(database, series, [*slots, *off_grid])
    with database.transaction("look") as tx:
        table = series.table_name
        assert count_rows_within(tx, table, interval, span) == RowCounts(17, 3, min(off_grid), max(off_grid))
        assert find_off_grid(tx, table, interval, span, 10) == sorted(off_grid)
        assert find_off_grid(tx, table, interval, span, 2) == sorted(off_grid)[:2]
        # Spans are half-open, rows outside are not looked at.
        inner = Span(slots[1], slots[4] + shifts[0])
        assert count_rows_within(tx, table, interval, inner) == RowCounts(4, 0)
        assert find_off_grid(tx, table, interval, inner, 10) == []
        one_more = Span(inner.start_ms, inner.end_ms + 1)
        assert count_rows_within(tx, table, interval, one_more) == RowCounts(5, 1, off_grid[0], off_grid[0])
        assert count_rows_in_each(tx, table, [inner, one_more, span]) == [4, 5, 17]
        before = Span(span.start_ms - 1000, span.start_ms)
        assert count_rows_within(tx, table, interval, before) == RowCounts(0, 0)


@pytest.mark.parametrize("interval", INTERVALS.values(), ids=str)
def test_the_database_and_the_program_have_the_same_grid(database: Database, interval: Interval) -> None:
    random, series = Random(interval.code), series_of(interval)
    whole = Span(parse_time("2017-08-17"), parse_time("2038-02-01"))
    anywhere = {random.randrange(whole.start_ms, whole.end_ms) for _ in range(60)}
    near = {interval.floor(ms) + random.choice([0, 0, 0, 1, -1, 3_600_000]) for ms in anywhere}
    times = sorted({ms for ms in anywhere | near if ms >= whole.start_ms})
    store(database, series, times)
    off_grid = [ms for ms in times if interval.floor(ms) != ms]
    with database.transaction("look") as tx:
        assert find_off_grid(tx, series.table_name, interval, whole, 1000) == off_grid
        counts = count_rows_within(tx, series.table_name, interval, whole)
    assert counts == RowCounts(len(times), len(off_grid), off_grid[0], off_grid[-1])


def test_a_row_off_by_less_than_a_millisecond_is_off_the_grid(table: Database) -> None:
    first = START_MS // MS_PER_MINUTE * MS_PER_MINUTE
    execute(table, f"update public.{TABLE} set time = time + interval '1 microsecond' where time = '2024-02-20 10:13Z'")
    with table.transaction("look") as tx:
        counts = count_rows_within(tx, TABLE, BTC.interval, Span(first, first + 10 * MS_PER_MINUTE))
    assert (counts.rows, counts.off_grid) == (10, 1)


def test_rows_are_counted_in_each_span_in_the_order_asked(table: Database) -> None:
    first = START_MS // MS_PER_MINUTE * MS_PER_MINUTE

    def span(start: int, end: int) -> Span:
        return Span(first + start * MS_PER_MINUTE, first + end * MS_PER_MINUTE)

    with table.transaction("look") as tx:
        asked = [span(5, 10), span(0, 2), span(0, 2), span(-5, 0), span(10, 20), span(-5, 20), span(1, 8)]
        assert count_rows_in_each(tx, TABLE, asked) == [5, 2, 2, 0, 0, 10, 7]
        assert count_rows_in_each(tx, TABLE, []) == []


def test_an_empty_table_counts_as_one(database: Database) -> None:
    store(database, BTC, [])
    with database.transaction("look") as tx:
        assert count_rows_within(tx, TABLE, BTC.interval, grid(BTC.interval, 5)) == RowCounts(0, 0)
        assert find_off_grid(tx, TABLE, BTC.interval, grid(BTC.interval, 5), 5) == []
        assert count_doubles(tx, TABLE) == 0


def test_doubles_are_the_rows_beyond_the_first_of_an_open_time(table: Database) -> None:
    with table.transaction("look") as tx:
        assert count_doubles(tx, TABLE) == 0
    execute(
        table,
        f"alter table public.{TABLE} drop constraint {TABLE}_pkey",
        f"insert into public.{TABLE} select * from public.{TABLE} where time < '2024-02-20 10:14Z'",
        f"insert into public.{TABLE} select distinct * from public.{TABLE} where time < '2024-02-20 10:12Z'",
        f"update public.{TABLE} set close = 1 where ctid = (select max(ctid) from public.{TABLE})",
    )
    with table.transaction("look") as tx:
        assert count_doubles(tx, TABLE) == 4


@pytest.mark.parametrize("text", ["BTCUSDT", "BTCUSDT/1M", "um:币安人生USDT/3d", "cm:BTCUSD_PERP/1w"])
def test_a_table_as_it_was_created_has_no_faults(database: Database, text: str) -> None:
    series = parse_series(text)
    with database.transaction("create") as tx:
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        assert find_tables(tx, [series.table_name])[series.table_name].faults == []
        assert has_key(tx, series.table_name)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (["rename column close to closing", "alter column closing drop not null"], COLUMNS.replace("close, ", "")),
        (["rename column trades to count", "alter column count set default 0"], COLUMNS.replace("trades, ", "")),
        (
            ["rename column open to x", "rename column close to open", "rename column x to close"],
            COLUMNS.replace("open, high, low, close", "close, high, low, open"),
        ),
        (["drop column quote_volume"], COLUMNS.replace("quote_volume, trades", "trades")),
        (["drop column open", "add column open numeric"], f"{COLUMNS.replace('open, ', '', 1)}, open"),
    ],
    ids=["renamed", "also renamed", "swapped", "missing", "moved"],
)
def test_other_columns_than_those_created_are_a_fault(table: Database, changes: list[str], found: str) -> None:
    execute(table, *(f"alter table public.{TABLE} {change}" for change in changes))
    (fault,) = faults(table)
    assert names_told(fault) == [found.split(", "), COLUMNS.split(", ")]


@pytest.mark.parametrize(
    "change",
    [
        "close type double precision",
        "close type text",
        "trades type bigint",
        "trades type numeric",
        "volume type real",
        "time type timestamp",
        "close type numeric(12, 2)",  # rounds what is stored from then on
        "time type timestamptz(0)",
    ],
)
def test_a_column_of_another_type_is_a_fault(table: Database, change: str) -> None:
    execute(table, f"alter table public.{TABLE} alter column {change}")
    (fault,) = faults(table)
    assert fault.startswith("its columns are")


def test_a_fault_of_type_names_the_type(table: Database) -> None:
    execute(table, f"alter table public.{TABLE} alter column close type double precision")
    (fault,) = faults(table)
    assert "double precision" in fault


NO_KEY = ["it has lost its primary key on time; verify --repair gives it back"]
DROP_KEY = f"alter table public.{TABLE} drop constraint {TABLE}_pkey"


def test_a_dropped_key_is_a_fault(table: Database) -> None:
    execute(table, DROP_KEY)
    assert faults(table) == NO_KEY
    assert not keyed(table)


@pytest.mark.parametrize(
    "other_key",
    [
        f"alter table public.{TABLE} add primary key (time, open)",
        f"alter table public.{TABLE} add primary key (open, time)",
        pytest.param(f"create unique index on public.{TABLE} (quote_volume)", marks=of_plain_tables),
        f"create unique index on public.{TABLE} (time) where time > '2024-02-20 10:15Z'",
        pytest.param(
            f"create unique index on public.{TABLE} (date_trunc('minute', time at time zone 'UTC'))",
            marks=of_plain_tables,
        ),
        f"create index on public.{TABLE} (time)",
    ],
    ids=["time first of two", "time second", "another column", "partial", "expression", "not unique"],
)
def test_a_key_that_does_not_keep_every_open_time_unique_is_none(table: Database, other_key: str) -> None:
    execute(table, DROP_KEY, other_key)
    assert faults(table) == NO_KEY
    assert not keyed(table)


@pytest.mark.parametrize(
    "other_key",
    [
        f"create unique index on public.{TABLE} (time)",
        f"create unique index on public.{TABLE} (time desc)",
        f"create unique index on public.{TABLE} (time) include (close)",
        f"alter table public.{TABLE} add constraint other_name primary key (time)",
        f"alter table public.{TABLE} add unique (time)",
    ],
    ids=["index", "descending", "covering", "other name", "constraint"],
)
def test_any_unique_index_on_the_open_time_alone_is_a_key(table: Database, other_key: str) -> None:
    execute(table, DROP_KEY, other_key)
    assert faults(table) == []
    assert keyed(table)


def test_further_indexes_beside_the_key_are_no_fault(table: Database) -> None:
    execute(
        table,
        f"create index on public.{TABLE} (close)",
        f"create unique index on public.{TABLE} (time, close)",
        f"create unique index on public.{TABLE} (time) where close > 0",
    )
    assert faults(table) == []


@of_plain_tables
def test_an_index_that_could_not_be_built_is_no_key(table: Database, database_url: str) -> None:
    execute(table, DROP_KEY, f"insert into public.{TABLE} select * from public.{TABLE} limit 1")
    hand = psycopg2.connect(database_url)
    hand.autocommit = True
    with hand.cursor() as cursor, pytest.raises(psycopg2.errors.UniqueViolation):
        cursor.execute(f"create unique index concurrently on public.{TABLE} (time)")
    hand.close()
    assert not keyed(table)
    assert faults(table) == NO_KEY


def test_all_faults_are_told_together(table: Database) -> None:
    execute(table, f"alter table public.{TABLE} rename column time to moment")
    columns, to_fill, key = faults(table)
    assert columns.startswith("its columns are open numeric, high numeric,")
    assert to_fill.startswith("column moment has to be filled")
    assert [key] == NO_KEY


FURTHER = {
    "null": "remark text",
    "with a default": "remark text not null default 'mine'",
    "generated": "range numeric generated always as (high - low) stored",
    "identity": "number bigint generated always as identity",
}


@pytest.mark.parametrize(
    "column",
    [pytest.param(one, id=name, marks=of_plain_tables if name == "identity" else ()) for name, one in FURTHER.items()],
)
def test_a_further_column_that_fills_itself_is_no_fault(table: Database, column: str) -> None:
    execute(table, f"alter table public.{TABLE} add column {column}")
    assert faults(table) == []


def test_a_further_column_that_has_to_be_filled_is_a_fault_that_says_what_to_do(table: Database) -> None:
    execute(
        table,
        f"alter table public.{TABLE} add column remark text not null default ''",
        f"alter table public.{TABLE} alter column remark drop default",
    )
    why = "column remark has to be filled, and no candle has it; drop its NOT NULL or give a default"
    assert faults(table) == [why]
