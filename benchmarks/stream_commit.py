"""Closed candles of streams, from the last final frame to the committed row, beside a save a series.

    python benchmarks/stream_commit.py [--series 1 300 3000] [--rounds 40] [--at-a-time 5]

Each round is one minute in which every series closes a candle. `round`: all of them in rounds of db/closed_candles.py
(a transaction for 200 series). `save_ohlcv`: a transaction a series, as for a page of REST, with one candle and its
ledger row, folded when it is due; taken for `--at-a-time` minutes only, because it is slow. `again`: the same finals
once more, as after a turnover. Prints milliseconds: median, p99 and the longest round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from common import own_folder, own_server, print_line

# isort: split
from candles import batch_of
from servers import url_of

from core.binance.row import ROW_POSITIONS
from core.closed_round import ClosedCandle, Fate, OpenRow
from core.columns import VALUE_NAMES
from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.closed_candles import RoundCommit, commit_round
from db.commit import CommitContext
from db.connection import Database
from db.embedded import EmbeddedServer
from db.migrate import migrate
from db.operations import PreparedSpan, save_ohlcv
from db.schema import create_table_if_not_exists
from demo.generated_market import generate_series

START_MS = parse_time("2024-06-03")
ROWS = list(generate_series(parse_series("BTCUSDT"), Span(START_MS, START_MS + 6 * 60 * MS_PER_MINUTE), 1))


def prepared(server: EmbeddedServer, count: int) -> tuple[Database, dict[Series, int]]:
    """Return a database with empty tables of `count` series, and their ids."""
    database = Database.connect(url_of(server, "postgres"), {}, "benchmark")
    migrate(database)
    series = [parse_series(f"C{number}USDT") for number in range(count)]
    with database.transaction("enter") as tx:
        ids = sync_symbols(tx, [WantedSeries(one) for one in series], replaces_catalog=True)
    for first in range(0, count, 200):
        with database.transaction("create") as tx:
            for one in series[first : first + 200]:
                create_table_if_not_exists(tx, one, timescale=False, compress_after_days=0)
    with database.transaction("empty") as tx:
        tx.cursor.execute("delete from public.ohlcv_ledger")
    for one in series:
        with database.transaction("empty") as tx:
            tx.cursor.execute(f"truncate public.{one.table_name}")
    return database, {one: ids[one].id for one in series}


def finals(ids: dict[Series, int], minute: int) -> list[ClosedCandle]:
    """Return the candle that each series closes in a minute."""
    row = ROWS[minute]
    values = tuple(row[ROW_POSITIONS[name]] for name in VALUE_NAMES)
    return [ClosedCandle(series_id, series, int(str(row[0])), values) for series, series_id in ids.items()]


def by_save(database: Database, ids: dict[Series, int], minute: int) -> None:
    """Save the candle of a minute, a series at a time."""
    row = ROWS[minute]
    span = Span(int(str(row[0])), int(str(row[0])) + MS_PER_MINUTE)
    for series, series_id in ids.items():
        prepared_span = PreparedSpan.of(FetchedSpan(span, batch_of([row]), Source.REST))
        with database.transaction("save") as tx:
            save_ohlcv(tx, CommitContext(series_id, series.table_name, "run", START_MS), [prepared_span])


def measure(what: str, series: int, minutes: Sequence[int], action: Callable[[int], None]) -> None:
    """Print how long `action` took for each of `minutes`."""
    took = []
    for minute in minutes:
        began = time.monotonic()
        action(minute)
        took.append((time.monotonic() - began) * 1000)
    figures = {"median": statistics.median(took), "p99": sorted(took)[int(len(took) * 0.99)], "longest": max(took)}
    print_line({"series": series, "what": what, **{name: round(ms, 1) for name, ms in figures.items()}})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=[1, 300, 3000])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--at-a-time", type=int, default=5)
    options = parser.parse_args()
    with own_folder() as folder, own_server(folder) as server:
        for count in options.series:
            database, ids = prepared(server, count)
            open_rows: dict[int, OpenRow] = {}

            def commit(
                minute: int,
                fate: Fate,
                database: Database = database,
                ids: dict[Series, int] = ids,
                rows: dict[int, OpenRow] = open_rows,
            ) -> None:
                outcomes = commit_round(database, finals(ids, minute), rows, RoundCommit("run", START_MS))
                assert len(outcomes) == len(ids) and all(one.fate is fate for one in outcomes), outcomes[:3]  # noqa: S101

            measure("round", count, range(options.rounds), lambda minute: commit(minute, Fate.STORED))
            measure("again", count, range(options.rounds), lambda minute: commit(minute, Fate.EQUAL))
            rest = range(options.rounds + 1, options.rounds + 1 + options.at_a_time)
            measure("save_ohlcv", count, rest, lambda minute: by_save(database, ids, minute))  # noqa: B023
            database.close()


if __name__ == "__main__":
    main()
