"""What reading candles costs in a table that grows: the plans of a reader's queries, of the program's own, of the view.

    python benchmarks/reading.py [--years 5] [--plans]

Fills a year of generated 1m candles of four series, explains the queries, adds the other years to the first series and
explains them again: a day, a month and the latest candle, from the series' own table and through the view
`public.ohlcv`, and what the program asks of a candle table in its runs. Ends with an error and the plan when one of
them reads a candle table from end to end or the other series' tables, or when what a day or the latest candle touches
grows with the table. Then it gives the view a leg more for each of 300 small tables and takes the time to plan.
Prints a JSON line per query (rows, milliseconds, buffers, kinds of nodes), with --plans the whole plans after them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from common import own_folder, own_server, psql

# isort: split
# The import above lets those below be found.
import psycopg2
from candles import generated_batch
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_DAY, add_months, parse_time, to_datetime
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import sync_symbols
from db.checks import count_rows_within, find_row_edges
from db.commit import CommitContext
from db.connection import Database, Transaction
from db.embedded import EmbeddedServer
from db.ledger import hash_stored
from db.migrate import migrate
from db.operations import (
    PreparedSpan,
    find_holes,
    get_existing_timestamps,
    get_first_timestamp,
    get_last_timestamp,
    load_newest,
    save_ohlcv,
)
from db.schema import create_table_if_not_exists

BTC, *OTHERS = SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT", "um:BTCUSDT", "cm:BTCUSD_PERP")]
START_MS = parse_time("2020-01-01")
LEGS = (10, 100, 300)
ROUNDS = 15
# A day's candles need not begin on a page of their own, and an index of more rows may be a level deeper.
FEW_PAGES = 4
NO_CANDLE_TABLES = {"ohlcv_stage", "ohlcv_ledger", "ohlcv_gaps", "ohlcv_corrections", "ohlcv_external_changes"}
VIEW_FILTER = "market = 'spot' and symbol = 'BTCUSDT' and \"interval\" = '1m'"


@dataclass(frozen=True, slots=True)
class Explained:
    """A query and what EXPLAIN (ANALYZE, BUFFERS) says of it."""

    statement: str
    document: dict[str, Any]

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes of the plan, the outermost first."""

        def below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
            yield node
            for child in node.get("Plans", ()):
                yield from below(child)

        return list(below(self.document["Plan"]))

    @property
    def buffers(self) -> int:
        """Pages touched while it ran, wherever they came from; those of planning are not in it."""
        top = self.document["Plan"]
        return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

    @property
    def candle_tables(self) -> set[str]:
        """The candle tables in the plan."""
        names = {node.get("Relation Name", "") for node in self.nodes()}
        return {name for name in names if name.startswith("ohlcv_")} - NO_CANDLE_TABLES

    @property
    def read_whole(self) -> set[str]:
        """The candle tables that are read from end to end."""
        scanned = {node.get("Relation Name", "") for node in self.nodes() if "Seq Scan" in node["Node Type"]}
        return scanned & self.candle_tables

    def show(self, **more: object) -> None:
        """Print it as a line."""
        show(
            **more,
            rows=int(self.document["Plan"]["Actual Rows"]),
            ms=round(self.document["Execution Time"], 3),
            planning_ms=round(self.document["Planning Time"], 3),
            buffers=self.buffers,
            nodes=list(dict.fromkeys(node["Node Type"] for node in self.nodes())),
        )

    def __str__(self) -> str:
        return f"{' '.join(self.statement.split())}\n{json.dumps(without_zeros(self.document), indent=1)}"


def without_zeros(document: Any) -> Any:
    """Return a plan without the counters that stayed at nought, which are most of its lines."""
    if isinstance(document, dict):
        return {name: without_zeros(value) for name, value in document.items() if value}
    return [without_zeros(one) for one in document] if isinstance(document, list) else document


class ExplainingCursor(Cursor):
    """A cursor that explains each query, in the state in which it finds the tables, before it runs it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.explained: list[Explained] = []

    def execute(self, query: Any, vars: Any = None) -> None:
        """Run a statement, a query explained first; also one that follows another command in the same text."""
        statement = self.mogrify(query, vars).decode()
        last = statement.rpartition("; ")[2]
        if last.lstrip().lower().startswith("select"):
            self.explained.append(explain(self, last))
        super().execute(statement)


def explain(cursor: Cursor, statement: str) -> Explained:
    """Run a query and return its plan with what it cost."""
    explaining = f"explain (analyze, buffers, format json) {statement}"
    Cursor.execute(cursor, explaining)  # not the method that explains what it runs
    (documents,) = cursor.fetchone() or ([],)
    return Explained(statement, documents[0])


def show(**line: object) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)  # noqa: T201


def connect(server: EmbeddedServer) -> Connection:
    """Connect as a reader does, with the driver alone."""
    keywords: dict[str, Any] = dict(server.keywords())
    return psycopg2.connect(**keywords)


@contextmanager
def explaining(server: EmbeddedServer) -> Iterator[ExplainingCursor]:
    """Give a cursor that explains; what it does is undone."""
    with closing(connect(server)) as connection:
        with connection.cursor(cursor_factory=ExplainingCursor) as cursor:
            Cursor.execute(cursor, "set timezone = 'UTC'")  # as in the program's sessions
            yield cursor
        connection.rollback()


def fill(database: Database, series: Series, series_id: int, months: Sequence[int]) -> None:
    """Commit generated candles, a month at a time."""
    commit = CommitContext(series_id, series.table_name, "benchmark", START_MS)
    for number in months:
        month = Span(add_months(START_MS, number), add_months(START_MS, number + 1))
        prepared = PreparedSpan.of(FetchedSpan(month, generated_batch(series, month, number), Source.ARCHIVE_MONTHLY))
        with database.transaction("fill") as tx:
            save_ohlcv(tx, commit, [prepared])


def readers_queries(end_ms: int) -> dict[str, str]:
    """Return what a reader asks for, of the table and of the view, when the candles end at `end_ms`."""

    def within(start_ms: int) -> str:
        return f"time >= '{to_datetime(start_ms)}' and time < '{to_datetime(end_ms)}'"

    spans = {"a day": within(end_ms - MS_PER_DAY), "a month": within(add_months(end_ms, -1))}
    queries = {}
    for source, filters in ((BTC.table_name, []), ("ohlcv", [VIEW_FILTER])):
        where = f"where {filters[0]}" if filters else ""
        for name, bounds in spans.items():
            queries[f"{name} of {source}"] = (
                f"select * from public.{source} where {' and '.join([*filters, bounds])} order by time"
            )
        queries[f"the latest of {source}"] = f"select * from public.{source} {where} order by time desc limit 1"
    return queries


def programs_queries(tx: Transaction, series_id: int, end_ms: int) -> dict[str, Callable[[], object]]:
    """Return what the program asks of a candle table, by the names of its functions."""
    table, interval = BTC.table_name, BTC.interval
    day = Span(end_ms - MS_PER_DAY, end_ms)
    next_day = Span(end_ms, end_ms + MS_PER_DAY)
    prepared = PreparedSpan.of(FetchedSpan(next_day, generated_batch(BTC, next_day), Source.REST))

    commit = CommitContext(series_id, table, "benchmark", START_MS)

    def save() -> None:
        save_ohlcv(tx, commit, [prepared])

    return {
        "get_first_timestamp": lambda: get_first_timestamp(tx, [table]),
        "get_last_timestamp": lambda: get_last_timestamp(tx, [table]),
        "load_newest": lambda: load_newest(tx, table, 5),
        "get_existing_timestamps of a day": lambda: get_existing_timestamps(tx, table, day),
        "find_holes of a day": lambda: find_holes(tx, table, interval, day),
        "count_rows_within a day": lambda: count_rows_within(tx, table, interval, day),
        "find_row_edges of a day": lambda: find_row_edges(tx, table, day),
        "hash_stored of a day": lambda: hash_stored(tx, table, day),
        "save_ohlcv of a new day": save,
        "save_ohlcv of the same day again": save,
    }


def explain_all(server: EmbeddedServer, series_id: int, end_ms: int) -> dict[str, Explained]:
    """Explain every query on the candle tables as they are now."""
    plans = {}
    with explaining(server) as cursor:
        for name, statement in readers_queries(end_ms).items():
            explain(cursor, statement)  # a first run brings the pages in
            plans[name] = explain(cursor, statement)
        for name, ask in programs_queries(Transaction(cursor), series_id, end_ms).items():
            cursor.explained.clear()
            ask()
            # Those on the ledger alone, and on the catalog, are of no size here.
            of_candles = [one for one in cursor.explained if BTC.table_name in one.candle_tables]
            for number, one in enumerate(of_candles, start=1):
                plans[f"{name}, query {number} of {len(of_candles)}" if len(of_candles) > 1 else name] = one
    return plans


def judge(name: str, before: Explained, after: Explained) -> None:
    """Raise SystemExit when a query reads more than it should, or more the longer the table is."""
    if after.candle_tables != {BTC.table_name}:
        raise SystemExit(f"{name} reads {after.candle_tables}:\n{after}")
    if after.read_whole:
        raise SystemExit(f"{name} reads a candle table from end to end:\n{after}")
    if "month" not in name and after.buffers > before.buffers + FEW_PAGES:
        raise SystemExit(f"{name} touches {after.buffers} pages, and {before.buffers} in the short table:\n{after}")


def add_legs(database: Database, count: int) -> None:
    """Add small tables until the view has `count` legs."""
    more = [parse_series(f"LEG{number}USDT") for number in range(count - len(SERIES))]
    with database.transaction("add legs") as tx:
        sync_symbols(tx, [WantedSeries(series) for series in (*SERIES, *more)], replaces_catalog=True)
        for series in more:
            if create_table_if_not_exists(tx, series, timescale=False, compress_after_days=0):
                few = "insert into public.{} select * from public.{} order by time limit 1440"
                tx.cursor.execute(sql.SQL(few).format(*map(sql.Identifier, (series.table_name, BTC.table_name))))
        refresh_all_series_view(tx)


def milliseconds(action: Callable[[], object], times: int = 1) -> float:
    """Return how long `action` takes: the median of so many times."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(taken), 2)


def measure_legs(server: EmbeddedServer, database: Database, legs: int, end_ms: int) -> list[Explained]:
    """Measure a day through the view of `legs` legs, beside the same day of the table; return the plans."""
    queries = readers_queries(end_ms)
    both = {"view": queries["a day of ohlcv"], "table": queries[f"a day of {BTC.table_name}"]}
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        plans = [explain(cursor, both["view"]) for _ in range(ROUNDS)]
        cursor.execute("select count(*) from pg_locks where pid = pg_backend_pid() and relation is not null")
        (locks,) = cursor.fetchone() or (0,)
        again = {name: milliseconds(partial(cursor.execute, one), ROUNDS) for name, one in both.items()}
        generic = explain_generic(cursor, end_ms)
    with database.transaction("look at the view") as tx:
        unchanged = milliseconds(lambda: refresh_all_series_view(tx), 3)
    show(
        legs=legs,
        legs_in_the_plan=len(plans[-1].candle_tables),
        planning_ms=round(statistics.median(one.document["Planning Time"] for one in plans), 2),
        a_day_ms=again,
        a_day_ms_in_a_new_session={name: first_in_session(server, one) for name, one in both.items()},
        locks=locks,
        refresh_all_series_view_unchanged_ms=unchanged,
    )
    run = [node for node in generic.nodes() if node.get("Relation Name") and node["Actual Loops"]]
    generic.show(
        query="a day of ohlcv, prepared, one plan for every series",
        legs_in_the_plan=len(generic.candle_tables),
        legs_read=len(run),
    )
    if plans[-1].candle_tables != {BTC.table_name}:
        raise SystemExit(f"the view's other legs are not left out when a query is planned:\n{plans[-1]}")
    return [plans[-1], generic]


def first_in_session(server: EmbeddedServer, statement: str) -> float:
    """Return the milliseconds of a session's first query, which also reads the catalog about every table in it."""
    taken = []
    for _ in range(ROUNDS):
        with closing(connect(server)) as connection, connection.cursor() as cursor:
            taken.append(milliseconds(partial(cursor.execute, statement)))
    return round(statistics.median(taken), 2)


def explain_generic(cursor: Cursor, end_ms: int) -> Explained:
    """Explain a day of the view by the plan that a driver with prepared statements may come to."""
    cursor.execute(
        "prepare day (text, text, text, timestamptz, timestamptz) as select * from public.ohlcv"
        ' where market = $1 and symbol = $2 and "interval" = $3 and time >= $4 and time < $5 order by time'
    )
    cursor.execute("set plan_cache_mode = force_generic_plan")
    day = f"'{to_datetime(end_ms - MS_PER_DAY)}', '{to_datetime(end_ms)}'"
    execute = f"execute day ('spot', 'BTCUSDT', '1m', {day})"
    explain(cursor, execute)
    return explain(cursor, execute)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--plans", action="store_true", help="print the whole plans too")
    arguments = parser.parse_args()
    if arguments.years < 2:
        parser.error("--years: two at least, for one is what the others are compared with")
    kept: list[Explained] = []
    with (
        own_folder() as folder,
        own_server(folder) as server,
        closing(Database.connect(None, server.keywords(), "benchmark")) as database,
    ):
        migrate(database)
        with database.transaction("prepare") as tx:
            catalog = sync_symbols(tx, [WantedSeries(series) for series in SERIES], replaces_catalog=True)
            for series in SERIES:
                create_table_if_not_exists(tx, series, timescale=False, compress_after_days=0)
            refresh_all_series_view(tx)
        ids = {series: catalog[series].id for series in SERIES}
        plans = []
        for years in (1, arguments.years):
            for series in SERIES if years == 1 else [BTC]:
                fill(database, series, ids[series], range(0 if years == 1 else 12, years * 12))
            psql(server, "vacuum analyze")
            plans.append(explain_all(server, ids[BTC], add_months(START_MS, years * 12)))
            for name, one in plans[-1].items():
                one.show(years=years, query=name)
                kept.append(one)
        for name, before in plans[0].items():
            judge(name, before, plans[1][name])
        show(judged=len(plans[0]), verdict="no plan reads more than it should, or more in the longer table")
        for legs in LEGS:
            add_legs(database, legs)
            psql(server, "vacuum analyze")
            kept += measure_legs(server, database, legs, add_months(START_MS, arguments.years * 12))
    for one in kept if arguments.plans else ():
        print(one)  # noqa: T201


if __name__ == "__main__":
    main()
