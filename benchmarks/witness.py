"""What witnesses cost beside a backfill, and what they catch: altered archives whose checksums are valid.

    python benchmarks/witness.py [--months 12] [--latency-ms 50] [--rounds 3] [--alterations 1000] [--seed 1]

Cost: the whole program over months of spot BTCUSDT 1m by archives, with WITNESS on and off by turns, against a replay
exchange that takes `--latency-ms` for every answer: seconds, requests, weight.
Catch: single values are altered in the monthly files, one in an hour, by the least digit as often as by a share of the
value, so that every candle stays possible; REST and the daily files are right. The range is stored without witnesses;
then `verify --against longer --repair` corrects what it finds, and after it `verify --against rest --repair`. Printed
is how many alterations of each column each of the two found, and how many rows are wrong in the end.
"""

from __future__ import annotations

import argparse
import compileall
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from common import (
    PROJECT,
    own_folder,
    own_server,
    print_line,
    print_ratio,
    program_environment,
    psql,
    run_program,
    write_archive,
)

# isort: split
# The import above lets those below be found.
import psycopg2
from candles import stored_rows, truth_rows
from longer_market import CLOSE, HIGH, LOW, OPEN, QUOTE, TAKER, TAKER_QUOTE, TRADES, VOLUME, longer_rows

from core.intervals import INTERVALS
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_HOUR, MS_PER_MINUTE, add_months, from_datetime, parse_time, to_datetime
from db.connection import Database
from db.embedded import EmbeddedServer
from demo.archive_names import archive_key, month_of
from demo.candle_store import CandleStore, RecordedFile
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange

SERIES = parse_series("BTCUSDT")
START_MS = parse_time("2023-01-01")
SETTLED_MS = 30 * 24 * MS_PER_HOUR  # all files are out
NAMES = {OPEN: "open", HIGH: "high", LOW: "low", CLOSE: "close", VOLUME: "volume", QUOTE: "quote_volume"}
NAMES |= {TRADES: "trades", TAKER: "taker_buy_volume", TAKER_QUOTE: "taker_buy_quote_volume"}
Alterations = dict[int, int]  # open time (epoch ms) to column


def make_store(span: Span) -> CandleStore:
    """Return the candles of `span` and the hours that they make."""
    store = CandleStore()
    rows = list(generate_series(SERIES, span, 1, quiet_share=0.0))
    store.add(SERIES, rows)
    store.add(SERIES.of(INTERVALS["1h"]), longer_rows(rows, INTERVALS["1h"]))
    return store


def keep_months(store: CandleStore, span: Span, folder: Path, altered: dict[int, list[Any]]) -> None:
    """Publish the monthly files of `span`, with the rows in `altered` (by open time) in place of the true ones."""
    folder.mkdir()
    start_ms = span.start_ms
    while start_ms < span.end_ms:
        month = month_of(start_ms)
        rows = (altered.get(row[0], row) for row in store.rows(SERIES, month.span.start_ms, month.span.end_ms))
        key = archive_key(SERIES, month)
        store.keep_file(key, RecordedFile(write_archive(folder / Path(key).name, rows), None))
        start_ms = month.span.end_ms


def alter(store: CandleStore, span: Span, count: int, seed: int) -> tuple[dict[int, list[Any]], Alterations]:
    """Return `count` altered rows by open time, each in an hour of its own, and the column that is altered in each."""
    chance = random.Random(seed)  # noqa: S311 - a seeded draw, not a secret
    hours = chance.sample(range(span.start_ms, span.end_ms, MS_PER_HOUR), count)
    rows, columns = {}, {}
    for number, hour_ms in enumerate(sorted(hours)):
        column = list(NAMES)[number % len(NAMES)]
        time_ms = hour_ms + chance.randrange(60) * MS_PER_MINUTE
        [row] = store.rows(SERIES, time_ms, time_ms + 1)
        rows[time_ms], columns[time_ms] = altered_row([*row], column, chance), column
    return rows, columns


def altered_row(row: list[Any], column: int, chance: random.Random) -> list[Any]:
    """Return `row` with another value in `column`, such that the candle stays possible."""
    old = Decimal(str(row[column]))
    step = Decimal(1) if column == TRADES else Decimal("0.01") if column <= CLOSE else Decimal("0.00000001")
    size = step if chance.random() < 0.5 else max(step, (old * Decimal("0.001")).quantize(step))
    new = old - size if column == LOW else old + size
    if column in (OPEN, CLOSE):  # they must stay between low and high
        low, high = Decimal(row[LOW]), Decimal(row[HIGH])
        new = next(
            one for one in (new, old - size, old + step, old - step, low, high) if low <= one <= high and one != old
        )
    return [*row[:column], int(new) if column == TRADES else f"{new:f}", *row[column + 1 :]]


def measure_cost(folder: Path, server: EmbeddedServer, store: CandleStore, arguments: argparse.Namespace) -> None:
    """Run the backfill with and without witnesses by turns; print what witnesses add."""
    span = Span(START_MS, add_months(START_MS, arguments.months))
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    costs: dict[str, tuple[int, int]] = {}
    for number in range(arguments.rounds):
        for setting in seconds:
            server.recreate_database()
            psql(server, "checkpoint;")
            with ReplayExchange(
                store, ReplayClock(span.end_ms + SETTLED_MS), latency_s=arguments.latency_ms / 1000
            ) as exchange:
                own = folder / f"{number}-{setting}"
                environment = {**program_environment(own, server, exchange), "WITNESS": setting}
                document, took, _ = run_program(environment, *range_options(span))
                seconds[setting].append(took)
                costs[setting] = (len(exchange.requests), document["request_weight_used"])
                print_line({"witness": setting, "seconds": round(took, 2), "requests": costs[setting][0]})
    added = [one - other for one, other in zip(costs["on"], costs["off"], strict=True)]
    print_ratio("seconds with witnesses to without", seconds["on"], seconds["off"], requests=added[0], weight=added[1])


def measure_catch(folder: Path, server: EmbeddedServer, store: CandleStore, arguments: argparse.Namespace) -> None:
    """Store altered archives, verify against longer candles and then against REST; print what each found."""
    span = Span(START_MS, add_months(START_MS, arguments.months))
    rows, columns = alter(store, span, arguments.alterations, arguments.seed)
    keep_months(store, span, folder / "altered", rows)
    server.recreate_database()
    with ReplayExchange(store, ReplayClock(span.end_ms + SETTLED_MS)) as exchange:
        environment = {**program_environment(folder / "catch", server, exchange), "WITNESS": "off"}
        run_program(environment, *range_options(span))
        found = {}
        for against in ("longer", "rest"):
            exchange.clear_requests()
            document, took, _ = run_program(environment, "verify", "--against", against, "--repair", accepted=(0, 3))
            found[against] = corrected(server, document["run_id"])
            print_line({"against": against, "seconds": round(took, 1), "requests": len(exchange.requests)})
    for column, name in NAMES.items():
        of = {ms for ms, one in columns.items() if one == column}
        print_line({"column": name, "altered": len(of), **{key: len(of & times) for key, times in found.items()}})
    print_line({"not altered, but corrected": len((found["longer"] | found["rest"]) - set(columns))})
    print_line({"rows wrong in the end": wrong_rows(server, store, span)})
    print_line({"found": dict(Counter(key for key, times in found.items() for _ in times))})


def range_options(span: Span) -> list[str]:
    """Return the options of a backfill of `span`."""
    return ["--symbols", str(SERIES.symbol), "--start", text(span.start_ms), "--end", text(span.end_ms)]


def text(ms: int) -> str:
    """Return a day as the options take it."""
    return f"{to_datetime(ms):%Y-%m-%d}"


def corrected(server: EmbeddedServer, run_id: str) -> set[int]:
    """Return the open times that a repair corrected."""
    with psycopg2.connect(**server.keywords()) as connection, connection.cursor() as cursor:
        cursor.execute("select time from public.ohlcv_corrections where run_id = %s", (run_id,))
        return {from_datetime(time) for (time,) in cursor.fetchall()}


def wrong_rows(server: EmbeddedServer, store: CandleStore, span: Span) -> int:
    """Return how many stored rows are not the exchange's, or lack."""
    database = Database.connect(None, server.keywords(), "benchmark")
    with database.transaction("read") as tx:
        held = set(stored_rows(tx, SERIES.table_name))
    database.close()
    return len(held ^ set(truth_rows(store.rows(SERIES, span.start_ms, span.end_ms))))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alterations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for package in ("commands", "config", "core", "db", "fetcher", "logic"):
        compileall.compile_dir(PROJECT / package, quiet=1)
    span = Span(START_MS, add_months(START_MS, arguments.months))
    with own_folder() as folder, own_server(folder) as server:
        store = make_store(span)
        keep_months(store, span, folder / "true", {})
        measure_cost(folder, server, store, arguments)
        measure_catch(folder, server, store, arguments)


if __name__ == "__main__":
    main()
