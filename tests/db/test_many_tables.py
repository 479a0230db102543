"""Thousands of tables on a server with room for few locks: how many are held at once, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2
import pytest
from servers import HAS_TIMESCALE

from core.errors import SeriesError
from core.series import parse_series
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import sync_symbols
from db.connection import Database, Transaction, fetch_one
from db.many_tables import TABLES_AT_ONCE, read_many
from db.operations import get_last_timestamp
from db.schema import create_table_if_not_exists

TABLES = [f"ohlcv_t{number}" for number in range(2 * TABLES_AT_ONCE + 50)]


@pytest.fixture
def many(database: Database) -> Database:
    with database.transaction("make many tables") as tx:
        tx.cursor.execute("; ".join(f"create table public.{name} (time timestamptz primary key)" for name in TABLES))
        tx.cursor.execute(f"insert into public.{TABLES[7]} values ('2024-01-01Z')")
    return database


def test_few_tables_are_locked_at_a_time(many: Database) -> None:
    held = []

    def read(tx: Transaction, tables: Sequence[str]) -> dict[str, int | None]:
        found = get_last_timestamp(tx, tables)
        tx.cursor.execute("select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'relation'")
        held.append(fetch_one(tx)[0])
        return found

    newest, unreadable = read_many(many, TABLES, read)
    assert newest == {name: 1_704_067_200_000 if name == TABLES[7] else None for name in TABLES}
    assert not unreadable
    assert len(held) == 3 and max(held) <= 2 * TABLES_AT_ONCE + 10


def test_a_locked_and_a_missing_table_are_told_and_the_others_read(
    many: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.many_tables._TOGETHER_S", 0.2)
    monkeypatch.setattr("db.many_tables._ALONE_S", 0.1)
    connection = psycopg2.connect(database_url)
    try:
        connection.cursor().execute(f"lock table public.{TABLES[3]}")
        newest, unreadable = read_many(many, [*TABLES, "ohlcv_gone"], get_last_timestamp)
    finally:
        connection.close()
    assert {name: type(error) for name, error in unreadable.items()}.keys() == {TABLES[3], "ohlcv_gone"}
    assert all(isinstance(error, SeriesError) for error in unreadable.values())
    assert newest.keys() == set(TABLES) - {TABLES[3]}


def test_a_view_of_more_tables_than_the_server_has_room_for_stays_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = parse_series("BTCUSDT"), parse_series("ETHUSDT")
    with database.transaction("prepare") as tx:
        sync_symbols(tx, [WantedSeries(one), WantedSeries(other)], replaces_catalog=True)
        create_table_if_not_exists(tx, one, timescale=HAS_TIMESCALE, compress_after_days=0)
        assert refresh_all_series_view(tx)
        create_table_if_not_exists(tx, other, timescale=HAS_TIMESCALE, compress_after_days=0)
        tx.cursor.execute("select current_setting('max_locks_per_transaction')::integer")
        [(each,)] = tx.cursor.fetchall()
        tx.cursor.execute("select current_setting('max_connections')::integer")
        [(sessions,)] = tx.cursor.fetchall()
    monkeypatch.setattr("db.all_series_view._LOCKS_A_TABLE", each * sessions // 2 + 1)  # as if there were thousands
    expected = rf"raise max_locks_per_transaction from {each} to {each + 1}"
    with pytest.raises(SeriesError, match=expected), database.transaction("refresh") as tx:
        refresh_all_series_view(tx)
    with database.transaction("read") as tx:
        tx.cursor.execute("select distinct symbol from public.ohlcv")  # as it was: no error
