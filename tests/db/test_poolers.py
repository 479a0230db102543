"""Behind a real pgbouncer: a pool in session mode works, any other is refused, other programs' sessions stay."""

from __future__ import annotations

import time

import pytest
from pooler import ask, needs_pgbouncer, pgbouncer

from core.errors import DatabaseUnavailable
from db.connection import Database
from db.embedded import EmbeddedServer
from db.locks import try_lock_series

pytestmark = needs_pgbouncer

# What a session of this program sets, as another program of the same pool sees it.
SEEN = """select current_setting('timezone'), current_setting('statement_timeout'), current_setting('lock_timeout'),
    current_setting('default_transaction_isolation'), current_setting('synchronous_commit'),
    (select count(*) from pg_locks where locktype = 'advisory')"""
AS_OTHERS_WANT_IT = "alter database {0} set timezone = 'Asia/Tokyo'; alter database {0} set statement_timeout = '7s'"


def name_in(url: str) -> str:
    return url.split("@/")[1].split("?")[0]


@pytest.mark.parametrize("round_robin", [False, True], ids=["last used first", "round robin"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_pool_in_transaction_mode_is_refused_at_once_and_left_as_it_was(
    pg_server: EmbeddedServer, database_url: str, size: int, round_robin: bool
) -> None:
    name = name_in(database_url)
    direct = Database.connect(database_url, {}, "tests")
    with direct.transaction("prepare") as tx:
        tx.cursor.execute(AS_OTHERS_WANT_IT.format(name))
    with pgbouncer(pg_server, "transaction", size, round_robin) as where:
        address = {**where, "dbname": name}
        before = ask(address, SEEN)
        with pytest.raises(DatabaseUnavailable, match="gives each transaction another session.*session mode"):
            Database.connect(None, address, "tests")
        assert [ask(address, SEEN) for _ in range(size + 1)] == [before] * (size + 1)
    direct.close()


def test_a_pool_in_transaction_mode_is_refused_while_others_use_it(
    pg_server: EmbeddedServer, database_url: str
) -> None:
    with pgbouncer(pg_server, "transaction", 4) as where:
        address = {**where, "dbname": name_in(database_url)}
        ask(address, "select 1")
        for _ in range(5):
            with pytest.raises(DatabaseUnavailable, match="gives each transaction another session"):
                Database.connect(None, address, "tests")
            ask(address, "select count(*) from pg_class")


def test_a_pool_in_statement_mode_is_refused(pg_server: EmbeddedServer, database_url: str) -> None:
    refused = pytest.raises(DatabaseUnavailable, match=r"statement mode\. Use a direct connection")
    with pgbouncer(pg_server, "statement") as where, refused:
        Database.connect(None, {**where, "dbname": name_in(database_url)}, "tests")


@pytest.mark.parametrize("round_robin", [False, True], ids=["last used first", "round robin"])
def test_a_pool_in_session_mode_gives_locks_that_hold_and_end(
    pg_server: EmbeddedServer, database_url: str, round_robin: bool
) -> None:
    with pgbouncer(pg_server, "session", round_robin=round_robin) as where:
        address = {**where, "dbname": name_in(database_url)}
        before = ask(address, SEEN)
        one, other = (Database.connect(None, address, "tests") for _ in range(2))
        with one.transaction("lock") as tx:
            assert try_lock_series(tx, [1, 2]) == {1, 2}
        with other.transaction("lock") as tx:
            assert try_lock_series(tx, [1, 2, 3]) == {3}
        with one.commits_in_background(), one.transaction("write") as tx:
            tx.cursor.execute("create table public.of_mine (id integer)")
        one.close()
        other.close()
        until = time.monotonic() + 20
        while ask(address, SEEN) != before:  # the pooler cleans the sessions a moment later
            assert time.monotonic() < until
            time.sleep(0.02)
        assert [ask(address, SEEN) for _ in range(6)] == [before] * 6
