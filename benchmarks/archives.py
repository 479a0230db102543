"""Archives on disk to committed rows, against `psql \\copy` of the same rows and `execute_values` with the same checks.

    python benchmarks/archives.py [--recordings DIR] [--months 12] [--rounds 5]

Every way begins with the zip of a month on disk and an empty table with its primary key (or, "again", a full one whose
ledger was lost), and ends with committed rows. The program's way is the one of a backfill: a thread reads ahead
(checksum, unzip, parse, validate, hash, encode) while the database takes the month before; rows are counted, the
ledger is written. psql gets the rows already converted. Prints rows per second and the ratios as JSON lines.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import statistics
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import own_folder, own_server, print_ratio, psql, rounds, write_archive
from psycopg2.extras import execute_values

from core.archives import Period, month_of
from core.binance.archives import file_stem
from core.fetched import FetchedSpan
from core.series import Series, parse_series
from core.sources import Source
from core.times import add_months, parse_time
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.commit import CommitContext
from db.connection import Database
from db.migrate import migrate
from db.operations import PreparedSpan, count_rows, save_ohlcv
from db.schema import create_table_if_not_exists
from demo.generated_market import generate_series
from demo.recordings import load_recordings
from fetcher.binance.archive_csv import read_archive
from logic.fetching.read_ahead import ReadAhead

START_MS = parse_time("2023-01-01")
SERIES = [parse_series(name) for name in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")]
SAME = SERIES[0]
Archive = tuple[Period, Path, str]


def make_archives(folder: Path, months: int, recordings: Path | None) -> list[Archive]:
    """Write a zip a month, from recorded candles or generated ones, and return them with their checksums."""
    store = load_recordings(recordings, only={SAME}) if recordings else None
    archives = []
    for number in range(months):
        period = month_of(add_months(START_MS, number))
        span = period.span
        rows = store.rows(SAME, span.start_ms, span.end_ms) if store else generate_series(SAME, span, number)
        path = write_archive(folder / f"{file_stem(SAME, period)}.zip", rows)
        archives.append((period, path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return archives


def prepare(series: Series, archive: Archive) -> PreparedSpan:
    """Do all that needs no database, as the program does."""
    period, path, published = archive
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == published  # noqa: S101
    batch = read_archive(path, series, period)
    return PreparedSpan.of(FetchedSpan(period.span, batch, Source.ARCHIVE_MONTHLY, published))


def save_all(database: Database, commit: CommitContext, archives: list[Archive]) -> None:
    """Commit the archives the program's way."""
    with ThreadPoolExecutor(2) as executor:
        ahead = ReadAhead(executor, prepare, lambda _series, _archive: 1, 3, 3)
        for _, prepared in ahead.run([(SAME, archives)]):
            for _, future in prepared:
                with database.transaction("save") as tx:
                    save_ohlcv(tx, commit, [future.result()])


def save_by_values(database: Database, table: str, archives: list[Archive]) -> None:
    """Commit the archives as a plain loop does it, with the same checks: csv, tuples, execute_values."""
    for period, path, published in archives:
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == published  # noqa: S101
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        rows = []
        digest = hashlib.sha256()
        before = 0
        for time, open_, high, low, close, volume, _, quote, trades, buy, buy_quote, _ in csv.reader(text.splitlines()):
            at = int(time)
            if not before < at or not float(low) <= min(float(open_), float(close)):
                raise ValueError(time)
            if not float(high) >= max(float(open_), float(close)) or not float(low) > 0:
                raise ValueError(time)
            before = at
            rows.append((at / 1000, open_, high, low, close, volume, quote, int(trades), buy, buy_quote))
            digest.update(",".join(map(str, rows[-1])).encode())
        with database.transaction("save") as tx:
            execute_values(
                tx.cursor,
                f"insert into public.{table} values %s on conflict (time) do nothing",
                rows,
                template="(to_timestamp(%s), %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                page_size=1000,
            )
            tx.cursor.execute(
                f"select count(*) from public.{table}"
                f" where time >= to_timestamp({period.span.start_ms / 1000})"
                f" and time < to_timestamp({period.span.end_ms / 1000})"
            )
            assert tx.cursor.fetchone() == (len(rows),)  # noqa: S101


def four_at_once(databases: list[Database], commits: list[CommitContext], archives: list[Archive]) -> None:
    """Commit the same archives for four series, each with a connection and threads of its own."""
    threads = [
        threading.Thread(target=save_all, args=(database, commit, archives))
        for database, commit in zip(databases, commits, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=Path, help="folder with the daily zips of spot BTCUSDT 1m 2023")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with own_folder() as folder, own_server(folder) as server:
        archives = make_archives(folder, arguments.months, arguments.recordings)
        databases = [Database.connect(None, server.keywords(), "benchmark") for _ in SERIES]
        database = databases[0]
        migrate(database)
        with database.transaction("prepare") as tx:
            catalog = sync_symbols(tx, [WantedSeries(series) for series in SERIES], replaces_catalog=True)
            for series in SERIES:
                create_table_if_not_exists(tx, series, timescale=False, compress_after_days=0)
        commits = [CommitContext(catalog[one].id, one.table_name, "benchmark", START_MS) for one in SERIES]
        table = SAME.table_name

        def empty(*tables: str) -> None:
            for name in tables:
                psql(server, f"truncate {name}; delete from ohlcv_ledger; checkpoint;")

        def fill() -> None:
            save_all(database, commits[0], archives)

        fill()
        with database.transaction("count") as tx:
            total = count_rows(tx, table)
        file = folder / "rows.csv"
        psql(server, f"\\copy (select * from {table} order by time) to '{file}' csv\n")
        psql(server, f"create table copied (like {table} including all)")
        empty(table)

        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "psql": (lambda: empty("copied"), lambda: psql(server, f"\\copy copied from '{file}' csv\n")),
            "fresh": (lambda: empty(table), fill),
            "again": (lambda: psql(server, "delete from ohlcv_ledger; checkpoint;"), fill),
            "values": (lambda: empty(table), lambda: save_by_values(database, table, archives)),
            "four": (
                lambda: empty(*(one.table for one in commits)),
                lambda: four_at_once(databases, commits, archives),
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, (before, way) in ways.items():
                before()
                seconds[name] += rounds({name: way}, 1)[name]
        for one in databases:
            one.close()
    for name, times in seconds.items():
        of = total * len(SERIES) if name == "four" else total
        print(json.dumps({"way": name, "rows": of, "rows_per_second": round(of / statistics.median(times))}))  # noqa: T201
    print_ratio("fresh rows/s to psql", seconds["psql"], seconds["fresh"], goal="0.7, aim 1.0")
    print_ratio("again rows/s to psql", seconds["psql"], seconds["again"], goal="1.5")
    print_ratio("fresh rows/s to execute_values", seconds["values"], seconds["fresh"], goal="8")
    print_ratio("four series rows/s to one", [4 * s for s in seconds["fresh"]], seconds["four"], goal="1.3")


if __name__ == "__main__":
    main()
