"""A database in which others live: what is theirs is never changed, and what is needed and taken is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from servers import HAS_TIMESCALE

from core.errors import DatabaseUnavailable, StatementRefused
from core.series import parse_series
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import sync_symbols
from db.connection import Database, Transaction
from db.migrate import OWN_TABLES, is_migrated, migrate
from db.neighbours import OWN_MARK, find_marked
from db.schema import create_table_if_not_exists

THEIRS = "create table public.symbols (symbol text primary key, price numeric, id serial)"


@pytest.fixture
def shared(empty_database_url: str) -> Iterator[Database]:
    """A database in which nothing of this program is."""
    connected = Database.connect(empty_database_url, {}, "tests")
    yield connected
    connected.close()


def query(database: Database, statement: str) -> list[tuple[object, ...]]:
    with database.transaction("query") as tx:
        tx.cursor.execute(statement)
        return tx.cursor.fetchall() if tx.cursor.description else []


def everything(database: Database) -> list[tuple[object, ...]]:
    """Return every relation and type of the schema, with the row of the system catalog that describes it."""
    return query(
        database,
        "select relname::text, pg_class::text, obj_description(oid, 'pg_class') from pg_class"
        " where relnamespace = 'public'::regnamespace order by 1, 2",
    )


def test_everything_that_is_made_carries_the_mark(database: Database) -> None:
    with database.transaction("look") as tx:
        tx.cursor.execute("select tablename::text from pg_tables where schemaname = 'public'")
        tables = {name for (name,) in tx.cursor.fetchall()}
        assert tables == {*OWN_TABLES, "symbols"}
        assert find_marked(tx, [*tables]) == dict.fromkeys(tables, True)
        tx.cursor.execute(
            "select proname, obj_description(oid, 'pg_proc') from pg_proc where pronamespace = 'public'::regnamespace"
            " and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')"  # an extension's own
        )
        assert all(comment.startswith(OWN_MARK) for _, comment in tx.cursor.fetchall())


@pytest.mark.parametrize(
    "statement",
    [
        THEIRS,
        "create table public.symbols (ticker text)",
        "create view public.symbols as select 'AAPL'::text as symbol",
        "create materialized view public.symbols as select 'AAPL'::text as symbol",
    ],
)
def test_symbols_of_others_are_left_alone_and_said(
    shared: Database, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    query(shared, statement)
    before = everything(shared)
    with caplog.at_level(logging.WARNING):
        migrate(shared)
    assert [row for row in everything(shared) if row in before] == before
    [said] = [record.message for record in caplog.records]
    assert said.startswith("public.symbols is not this program's and stays as it is")
    with shared.transaction("look") as tx:
        assert is_migrated(tx)


def test_where_all_is_ours_nothing_is_said(shared: Database, caplog: pytest.LogCaptureFixture) -> None:
    query(shared, "create table public.orders (id integer); create table public.symbol (symbol text)")
    with caplog.at_level(logging.WARNING):
        migrate(shared)
    assert caplog.records == []


@pytest.mark.parametrize("name", OWN_TABLES)
@pytest.mark.parametrize("kind", ["table", "view"])
def test_a_name_that_is_needed_and_taken_is_refused_before_anything_is_made(
    shared: Database, name: str, kind: str
) -> None:
    statement = f"create table public.{name} (mine integer)" if kind == "table" else f"create view {name} as select 1"
    query(shared, statement)
    before = everything(shared)
    with pytest.raises(DatabaseUnavailable) as refused:
        migrate(shared)
    said = str(refused.value)
    assert f"public.{name} in " in said and "is not this program's" in said and "a database of its own" in said
    assert "drop" not in said and "made anew" not in said
    assert everything(shared) == before
    with shared.transaction("look") as tx:
        assert not is_migrated(tx)  # check and status: nothing of ours is stored here


COLUMNS = "'x'::text as market, 'y'::text as symbol, '1m'::text as \"interval\", now() as time, 1::numeric as open"


@pytest.mark.parametrize(
    "statement",
    [
        "create table public.ohlcv (mine integer)",
        f"create view public.ohlcv as select {COLUMNS}",  # which could be replaced
        "create materialized view public.ohlcv as select 1 as one",
    ],
)
def test_an_ohlcv_of_others_is_left_alone_and_said(
    shared: Database, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    query(shared, statement)
    before = everything(shared)
    with caplog.at_level(logging.WARNING):
        migrate(shared)
    [said] = [record.message for record in caplog.records]
    assert said.startswith("public.ohlcv is not this program's and stays as it is")
    with pytest.raises(StatementRefused, match="another program's"), shared.transaction("refresh the view") as tx:
        enter_candles(tx)
        refresh_all_series_view(tx)
    assert [row for row in everything(shared) if row in before] == before


def test_the_view_that_is_made_carries_the_mark_and_is_kept_up_to_date(database: Database) -> None:
    with database.transaction("make") as tx:
        enter_candles(tx)
        assert refresh_all_series_view(tx)
        assert find_marked(tx, ["ohlcv"]) == {"ohlcv": True}
        enter_candles(tx, "ETHUSDT")
        assert refresh_all_series_view(tx)


def enter_candles(tx: Transaction, symbol: str = "BTCUSDT") -> None:
    series = parse_series(symbol)
    sync_symbols(tx, [WantedSeries(series)], replaces_catalog=False)
    create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)


def test_a_name_that_is_taken_when_an_upgrade_needs_it_is_refused(shared: Database) -> None:
    query(shared, "create function public.ohlcv_note_external_change() returns trigger language plpgsql as 'begin end'")
    with pytest.raises(DatabaseUnavailable, match=r"42723.*a database of its own") as refused:
        migrate(shared)
    assert "made anew" not in str(refused.value)
    assert query(shared, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == [(0,)]


def test_roles_that_may_change_new_tables_by_default_are_named(
    shared: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """As on hosted services that offer the schema public over an API of their own."""
    query(shared, "drop role if exists web_visitor; create role web_visitor")
    query(shared, "alter default privileges in schema public grant select on tables to public")  # reading is no harm
    query(shared, "alter default privileges in schema public grant all on tables to web_visitor")
    try:
        with caplog.at_level(logging.WARNING):
            migrate(shared)
    finally:
        query(shared, "drop owned by web_visitor; drop role web_visitor")
        query(shared, "alter default privileges in schema public revoke select on tables from public")
    [said] = [record.message for record in caplog.records]
    assert "may be changed by web_visitor too" in said and "Security" in said
