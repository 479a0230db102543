from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from db.connection import Database
from db.locks import try_lock_series, try_lock_series_for_transaction, unlock_series


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    connected = Database.connect(database_url, {}, "another run")
    yield connected
    connected.close()


def locked_by(database: Database, *series_ids: int) -> set[int]:
    with database.transaction("lock") as tx:
        return try_lock_series(tx, series_ids)


def is_free_for(database: Database, series_id: int) -> bool:
    with database.transaction("lock for a moment") as tx:
        return try_lock_series_for_transaction(tx, series_id)


def test_a_lock_of_a_session_outlives_its_transaction_until_it_is_given_back(
    database: Database, other: Database
) -> None:
    assert locked_by(database, 1, 2) == {1, 2}
    assert locked_by(other, 1, 2, 3) == {3}
    with database.transaction("unlock") as tx:
        unlock_series(tx, [1])
    assert locked_by(other, 1, 2) == {1}


def test_several_locks_are_given_back_at_once(database: Database, other: Database) -> None:
    locked_by(database, 1, 2, 3)
    with database.transaction("unlock") as tx:
        unlock_series(tx, [1, 3])
    assert [is_free_for(other, one) for one in (1, 2, 3)] == [True, False, True]


def test_a_lock_for_a_transaction_is_refused_while_a_session_holds_the_series(
    database: Database, other: Database
) -> None:
    locked_by(database, 1)
    assert not is_free_for(other, 1)
    assert is_free_for(other, 2)
    database.close()  # its locks go with it
    deadline = time.monotonic() + 30
    while not is_free_for(other, 1):  # the server ends the session a moment later
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lock_for_a_transaction_keeps_sessions_and_transactions_out_until_it_ends(
    database: Database, other: Database
) -> None:
    with database.transaction("commit a candle") as tx:
        assert try_lock_series_for_transaction(tx, 1)
        assert locked_by(other, 1, 2) == {2}
        assert not is_free_for(other, 1)
    assert is_free_for(other, 1)
    assert locked_by(other, 1) == {1}


def test_a_lock_for_a_transaction_ends_with_one_that_is_rolled_back(database: Database, other: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction("fail") as tx:
        assert try_lock_series_for_transaction(tx, 1)
        raise RuntimeError("something else")
    assert is_free_for(other, 1)


def test_a_session_that_holds_a_series_may_lock_it_for_a_transaction_too(database: Database, other: Database) -> None:
    locked_by(database, 1)
    assert is_free_for(database, 1)
    assert not is_free_for(other, 1)
