from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from candles import batch_of, generated_batch, save_spans, stored_rows, truth_rows
from servers import HAS_TIMESCALE

import db.migrate
from core.candles import content_hash
from core.errors import DatabaseUnavailable
from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import parse_series
from core.sources import Source
from core.times import MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import load_catalog, sync_symbols
from db.connection import Database
from db.external_changes import is_watched
from db.gaps import load_open_gaps
from db.ledger import load_entries, set_hash_checked, snapshot_of
from db.migrate import applied_versions, is_migrated, migrate
from db.operations import insert_candles
from db.schema import create_table_if_not_exists, find_tables
from db.symbols import load_symbols_from_db
from demo.generated_market import generate_series

BTC = parse_series("BTCUSDT")
START_MS = parse_time("2024-03-01")
HALF_HOUR = Span(START_MS, START_MS + 30 * MS_PER_MINUTE)
ROWS = list(generate_series(BTC, HALF_HOUR, 1))
FOLDER = Path(db.migrate.__file__).parent / "migrations"
TABLES = {
    "symbols",
    "ohlcv_series",
    "ohlcv_ledger",
    "ohlcv_gaps",
    "ohlcv_corrections",
    "ohlcv_external_changes",
    "ohlcv_weight",
    "fetch_clock",
    "market_instruments",
    "market_agg_trades",
    "market_trades",
    "market_depth",
    "market_tickers",
    "market_mark_prices",
    "market_funding_rates",
    "stream_gaps",
    "fetch_environment",
    "ohlcv_migrations",
    "ohlcv_provisional",
    "stream_sessions",
    "stream_status",
    "sync_state",
    "backfill_state",
}


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    connected = Database.connect(empty_database_url, {}, "tests")
    yield connected
    connected.close()


@pytest.fixture
def first_version(empty: Database) -> Database:
    """A database of version 1 with one series, its candles and its ledger entry, as that version wrote them."""
    with empty.transaction("as the first version did") as tx:
        tx.cursor.execute((Path(__file__).parent / "upgrades" / "0001.sql").read_text(encoding="utf-8"))
        tx.cursor.execute(
            "insert into public.symbols (symbol, table_name, listing, status)"
            " values ('BTCUSDT', 'ohlcv_btcusdt', '2017-08-17 04:00Z', 'TRADING')"
        )
        tx.cursor.execute(
            "create table public.ohlcv_btcusdt (time timestamptz primary key, open numeric not null,"
            " high numeric not null, low numeric not null, close numeric not null, volume numeric not null,"
            " quote_volume numeric not null, trades integer not null, taker_buy_volume numeric not null,"
            " taker_buy_quote_volume numeric not null)"
        )
        insert_candles(tx, BTC.table_name, batch_of(ROWS))
        tx.cursor.execute(
            "insert into public.ohlcv_ledger (series_id, span_start, span_end, source, archive_checksum, rows,"
            " content_hash, fetched_at, run_id)"
            " values (1, '2024-03-01Z', '2024-03-01 00:30Z', 'archive-daily', 'sum', 30, %s, '2024-03-02Z', 'old')",
            (content_hash(batch_of(ROWS)),),
        )
    return empty


def objects(database: Database) -> list[tuple[object, ...]]:
    """Return what there is in the schema, each with the number that it keeps for life."""
    with database.transaction("look") as tx:
        tx.cursor.execute(
            "select 'relation', oid, relname from pg_class where relnamespace = 'public'::regnamespace"
            " union all select 'function', oid, proname from pg_proc where pronamespace = 'public'::regnamespace"
            " union all select 'trigger', oid, tgname from pg_trigger order by 1, 2"
        )
        return tx.cursor.fetchall()


def versions(database: Database) -> list[tuple[object, ...]]:
    with database.transaction("look") as tx:
        tx.cursor.execute("select xmin, * from public.ohlcv_migrations order by version")
        return tx.cursor.fetchall()


def test_an_empty_database_gets_everything(empty: Database) -> None:
    with empty.transaction("look") as tx:
        assert applied_versions(tx) == set()
        assert not is_migrated(tx)
    migrate(empty)
    with empty.transaction("look") as tx:
        assert is_migrated(tx)
        tx.cursor.execute("select table_name from information_schema.tables where table_schema = 'public'")
        assert {name for (name,) in tx.cursor.fetchall()} == TABLES
    numbered = [int(path.name[:4]) for path in sorted(FOLDER.glob("*.sql"))]
    assert [row[1] for row in versions(empty)] == numbered == sorted(set(numbered))


def test_migrating_again_changes_nothing(empty: Database) -> None:
    migrate(empty)
    before = objects(empty), versions(empty)
    migrate(empty)
    assert (objects(empty), versions(empty)) == before


def test_a_version_1_database_keeps_what_it_has(first_version: Database) -> None:
    migrate(first_version)
    with first_version.transaction("look") as tx:
        assert is_migrated(tx)
        assert stored_rows(tx, BTC.table_name) == truth_rows(ROWS)
        (row,) = load_catalog(tx)
        assert (row.series, row.active, row.listing.first_ms, row.listing.status) == (
            BTC,
            True,
            parse_time("2017-08-17T04:00"),
            "TRADING",
        )
        assert (row.listing.notes, row.checked_at_ms) == ((), None)
        assert load_symbols_from_db(tx, "1m").series == [WantedSeries(BTC)]
        assert load_open_gaps(tx, row.id) == []
        (entry,) = load_entries(tx, row.id, BTC.table_name)
    assert (entry.span, entry.source, entry.archive_checksum) == (HALF_HOUR, Source.ARCHIVE_DAILY, "sum")
    assert (entry.rows, entry.content_hash, entry.run_id) == (30, content_hash(batch_of(ROWS)), "old")
    assert entry.fetched_ms == parse_time("2024-03-02")
    assert entry.verified_ms is None


def test_version_1_and_an_empty_database_end_with_the_same_tables(first_version: Database, database: Database) -> None:
    def columns(of: Database) -> list[tuple[object, ...]]:
        with of.transaction("look") as tx:
            tx.cursor.execute(
                "select table_name, column_name, data_type, is_nullable, column_default"
                " from information_schema.columns where table_schema = 'public' order by table_name, ordinal_position"
            )
            return tx.cursor.fetchall()

    migrate(first_version)
    with database.transaction("create") as tx:
        create_table_if_not_exists(tx, BTC, timescale=HAS_TIMESCALE, compress_after_days=0)
    assert columns(first_version) == columns(database)
    with first_version.transaction("look") as tx:
        assert find_tables(tx, [BTC.table_name])[BTC.table_name].faults == []
        assert is_watched(tx, BTC.table_name)


def test_spans_of_version_1_are_not_proven_until_they_were_looked_at(first_version: Database) -> None:
    migrate(first_version)
    later = Span(HALF_HOUR.end_ms, HALF_HOUR.end_ms + 10 * MS_PER_MINUTE)
    with first_version.transaction("continue") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        assert not create_table_if_not_exists(tx, BTC, timescale=HAS_TIMESCALE, compress_after_days=0)
        fetched = FetchedSpan(later, generated_batch(BTC, later), Source.ARCHIVE_DAILY)
        save_spans(tx, series_id, BTC.table_name, [fetched], "new", later.end_ms)
        old, new = load_entries(tx, series_id, BTC.table_name)
        assert (old.is_hash_checked, new.is_hash_checked) == (False, True)
        set_hash_checked(tx, [old.id], snapshot_of(tx))
        assert [entry.is_hash_checked for entry in load_entries(tx, series_id, BTC.table_name)] == [True, True]


def test_the_view_of_version_1_goes_on_showing_its_candles(first_version: Database) -> None:
    with first_version.transaction("as the first version did") as tx:
        tx.cursor.execute(
            "create view public.ohlcv as select 'spot'::text as market, 'BTCUSDT'::text as symbol,"
            " '1m'::text as \"interval\", * from public.ohlcv_btcusdt"
        )
    migrate(first_version)
    with first_version.transaction("go on") as tx:
        refresh_all_series_view(tx)
    with first_version.transaction("look") as tx:
        tx.cursor.execute("select symbol, count(*) from public.ohlcv group by 1")
        assert tx.cursor.fetchall() == [("BTCUSDT", 30)]


def test_a_version_1_table_that_somebody_dropped_does_not_stop_the_migration(first_version: Database) -> None:
    with first_version.transaction("drop") as tx:
        tx.cursor.execute("drop table public.ohlcv_btcusdt")
    migrate(first_version)
    with first_version.transaction("look") as tx:
        assert is_migrated(tx)


def test_a_migration_that_fails_leaves_the_database_as_it_was(first_version: Database) -> None:
    with first_version.transaction("be in the way") as tx:
        tx.cursor.execute("create table public.ohlcv_external_changes (mine integer)")
    before = objects(first_version), versions(first_version)
    with pytest.raises(DatabaseUnavailable, match="ohlcv_external_changes.*42P07"):
        migrate(first_version)
    assert (objects(first_version), versions(first_version)) == before
    with first_version.transaction("make room") as tx:
        tx.cursor.execute("drop table public.ohlcv_external_changes")
    migrate(first_version)
    assert [row[1] for row in versions(first_version)][:2] == [1, 2]


def test_a_schema_of_an_older_program_is_not_read(first_version: Database) -> None:
    with (
        pytest.raises(DatabaseUnavailable, match="has version 1, this program reads version.*run a backfill once"),
        first_version.transaction("look") as tx,
    ):
        is_migrated(tx)
    migrate(first_version)
    with first_version.transaction("look") as tx:
        assert is_migrated(tx)


def test_a_program_from_before_streams_refuses_the_schema(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    known = db.migrate._known_migrations()
    before = {version: path for version, path in known.items() if version < 10}
    monkeypatch.setattr(db.migrate, "_known_migrations", lambda: before)
    with pytest.raises(DatabaseUnavailable, match=f"version {max(known)}, this program knows up to [89]"):
        migrate(database)
    with (
        pytest.raises(DatabaseUnavailable, match=f"has version {max(known)}.*update the program"),
        database.transaction("look") as tx,
    ):
        is_migrated(tx)


def test_a_schema_of_a_newer_program_is_not_read(database: Database) -> None:
    with database.transaction("pretend") as tx:
        tx.cursor.execute("insert into public.ohlcv_migrations (version, name) values (9999, 'future')")
    with (
        pytest.raises(DatabaseUnavailable, match="has version 9999.*update the program"),
        database.transaction("look") as tx,
    ):
        is_migrated(tx)


def test_an_empty_table_of_migrations_is_no_schema(empty: Database) -> None:
    with empty.transaction("prepare") as tx:
        tx.cursor.execute(
            "create table public.ohlcv_migrations"
            " (version integer primary key, name text not null, applied_at timestamptz not null default now())"
        )
        assert not is_migrated(tx)
    migrate(empty)
    with empty.transaction("look") as tx:
        assert is_migrated(tx)
