"""What a connection is opened with and what its session sets, whatever server, database and role are set to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from core.errors import DatabaseUnavailable, SeriesError, StatementRefused
from db.connection import Database
from db.locks import lock_schema
from db.session import connection_settings
from db.shared_weight import SharedWeight


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    connected = Database.connect(database_url, {}, "somebody else")
    yield connected
    connected.close()


def setting(database: Database, name: str) -> str:
    with database.transaction("look") as tx:
        tx.cursor.execute("select current_setting(%s)", (name,))
        [(value,)] = tx.cursor.fetchall()
    return str(value)


def wait_s(database: Database, seconds: float) -> None:
    """Let locks be waited for more shortly than by default, so that a test does not wait."""
    with database.transaction("prepare") as tx:
        tx.cursor.execute(f"set lock_timeout = '{round(seconds * 1000)}ms'")


def test_what_the_url_says_wins_over_the_defaults() -> None:
    url = "postgresql://u@db/x?connect_timeout=3&keepalives_idle=5&application_name=mine"
    settings = connection_settings(url, {}, "ohlcv")
    assert not {"connect_timeout", "keepalives_idle", "application_name"} & settings.keys()
    assert settings["keepalives_count"] == "6"
    assert settings["client_encoding"] == "UTF8"
    assert connection_settings(None, {"connect_timeout": "4"}, "ohlcv")["connect_timeout"] == "4"
    assert connection_settings("host=db connect_timeout=9", {}, "ohlcv").get("connect_timeout") is None


def test_the_server_knows_a_connection_by_the_name_in_its_url(database_url: str) -> None:
    named = Database.connect(f"{database_url}&application_name=of%20mine", {}, "ohlcv_data_fetcher")
    assert setting(named, "application_name") == "of mine"
    named.close()


def test_limits_of_database_and_role_do_not_end_a_long_statement(database: Database, database_url: str) -> None:
    name = database.address.rpartition("/")[2]
    with database.transaction("limit") as tx:
        for limit in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
            tx.cursor.execute(f"alter database {name} set {limit} = '300ms'")
    limited = Database.connect(database_url, {}, "tests")
    assert setting(limited, "lock_timeout") == "30s"
    with limited.transaction("take long") as tx:
        tx.cursor.execute("select pg_sleep(0.4)")
    time.sleep(0.4)
    assert setting(limited, "statement_timeout") == setting(limited, "idle_session_timeout") == "0"
    assert setting(limited, "jit") == "off"
    limited.close()


def test_a_session_that_stops_amid_a_transaction_is_ended_and_its_locks_are_free(
    database: Database, other: Database
) -> None:
    assert setting(database, "idle_in_transaction_session_timeout") == "10min"
    SharedWeight(database).reserve("spot", 1, 10, 100)
    with database.transaction("shorten that") as tx:
        tx.cursor.execute("set idle_in_transaction_session_timeout = '200ms'")
    ended = pytest.raises(DatabaseUnavailable, match="run again when the server is back")
    with ended, database.transaction("reserve") as tx:
        tx.cursor.execute("select * from public.ohlcv_weight for update")
        assert SharedWeight(other).reserve("spot", 1, 10, 100) == 10  # waits until the server has ended the session
        tx.cursor.execute("select 1")


def test_a_lock_of_somebody_else_ends_the_statement_and_not_the_run(database: Database, other: Database) -> None:
    with other.transaction("make a table") as tx:
        tx.cursor.execute("create table public.ohlcv_busy (time timestamptz)")
    wait_s(database, 0.1)
    with other.transaction("alter it") as tx:
        tx.cursor.execute("alter table public.ohlcv_busy add column note text")
        refused = pytest.raises(StatementRefused, match="55P03.*another session has locked it")
        with refused, database.transaction("read it") as busy:
            busy.cursor.execute("select max(time) from public.ohlcv_busy")
    assert setting(database, "timezone") == "UTC"  # the connection goes on


def test_a_statement_that_somebody_cancels_concerns_its_series_only(database: Database, other: Database) -> None:
    def cancel() -> None:
        with other.transaction("cancel") as tx:
            tx.cursor.execute("select pg_cancel_backend(pid) from pg_stat_activity where query like '%pg_sleep(30)'")

    timer = threading.Timer(0.3, cancel)
    timer.start()
    with pytest.raises(SeriesError, match="57014.*cancelled"), database.transaction("sleep") as tx:
        tx.cursor.execute("select pg_sleep(30)")
    timer.join()


def test_the_schema_lock_is_not_waited_for_without_end(database: Database, other: Database) -> None:
    wait_s(database, 0.1)
    with other.transaction("hold it") as held:
        lock_schema(held)
        with pytest.raises(StatementRefused) as refused, database.transaction("enter the series") as tx:
            lock_schema(tx)
    assert refused.value.exit_code == 6


def test_a_reservation_that_another_session_never_ends_is_an_error_with_a_name(
    database: Database, other: Database
) -> None:
    shared = SharedWeight(database)
    assert shared.reserve("spot", 1, 10, 100) == 10
    wait_s(database, 0.1)
    with other.transaction("die") as held:
        held.cursor.execute("select * from public.ohlcv_weight for update")
        with pytest.raises(DatabaseUnavailable, match="reserve request weight.*55P03"):
            shared.reserve("spot", 1, 10, 100)
    assert shared.reserve("spot", 1, 10, 100) == 10
