from __future__ import annotations

import threading
import time
from dataclasses import replace

import psycopg2
import pytest
from servers import HAS_TIMESCALE
from timescale import of_plain_tables

from core.errors import ConfigurationError, DatabaseUnavailable
from core.listing import ListingPeriod
from core.series import Series, parse_series
from core.times import parse_time
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import load_catalog, sync_symbols, update_listing
from db.connection import Database, Transaction
from db.locks import try_lock_series
from db.migrate import applied_versions, migrate
from db.schema import create_table_if_not_exists

BTC, ETH, MONTHLY = parse_series("BTCUSDT"), parse_series("um:ETHUSDT/1h"), parse_series("BTCUSDT/1M")


def test_migrations_run_once_even_when_two_runs_start_together(empty_database_url: str) -> None:
    failures: list[Exception] = []

    def run() -> None:
        database = Database.connect(empty_database_url, {}, "tests")
        try:
            migrate(database)
        except Exception as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    database = Database.connect(empty_database_url, {}, "tests")
    with database.transaction("read") as tx:
        tx.cursor.execute("select count(*) from public.ohlcv_migrations")
        assert tx.cursor.fetchone() == (len(applied_versions(tx)),)
    database.close()


def test_a_schema_of_a_newer_program_is_refused(database: Database) -> None:
    with database.transaction("pretend") as tx:
        tx.cursor.execute("insert into public.ohlcv_migrations (version, name) values (9999, 'future')")
    with pytest.raises(DatabaseUnavailable, match="9999.*update the program"):
        migrate(database)


def test_tables_have_the_documented_columns(database: Database) -> None:
    with database.transaction("create") as tx:
        assert create_table_if_not_exists(tx, BTC, timescale=HAS_TIMESCALE, compress_after_days=0)
        assert not create_table_if_not_exists(tx, BTC, timescale=HAS_TIMESCALE, compress_after_days=0)
        tx.cursor.execute(
            "select column_name, data_type from information_schema.columns"
            " where table_name = 'ohlcv_btcusdt' order by ordinal_position"
        )
        columns = tx.cursor.fetchall()
        tx.cursor.execute("select indexdef from pg_indexes where tablename = 'ohlcv_btcusdt'")
        indexes = tx.cursor.fetchall()
    numeric = ["open", "high", "low", "close", "volume", "quote_volume"]
    assert columns == [
        ("time", "timestamp with time zone"),
        *((name, "numeric") for name in numeric),
        ("trades", "integer"),
        ("taker_buy_volume", "numeric"),
        ("taker_buy_quote_volume", "numeric"),
    ]
    assert len(indexes) == 1
    assert '("time")' in indexes[0][0]


@of_plain_tables
def test_the_view_shows_all_series_and_reads_only_the_symbol_asked_for(database: Database) -> None:
    with database.transaction("prepare") as tx:
        sync_symbols(tx, [WantedSeries(one) for one in (BTC, ETH, MONTHLY)], replaces_catalog=True)
        for series in (BTC, ETH, MONTHLY):
            create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        assert refresh_all_series_view(tx)
        assert not refresh_all_series_view(tx)
        tx.cursor.execute("insert into public.ohlcv_um_ethusdt_1h values ('2024-01-01Z', 1, 2, 1, 2, 5, 6, 7, 8, 9)")
        tx.cursor.execute("select market, symbol, interval, close, trades from public.ohlcv")
        assert tx.cursor.fetchall() == [("um", "ETHUSDT", "1h", 2, 7)]
        tx.cursor.execute("explain select * from public.ohlcv where symbol = 'BTCUSDT' and \"interval\" = '1M'")
        plan = "\n".join(line for (line,) in tx.cursor.fetchall())
    assert "ohlcv_btcusdt_1mo" in plan
    assert "ethusdt" not in plan


def test_a_table_dropped_with_the_view_comes_back_with_the_next_refresh(database: Database) -> None:
    with database.transaction("prepare") as tx:
        sync_symbols(tx, [WantedSeries(BTC), WantedSeries(ETH)], replaces_catalog=True)
        for series in (BTC, ETH):
            create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        refresh_all_series_view(tx)
        tx.cursor.execute("drop table public.ohlcv_btcusdt cascade")
        assert refresh_all_series_view(tx)
        tx.cursor.execute("select count(*) from public.ohlcv")


def active_in(tx: Transaction) -> dict[Series, int | None]:
    """Return the active series of the catalog with the start of what is wanted."""
    return {row.series: row.wanted.start_ms for row in load_catalog(tx) if row.active}


def test_the_list_of_the_run_decides_what_is_active(database: Database) -> None:
    start_ms = parse_time("2023-01-01")
    with database.transaction("sync") as tx:
        sync_symbols(tx, [WantedSeries(BTC, start_ms), WantedSeries(ETH, active=False)], replaces_catalog=True)
        assert active_in(tx) == {BTC: start_ms}
        sync_symbols(tx, [WantedSeries(MONTHLY)], replaces_catalog=True)
        assert active_in(tx) == {MONTHLY: None}
        assert {row.series for row in load_catalog(tx)} == {BTC, ETH, MONTHLY}


def test_an_ad_hoc_series_does_not_become_active_nor_change_the_others(database: Database) -> None:
    with database.transaction("sync") as tx:
        sync_symbols(tx, [WantedSeries(BTC, parse_time("2023-01-01"))], replaces_catalog=True)
        sync_symbols(tx, [WantedSeries(BTC), WantedSeries(ETH)], replaces_catalog=False)
        assert active_in(tx) == {BTC: parse_time("2023-01-01")}


def test_a_row_of_the_catalog_made_nonsense_by_hand_is_named(database: Database) -> None:
    with database.transaction("alter") as tx:
        sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)
        tx.cursor.execute("update public.ohlcv_series set \"interval\" = '7m'")
        with pytest.raises(ConfigurationError, match=r"public.ohlcv_series, row spot BTCUSDT 7m"):
            load_catalog(tx)


def test_what_is_known_of_a_listing_is_written_and_read_as_given(database: Database) -> None:
    known = ListingPeriod(1_502_942_400_000, 1_700_000_000_000, "TRADING", False, ("ticker used before", "a; b"))
    asked_ms = parse_time("2025-01-09T12:34:20.123")
    periods = [
        ListingPeriod(1_502_942_400_000, None, "TRADING"),
        replace(known, dormant_checked_ms=asked_ms),
        replace(known, dormant_checked_ms=asked_ms + 1),
        known,
        ListingPeriod(None, 1_700_000_000_000, "PRE_TRADING", is_pending=True),
        ListingPeriod(),
    ]
    with database.transaction("sync") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        tx.cursor.execute("update public.ohlcv_series set checked_at = '2024-01-01Z'")
        for period in periods:
            update_listing(tx, series_id, period)
            [row] = load_catalog(tx)
            assert row.listing == period
            assert row.checked_at_ms == parse_time("2024-01-01")


def test_an_unknown_beginning_does_not_erase_a_known_one() -> None:
    known = ListingPeriod(1_502_942_400_000, None, "TRADING", notes=("a word",))
    learned = ListingPeriod(None, 1_700_000_000_000, "BREAK")
    assert known.updated_by(learned) == ListingPeriod(1_502_942_400_000, 1_700_000_000_000, "BREAK")
    assert known.updated_by(ListingPeriod(5)).first_ms == 5


def test_a_lock_is_exclusive_and_ends_with_its_session(database: Database, database_url: str) -> None:
    other = Database.connect(database_url, {}, "other")
    with other.transaction("lock") as tx:
        assert try_lock_series(tx, [1, 2]) == {1, 2}
    with database.transaction("lock") as tx:
        assert try_lock_series(tx, [2, 3]) == {3}
    other.close()
    deadline = time.monotonic() + 10  # the server notices the end of a session a moment later
    held: set[int] = set()
    while not held and time.monotonic() < deadline:
        with database.transaction("lock") as tx:
            held = try_lock_series(tx, [2])
    assert held == {2}


def test_sessions_are_utc_whatever_the_server_says(database_url: str) -> None:
    admin = psycopg2.connect(database_url)
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("select current_database()")
        name = cursor.fetchone()[0]
        cursor.execute(f"alter database {name} set timezone = 'Asia/Tokyo'")
        cursor.execute(f"alter database {name} set datestyle = 'German'")
    admin.close()
    database = Database.connect(database_url, {}, "tests")
    with database.transaction("read") as tx:
        tx.cursor.execute("select '2024-01-01 00:00:00Z'::timestamptz::text")
        assert tx.cursor.fetchone() == ("2024-01-01 00:00:00+00",)
    database.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://nobody:geheim@127.0.0.1:1/none", "cannot connect.*Check DATABASE_URL"),
        ("postgresql://user@/no_such_database?host={host}", "cannot connect"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    pg_server: object, url: str, expected: str
) -> None:
    from db.embedded import EmbeddedServer

    assert isinstance(pg_server, EmbeddedServer)
    with pytest.raises(DatabaseUnavailable, match=expected) as raised:
        Database.connect(url.format(host=pg_server.keywords()["host"]), {}, "tests")
    assert "geheim" not in str(raised.value)


def test_a_user_without_rights_is_told_which_are_needed(database: Database, empty_database_url: str) -> None:
    admin = Database.connect(empty_database_url, {}, "admin")
    with admin.transaction("create a role") as tx:
        tx.cursor.execute("drop role if exists reader; create role reader login")
        tx.cursor.execute("revoke create on schema public from public")  # PostgreSQL 14 grants it to everybody
    admin.close()
    reader = Database.connect(empty_database_url.replace("postgres@", "reader@"), {}, "tests")
    with pytest.raises(DatabaseUnavailable, match="grant the user CREATE"):
        migrate(reader)
    reader.close()


def test_a_read_only_database_is_said(database_url: str) -> None:
    database = Database.connect(database_url, {"options": "-c default_transaction_read_only=on"}, "tests")
    with pytest.raises(DatabaseUnavailable, match="read-only"), database.transaction("enter the series") as tx:
        sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)
    database.close()
