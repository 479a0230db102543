"""The database that tests share one after the other: none of them sees what another did."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from reused_database import ReusedDatabase
from servers import execute

from db.embedded import EmbeddedServer

_ROWS_AND_TABLES = (
    "insert into ohlcv_weight values ('spot', 1, 1)",
    "insert into ohlcv_external_changes (table_name) values (null)",  # is refused, and takes a number
    "create table btcusdt_1m (time timestamptz primary key, open numeric)",
    "create table shop.symbols (a int)",
    "create view ohlcv as select * from ohlcv_weight",
)
_ALTERED = {
    "a column": "alter table ohlcv_weight add column more int",
    "a table that was dropped": "drop table ohlcv_weight",
    "a right": "grant select on ohlcv_weight to public",
    "a function and a trigger": "create function f() returns trigger language plpgsql as 'begin return null; end';"
    "create trigger t after insert on ohlcv_weight for each row execute function f()",
    "a setting of the database": "alter database {name} set search_path = another",
    "rows that migrations made": "delete from ohlcv_migrations",
}


@pytest.fixture(scope="module")
def shared(pg_server: EmbeddedServer) -> Iterator[ReusedDatabase]:
    """A shared database with two tables of the kind that the project has, and a schema beside them."""
    execute(pg_server, "create database small")
    with psycopg2.connect(**pg_server.keywords("small")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "create table ohlcv_weight (pool text primary key, minute bigint, reserved int);"
            "create table ohlcv_external_changes"
            " (id bigint generated always as identity primary key, table_name text not null);"
            "create table ohlcv_migrations (number int primary key); insert into ohlcv_migrations values (1);"
            "create schema shop"
        )
    connection.close()
    database = ReusedDatabase(pg_server, "small")
    yield database
    database.drop()
    execute(pg_server, "drop database small with (force)")


def test_rows_and_tables_of_one_test_are_gone_in_the_next(shared: ReusedDatabase) -> None:
    with shared.lend() as url:
        before = _look(url)
    for deed in _ROWS_AND_TABLES:
        with shared.lend() as used:
            _do(used, deed)
        with shared.lend() as again:
            assert (again, _look(again)) == (url, before), deed


@pytest.mark.parametrize("deed", _ALTERED.values(), ids=_ALTERED)
def test_after_a_test_that_altered_our_tables_the_next_one_has_a_new_database(
    shared: ReusedDatabase, deed: str
) -> None:
    with shared.lend() as url:
        before = _look(url)
        _do(url, deed)
    with shared.lend() as again:
        assert again != url
        assert _look(again) == before


def test_sessions_that_were_left_are_ended(shared: ReusedDatabase) -> None:
    with shared.lend() as url:
        left = psycopg2.connect(url)
        left.cursor().execute("insert into ohlcv_weight values ('spot', 1, 1); lock table ohlcv_weight")
    with shared.lend() as again:
        assert again == url
        _do(again, "insert into ohlcv_weight values ('spot', 1, 1)")
    left.close()


def _do(url: str, deed: str) -> None:
    connection: Connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        connection.cursor().execute(deed.format(name=connection.info.dbname))
    except psycopg2.errors.NotNullViolation:
        pass  # it has taken a number all the same
    finally:
        connection.close()


def _look(url: str) -> list[object]:
    """Return the relations, columns, rights, settings, rows and next numbers that a test could see."""
    connection: Connection = psycopg2.connect(url)
    seen: list[object] = []
    with connection.cursor() as cursor:
        for statement in (
            "select relname, relacl, obj_description(oid) from pg_class where relnamespace::regnamespace::text"
            " !~ '^(pg_|information)' order by 1",
            "select attname from pg_attribute where attrelid = 'ohlcv_weight'::regclass and attnum > 0 order by 1",
            "select conname from pg_constraint where connamespace = 'public'::regnamespace order by 1",
            "select proname from pg_proc where pronamespace = 'public'::regnamespace",
            "select tgname from pg_trigger",
            "select nspname from pg_namespace where nspname !~ '^pg_' order by 1",
            "select datconnlimit, current_setting('search_path') from pg_database where datname = current_database()",
            "select * from public.ohlcv_weight",
            "select * from public.ohlcv_external_changes",
            "select * from public.ohlcv_migrations",
            "select nextval('public.ohlcv_external_changes_id_seq')",
        ):
            cursor.execute(statement)
            seen.append(cursor.fetchall())
    connection.rollback()
    connection.close()
    return seen
