"""A database of version 4, whose catalog was `public.symbols`: the catalog gets its own name, the list stays."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from stored_series import StoredSeries, addresses_of

from core.errors import DatabaseUnavailable, SeriesError
from core.ranges import Span, TimeRange
from core.series import Series, parse_series
from core.sources import AllowedSources
from core.times import MS_PER_HOUR, parse_time
from core.wanted import WantedSeries
from db.catalog import load_catalog
from db.connection import Database
from db.migrate import is_migrated, migrate
from db.symbols import load_symbols_from_db
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.gaps.checker import fill_missing
from logic.verify.undo import undo_repair
from logic.verify.verification import VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

DUMP = Path(__file__).parent / "upgrades" / "0004.sql"
BTC, ETH = parse_series("BTCUSDT/1h"), parse_series("um:ETHUSDT/4h")
NOW_MS = parse_time("2024-03-05T12:30")  # when the program of version 4 last ran
WHOLE = Span(parse_time("2024-03-01"), parse_time("2024-03-05T12:00"))
HALT = Span(parse_time("2024-03-02T05:00"), parse_time("2024-03-02T08:00"))
KEPT = ("ohlcv_btcusdt_1h", "ohlcv_um_ethusdt_4h", "ohlcv_gaps", "ohlcv_corrections", "ohlcv_weight", "fetch_clock")


@pytest.fixture
def old(empty_database_url: str) -> Iterator[Database]:
    connection = psycopg2.connect(empty_database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(DUMP.read_text(encoding="utf-8"))
    connection.close()
    connected = Database.connect(empty_database_url, {}, "tests")
    yield connected
    connected.close()


def query(database: Database, statement: str) -> list[tuple[object, ...]]:
    with database.transaction("query") as tx:
        tx.cursor.execute(statement)
        return tx.cursor.fetchall() if tx.cursor.description else []


def ids(database: Database) -> dict[Series, int]:
    with database.transaction("read") as tx:
        return {row.series: row.id for row in load_catalog(tx)}


def test_the_rows_of_the_catalog_stay_the_list_of_who_has_no_symbols_yml(old: Database) -> None:
    migrate(old)
    with old.transaction("read") as tx:
        found = load_symbols_from_db(tx, "1m")
    assert found.series == [
        WantedSeries(BTC, WHOLE.start_ms),
        WantedSeries(parse_series("SOLUSDT/1h"), WHOLE.start_ms),  # entered by hand, not run yet
        WantedSeries(ETH),
    ]
    assert len(found.unusable) == 1 and "7m" in found.unusable[0]
    assert query(old, "select symbol from public.symbols where not active") == [("DOGEUSDT",)]


def test_the_catalog_keeps_its_series_and_all_that_refers_to_them(old: Database) -> None:
    before = {name: query(old, f"select one::text from public.{name} as one order by 1") for name in KEPT}
    catalog = query(old, "select s::text from public.symbols as s where table_name is not null order by 1")
    ledger = query(old, "select id, series_id, span_start, content_hash from public.ohlcv_ledger order by id")
    migrate(old)
    assert {name: query(old, f"select one::text from public.{name} as one order by 1") for name in KEPT} == before
    assert query(old, "select s::text from public.ohlcv_series as s order by 1") == catalog
    assert query(old, "select id, series_id, span_start, content_hash from public.ohlcv_ledger order by id") == ledger
    assert set(ids(old)) == {BTC, ETH}
    assert query(old, "select count(*) from public.ohlcv") == [(len(before[KEPT[0]]) + len(before[KEPT[1]]),)]
    with pytest.raises(SeriesError, match="23503"):  # the ledger still refers to it
        query(old, "delete from public.ohlcv_series")


def test_names_and_constraints_are_those_of_a_new_database(old: Database, database: Database) -> None:
    own = "'ohlcv_series', 'symbols', 'ohlcv_migrations', 'ohlcv_ledger'"
    asked = (
        "select conname, pg_get_constraintdef(oid) from pg_constraint"
        f" where conrelid::regclass::text in ({own}) order by 1, 2",
        f"select indexname, indexdef from pg_indexes where tablename in ({own}) order by 1",
        f"select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns"
        f" where table_name in ({own}) order by 1, 2",
        "select relname from pg_class where relkind = 'S' order by 1",
        f"select relname, obj_description(oid, 'pg_class') from pg_class where relname in ({own}) order by 1",
    )
    migrate(old)
    for one in asked:
        assert query(old, one) == query(database, one), one
    [(mark,)] = query(old, "select obj_description('public.ohlcv'::regclass, 'pg_class')")
    assert str(mark).startswith("OHLCV Data Fetcher: ")


def test_views_of_others_on_the_old_catalog_go_on_working(old: Database) -> None:
    query(old, "create schema reports; create view reports.mine as select symbol, table_name from public.symbols")
    before = query(old, "select * from reports.mine where table_name is not null order by 1")
    migrate(old)
    assert query(old, "select * from reports.mine order by 1") == before


def test_symbols_of_others_beside_it_are_left_alone(old: Database, empty_database_url: str) -> None:
    """In another schema, which the role looks through first: names without a schema would hit it."""
    query(old, "create schema trading; create table trading.symbols (id serial primary key, symbol text)")
    query(old, "insert into trading.symbols (symbol) values ('AAPL')")
    described = "select pg_class::text from pg_class where relnamespace = 'trading'::regnamespace order by 1"
    before = query(old, described)
    connected = Database.connect(empty_database_url, {"options": "-c search_path=trading,public"}, "tests")
    migrate(connected)
    connected.close()
    assert query(old, described) == before
    assert query(old, "select symbol from trading.symbols") == [("AAPL",)]
    assert set(ids(old)) == {BTC, ETH}


def test_symbols_of_others_in_the_place_of_a_lost_catalog_are_not_taken_for_it(old: Database) -> None:
    query(old, "drop table public.symbols cascade; create table public.symbols (id serial primary key, symbol text)")
    query(old, "insert into public.symbols (symbol) values ('AAPL')")
    with pytest.raises(DatabaseUnavailable, match=r"the catalog is gone.*When one of them is gone"):
        migrate(old)
    assert query(old, "select * from public.symbols") == [(1, "AAPL")]
    assert query(old, "select pg_get_serial_sequence('public.symbols', 'id')") == [("public.symbols_id_seq",)]
    assert query(old, "select max(version) from public.ohlcv_migrations") == [(4,)]


def test_a_table_of_others_with_the_catalogs_new_name_is_said_and_nothing_changed(old: Database) -> None:
    query(old, "create table public.ohlcv_series (mine integer)")
    with pytest.raises(DatabaseUnavailable, match=r"ohlcv_series.*42P07.*a database of its own") as refused:
        migrate(old)
    assert "made anew" not in str(refused.value)
    assert query(old, "select count(*) from public.symbols") == [(5,)]
    assert query(old, "select max(version) from public.ohlcv_migrations") == [(4,)]


@pytest.fixture
def stored(old: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    """BTC in the upgraded database, beside the exchange two hours later."""
    migrate(old)
    span = Span(WHOLE.start_ms, WHOLE.end_ms + 2 * MS_PER_HOUR)
    store = CandleStore()
    store.add(BTC, generate_series(BTC, span, 4, halts=(HALT,)))
    with ReplayExchange(store, ReplayClock(NOW_MS + 2 * MS_PER_HOUR, speed=0.0)) as replay:
        addresses = addresses_of(replay, tmp_path)
        exchange = BinanceExchange(addresses, lambda _seconds: None, replay.clock.now_ms)
        yield StoredSeries(old, replay, addresses, exchange, BTC, span, ids(old)[BTC])


def test_backfill_check_heal_and_verify_go_on_where_version_4_stopped(stored: StoredSeries) -> None:
    result = stored.backfill()
    assert (result.outcome, result.saved.inserted, result.saved.conflicts) == ("ok", 2, 0)
    checked = stored.check()
    assert (checked.stored, checked.missing, checked.not_at_exchange) == (107 - 2, 2, 3)
    assert fill_missing(stored.recheck(), [stored.span]).healed == 2
    assert stored.check().is_complete
    assert stored.rows() == stored.truth()
    stored.begin_run()
    options = VerifyOptions("verify", AllowedSources.REST, True, False, None, None, TimeRange())
    now_ms = stored.replay.clock.now_ms
    [verified] = run_verify(
        stored.database, stored.exchange, [stored.catalog_row()], options, now_ms, VerifyObserver()
    ).results
    assert (verified.exit_code, verified.repaired) == (0, 0)


def test_a_repair_of_version_4_can_be_undone(stored: StoredSeries) -> None:
    [undone] = undo_repair(stored.database, "20240305-verify", "undo", stored.replay.clock.now_ms)
    assert (undone.put_back, undone.corrections) == (1, 1)
    assert len([row for row in stored.rows() if row not in stored.truth()]) == 1


def test_nothing_is_said_of_others_where_there_are_none(old: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        migrate(old)
    assert caplog.records == []
    with old.transaction("look") as tx:
        assert is_migrated(tx)
