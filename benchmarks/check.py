"""What `check` and `verify` of clean candles cost, against counting and reading the same table.

    python benchmarks/check.py [--years 5] [--rounds 5]

Generates so many years of 1m candles, commits them month by month as archives of a replay exchange would be, and then
times in turns, in one process and on one connection: `select count(*)`, the check of the series; the reading of the
candles (COPY to the client), the verification of the series (the hash of every span of the ledger, and its CHECKSUM
from the replay exchange). Prints medians and ratios as JSON lines. The table is vacuumed once, as autovacuum would do.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

import psycopg2  # noqa: E402
from candles import batch_of, save_spans  # noqa: E402

from core.archives import month_of  # noqa: E402
from core.fetched import FetchedSpan  # noqa: E402
from core.ranges import Span, TimeRange  # noqa: E402
from core.series import parse_series  # noqa: E402
from core.sources import AllowedSources, Source  # noqa: E402
from core.times import add_months, parse_time  # noqa: E402
from core.wanted import WantedSeries  # noqa: E402
from db.catalog import load_catalog, sync_symbols  # noqa: E402
from db.connection import Database  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from db.ledger import load_entries  # noqa: E402
from db.migrate import migrate  # noqa: E402
from db.schema import create_table_if_not_exists  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from fetcher.addresses import ExchangeAddresses  # noqa: E402
from fetcher.binance.exchange import BinanceExchange  # noqa: E402
from logic.gaps.series_check import check_series  # noqa: E402
from logic.series_session import SeriesSession  # noqa: E402
from logic.verify.verification import SeriesVerification  # noqa: E402
from logic.verify.verifier import Verifier  # noqa: E402

BTC = parse_series("BTCUSDT")
START_MS = parse_time("2020-01-01")


def fill(database: Database, months: int, replay: ReplayExchange, exchange: BinanceExchange) -> int:
    """Commit `months` months of generated candles with the checksums that the replay exchange publishes."""
    with database.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        create_table_if_not_exists(tx, BTC, timescale=False, compress_after_days=0)
    total = 0
    for number in range(months):
        period = month_of(add_months(START_MS, number))
        if number:
            replay.store.remove(BTC, Span(START_MS, period.span.start_ms))  # one month in memory is enough
        replay.store.add(BTC, generate_series(BTC, period.span, number))
        batch = batch_of(replay.store.rows(BTC, period.span.start_ms, period.span.end_ms))
        checksum = exchange.archives.published_checksum(BTC, period)
        fetched = FetchedSpan(period.span, batch, Source.ARCHIVE_MONTHLY, checksum)
        with database.transaction("fill") as tx:
            save_spans(tx, series_id, BTC.table_name, [fetched], "benchmark", START_MS)
        total += batch.rows
    return total


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds `action` takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    months = arguments.years * 12
    now_ms = add_months(START_MS, months + 2)
    with (
        tempfile.TemporaryDirectory(prefix="ohlcv-check-") as folder,
        ReplayExchange(CandleStore(), ReplayClock(now_ms, speed=0.0)) as replay,
    ):
        server = EmbeddedServer(Path(folder) / "pgdata")
        server.ensure_running()
        urls = dict.fromkeys(("spot", "um", "cm"), replay.url)
        addresses = ExchangeAddresses(urls, replay.url, replay.archive_list_url, 1.0, None, 2, Path(folder))
        exchange = BinanceExchange(addresses, time.sleep, replay.clock.now_ms)
        database = Database.connect(None, server.keywords(), "benchmark")
        try:
            migrate(database)
            rows = fill(database, months, replay, exchange)
            vacuum(server)
            measure(database, replay, exchange, rows, months, arguments.rounds)
        finally:
            database.close()
            server.stop()


def vacuum(server: EmbeddedServer) -> None:
    """Vacuum the candle table, which takes a connection of its own."""
    keywords: dict[str, Any] = dict(server.keywords())
    connection = psycopg2.connect(**keywords)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"vacuum analyze public.{BTC.table_name}")
    connection.close()


def measure(
    database: Database, replay: ReplayExchange, exchange: BinanceExchange, rows: int, months: int, rounds: int
) -> None:
    """Time the four actions in turns and print what they cost."""
    table = BTC.table_name
    with database.transaction("read") as tx:
        row = next(one for one in load_catalog(tx) if one.series == BTC)
        entries = load_entries(tx, row.id, table)
    # What the replay exchange needs to make a CHECKSUM (a month's zip) is its own time, not the program's: it
    # answers with what the ledger has.
    answers = {month_of(entry.span.start_ms): entry.archive_checksum for entry in entries}
    exchange.archives.published_checksum = lambda _series, period: answers[period]

    def count() -> None:
        with database.transaction("count") as tx:
            tx.cursor.execute(f"select count(*) from public.{table}")
            assert tx.cursor.fetchone() == (rows,)  # noqa: S101

    def check() -> None:
        with database.transaction("check") as tx:
            assert check_series(tx, row, TimeRange(), replay.clock.now_ms()).is_complete  # noqa: S101

    def read() -> None:
        with database.transaction("read") as tx:
            for entry in entries:
                tx.cursor.copy_expert(
                    f"copy (select * from public.{table} where time >= to_timestamp({entry.span.start_ms / 1000}) "
                    f"and time < to_timestamp({entry.span.end_ms / 1000}) order by time) to stdout",
                    io.BytesIO(),
                )

    def verify() -> None:
        result = SeriesVerification(row)
        session = SeriesSession(database, exchange, BTC, row.id, "benchmark", START_MS)
        Verifier(session, result, AllowedSources.AUTO, may_repair=False).verify(entries)
        assert result.is_clean and result.verified == months  # noqa: S101

    actions = {"count": count, "check": check, "read": read, "verify": verify}
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            seconds[name].append(timed(action))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(json.dumps({"rows": rows, "spans": months, **{f"{n}_seconds": round(s, 3) for n, s in medians.items()}}))  # noqa: T201
    ratios = {"check_to_count": ("check", "count"), "verify_to_read": ("verify", "read")}
    for name, (one, other) in ratios.items():
        each = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
        print(json.dumps({name: round(statistics.median(each), 2), "of": [round(ratio, 2) for ratio in each]}))  # noqa: T201


if __name__ == "__main__":
    main()
