"""Bytes per candle on plain PostgreSQL and on TimescaleDB, beside the archives' own size; and what each index is for.

    python benchmarks/storage.py [--recordings DIR] [--months 12]

Recorded candles (spot BTCUSDT 1m of 2023, with --recordings) or generated ones, whose made-up digits compress
otherwise, go through a whole backfill into an embedded PostgreSQL. With the environment variable TIMESCALE_TEST_URL
the same candles go into a hypertable in a database of their own on that server, which is dropped afterwards; they are
measured there before and after every chunk is compressed. Every way is read back and compared with the source, digit
for digit. Ends with an error when the schema has an index that no query here is named for, or lacks one that is named.
Prints JSON lines; sizes are taken after VACUUM.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from archives import SAME, START_MS, Archive, make_archives, save_all
from candles import Row, batch_of, stored_rows, truth_rows
from common import own_folder, own_server, program_environment, psql, run_program

from core.fetched import FetchedSpan, SpanRecord
from core.ranges import Span
from core.sources import Source
from core.times import MS_PER_DAY, add_months, iso_ms
from core.timescale import TimescaleUse
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.commit import CommitContext
from db.connection import Database, Transaction, fetch_one
from db.embedded import EmbeddedServer
from db.ledger import insert_entry
from db.migrate import migrate
from db.schema import create_table_if_not_exists
from db.timescale import use_timescale
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.recordings import read_rows
from demo.server import ReplayExchange

TABLE = SAME.table_name
COMPRESS_AFTER_DAYS = 90

INDEXES = {
    f"{TABLE}_pkey": "every read of candles by time; no candle twice",
    "symbols_pkey": "update_listing and set_checked by id; the foreign keys of ledger, gaps and corrections",
    "symbols_table_name_key": "no query: two series never share a table",
    "symbols_market_symbol_interval_key": "sync_symbols, on conflict",
    "ohlcv_ledger_pkey": "set_hash_checked, set_attempted, delete_entry, _fold_newest by id",
    "ohlcv_ledger_by_series": "load_entries, add_entry (the newest), set_verified, void_entries, undo_corrections",
    "ohlcv_gaps_pkey": "save_gaps by id",
    "ohlcv_gaps_by_series": "load_open_gaps",
    "ohlcv_corrections_pkey": "no query: a correction is told from another of the same candle by its id",
    "ohlcv_corrections_by_run": "load_corrected, undo_corrections",
    "ohlcv_external_changes_pkey": "no query: names a row",
    "ohlcv_external_changes_by_table": "load_entries (does its hash still hold?), last_external_change",
    "ohlcv_weight_pkey": "reserve_weight",
    "fetch_clock_pkey": "save_clock, on conflict; load_exchange_now_ms",
    "fetch_environment_pkey": "require_environment",
    "ohlcv_migrations_pkey": "no query: two runs at once never apply a migration twice",
}
"""Every index of the schema `public` with one candle table, and the query of the program that needs it."""


def show(**line: object) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)  # noqa: T201


def digest_of(rows: Iterable[Row]) -> str:
    """Return a hash over rows as text: every digit counts, trailing zeros too."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row}\n".encode())
    return digest.hexdigest()


def rows_of(archives: Sequence[Archive]) -> Iterator[list[object]]:
    """Yield the candles in the archives' CSV."""
    for _, path, _ in archives:
        yield from read_rows(path)


def truth_of(archives: Sequence[Archive]) -> str:
    """Return the hash that the stored rows have to have."""
    return digest_of(row for _, path, _ in archives for row in truth_rows(list(read_rows(path))))


def compare(tx: Transaction, truth: str, what: str) -> None:
    """Read all candles back. Raises SystemExit when a digit differs."""
    if digest_of(stored_rows(tx, TABLE)) != truth:
        raise SystemExit(f"{what}: the stored candles are not those of the archives")


def check_indexes(tx: Transaction, is_shown: bool) -> None:
    """Name the query of each index, and its size. Raises SystemExit for one too many or too few."""
    tx.cursor.execute(
        """
        select indexrelid::regclass::text, pg_relation_size(indexrelid) from pg_index
        join pg_class on pg_class.oid = indrelid where relnamespace = 'public'::regnamespace order by 1
        """
    )
    found = dict(tx.cursor.fetchall())
    for name, size in found.items() if is_shown else ():
        show(index=name, bytes=size, needed_by=INDEXES.get(name, "?"))
    if unknown := found.keys() - INDEXES.keys():
        raise SystemExit(f"indexes that no query is named for: {', '.join(sorted(unknown))}")
    if gone := INDEXES.keys() - found.keys():
        raise SystemExit(f"indexes that are named here and not in the schema: {', '.join(sorted(gone))}")


def sizes_of(tx: Transaction, table: str) -> tuple[int, int, int, int]:
    """Return a plain table's rows, and the bytes of its heap, of its indexes, and of all of it."""
    tx.cursor.execute(f"select count(*) from public.{table}")
    (rows,) = fetch_one(tx)
    tx.cursor.execute(
        "select pg_relation_size(t), pg_indexes_size(t), pg_total_relation_size(t) from to_regclass(%s) t", (table,)
    )
    return rows, *fetch_one(tx)


def show_candles(storage: str, rows: int, heap: int, index: int, total: int, **more: object) -> None:
    """Print the bytes per candle; heap and index leave out the maps of free and visible pages, the total has them."""
    each = {name: round(size / rows, 2) for name, size in (("heap", heap), ("index", index), ("total", total))}
    show(storage=storage, candles=rows, bytes_per_candle=each, mib=round(total / 2**20, 2), **more)


def show_yardsticks(archives: Sequence[Archive], recordings: Path | None) -> int:
    """Print what the candles take as the archives have them; return how many there are."""
    csv_bytes = zip_bytes = 0
    for _, path, _ in archives:
        zip_bytes += path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            csv_bytes += sum(member.file_size for member in archive.infolist())
    count = sum(1 for _ in rows_of(archives))
    each = {"csv": round(csv_bytes / count, 2), "zip of a month": round(zip_bytes / count, 2)}
    if recordings is not None:
        daily = [path.stat().st_size for path in recordings.rglob(f"{SAME.symbol}-{SAME.interval.code}-????-??-??.zip")]
        each["zip of a day, as recorded"] = round(sum(daily) / (len(daily) * 1_440), 2)  # 80 minutes of 2023 were lost
    show(storage="archives", candles=count, bytes_per_candle=each)
    return count


def backfill(folder: Path, server: EmbeddedServer, archives: Sequence[Archive], span: Span) -> None:
    """Let the program fetch the candles of `span` from an exchange that has just these."""
    store = CandleStore()
    store.add(SAME, rows_of(archives))
    # So late that the archives of all months are out.
    with ReplayExchange(store, ReplayClock(add_months(span.end_ms, 2))) as exchange:
        environment = program_environment(folder, server, exchange)
        bounds = ("--start", iso_ms(span.start_ms), "--end", iso_ms(span.end_ms))
        run_program(environment, "backfill", "--symbols", str(SAME), *bounds)


def measure_plain(folder: Path, archives: Sequence[Archive], span: Span, truth: str) -> None:
    """Measure candles, ledger, gaps and indexes in plain PostgreSQL."""
    with own_server(folder) as server:
        backfill(folder, server, archives, span)
        psql(server, "vacuum analyze")
        with closing(Database.connect(None, server.keywords(), "benchmark")) as database:
            with database.transaction("measure") as tx:
                compare(tx, truth, "plain PostgreSQL")
                tx.cursor.execute("show server_version")
                (version,) = fetch_one(tx)
                candles, *sizes = sizes_of(tx, TABLE)
                show_candles(f"PostgreSQL {version}", candles, *sizes, equal_to_the_archives=True)
                for table in ("ohlcv_ledger", "ohlcv_gaps", "ohlcv_corrections", "ohlcv_external_changes"):
                    show_beside(tx, table, candles)
                check_indexes(tx, is_shown=True)
            with database.transaction("write another ledger") as tx:
                write_daily_ledger(tx, archives)
            psql(server, "vacuum analyze ohlcv_ledger")
            with database.transaction("measure") as tx:
                show_beside(tx, "ohlcv_ledger", candles, of="the same candles by REST, a row a day")


def show_beside(tx: Transaction, table: str, candles: int, **more: object) -> None:
    """Print the size of one of the program's own tables, and its share for each candle."""
    rows, heap, index, total = sizes_of(tx, table)
    each = round(total / candles, 3)
    show(table=table, rows=rows, heap=heap, index=index, total=total, bytes_per_candle=each, **more)


def write_daily_ledger(tx: Transaction, archives: Sequence[Archive]) -> None:
    """Make the ledger that of a year kept up by REST: one row a day, when all is folded."""
    tx.cursor.execute("truncate public.ohlcv_ledger")
    tx.cursor.execute("select id from public.ohlcv_series where table_name = %s", (TABLE,))
    (series_id,) = fetch_one(tx)
    commit = CommitContext(series_id, TABLE, "benchmark", START_MS)
    for period, path, _ in archives:
        month = FetchedSpan(period.span, batch_of(list(read_rows(path))), Source.REST)
        for start_ms in range(period.span.start_ms, period.span.end_ms, MS_PER_DAY):
            record = SpanRecord.of(month.within(Span(start_ms, start_ms + MS_PER_DAY)))
            insert_entry(tx, commit, record, is_stored=True)


@contextmanager
def own_database(url: str) -> Iterator[Database]:
    """Give a new database on the server at `url`, and drop it."""
    name = f"ohlcv_benchmark_{uuid.uuid4().hex[:12]}"
    with closing(psycopg2.connect(url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(f"create database {name}")
            try:
                with closing(Database.connect(url, {"dbname": name}, "benchmark")) as database:
                    yield database
            finally:
                cursor.execute(f"drop database {name} with (force)")


def vacuum(url: str, database: Database) -> None:
    """Vacuum a database on the server at `url`, by a connection of its own: not in a transaction."""
    name = database.address.rpartition("/")[2]
    with closing(psycopg2.connect(url, dbname=name)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("vacuum analyze")


def make_hypertable_series(database: Database) -> int:
    """Create the series as the program does where TimescaleDB is, but with the compression in our own hands."""
    with database.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(SAME)], replaces_catalog=True)[SAME].id
        create_table_if_not_exists(tx, SAME, timescale=True, compress_after_days=COMPRESS_AFTER_DAYS)
        # Before the commit: the job would compress old chunks at once, and there would be nothing to compare with.
        tx.cursor.execute(
            "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs where hypertable_name = %s",
            (TABLE,),
        )
        if tx.cursor.rowcount != 1:
            raise SystemExit(f"the hypertable has {tx.cursor.rowcount} compression jobs, not one")
    return series_id


def hypertable_sizes(tx: Transaction) -> tuple[int, int, int]:
    """Return the bytes of the hypertable's heaps, of its indexes, and of all of it, by TimescaleDB's own function."""
    tx.cursor.execute(
        "select table_bytes + coalesce(toast_bytes, 0), index_bytes, total_bytes from hypertable_detailed_size(%s)",
        (f"public.{TABLE}",),
    )
    heap, index, total = fetch_one(tx)
    return heap, index, total


def measure_timescale(url: str, archives: list[Archive], candles: int, truth: str) -> None:
    """Measure the hypertable, uncompressed and compressed."""
    with own_database(url) as database:
        migrate(database)
        use_timescale(database, TimescaleUse.ON)
        series_id = make_hypertable_series(database)
        save_all(database, CommitContext(series_id, TABLE, "benchmark", START_MS), archives)
        vacuum(url, database)
        with database.transaction("measure") as tx:
            compare(tx, truth, "TimescaleDB, uncompressed")
            tx.cursor.execute("select extversion from pg_extension where extname = 'timescaledb'")
            name = f"TimescaleDB {fetch_one(tx)[0]}"
            tx.cursor.execute("select count(*) from show_chunks(%s)", (f"public.{TABLE}",))
            chunks = fetch_one(tx)[0]
            plain = hypertable_sizes(tx)
            show_candles(f"{name}, uncompressed", candles, *plain, chunks=chunks, equal_to_the_archives=True)
            check_indexes(tx, is_shown=False)
        with database.transaction("compress") as tx:
            tx.cursor.execute("select count(compress_chunk(c)) from show_chunks(%s) c", (f"public.{TABLE}",))
        vacuum(url, database)
        with database.transaction("measure") as tx:
            compare(tx, truth, "TimescaleDB, compressed")
            packed = hypertable_sizes(tx)
            factor = round(plain[2] / packed[2], 2)
            show_candles(f"{name}, compressed", candles, *packed, factor=factor, equal_to_the_archives=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=Path, help="folder with the daily zips of spot BTCUSDT 1m 2023")
    parser.add_argument("--months", type=int, default=12)
    arguments = parser.parse_args()
    span = Span(START_MS, add_months(START_MS, arguments.months))
    generated = "generated: made-up digits, which compress otherwise than the exchange's, and no gap"
    show(series=str(SAME), span=str(span), candles_are="recorded" if arguments.recordings else generated)
    with own_folder() as folder:
        archives = make_archives(folder, arguments.months, arguments.recordings)
        candles = show_yardsticks(archives, arguments.recordings)
        truth = truth_of(archives)
        measure_plain(folder, archives, span, truth)
        if url := os.environ.get("TIMESCALE_TEST_URL"):
            measure_timescale(url, archives, candles, truth)
        else:
            show(left_out="TimescaleDB: the environment variable TIMESCALE_TEST_URL names no server")


if __name__ == "__main__":
    main()
