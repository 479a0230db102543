"""Advisory locks: one run at a time for each series, and one schema change at a time.

A lock belongs to a session or a transaction, so a run that is killed leaves none behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from db.connection import Transaction, fetch_one

# The first number of the lock key, an arbitrary constant; the second one is the id of the series.
_SERIES_LOCK_CLASS = 0x6F686C63
_SCHEMA_LOCK = 0x6F686C6376


def lock_schema(tx: Transaction) -> None:
    """Wait for the schema lock and hold it until the transaction ends: no other run changes the schema meanwhile.

    Raises StatementRefused, as every statement does, when another session holds it for too long.
    """
    tx.cursor.execute("select pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))


def wait_for_locks(tx: Transaction, seconds: float) -> None:
    """Let each statement of this transaction wait for a lock at most `seconds`, instead of what the session waits."""
    tx.cursor.execute("select set_config('lock_timeout', %s, true)", (f"{round(seconds * 1000)}ms",))


def try_lock_series(tx: Transaction, series_ids: Sequence[int]) -> set[int]:
    """Lock series for this session without waiting; return the ids of those that it now holds."""
    tx.cursor.execute(
        "select id from unnest(%s::integer[]) as wanted(id) where pg_try_advisory_lock(%s, id)",
        (list(series_ids), _SERIES_LOCK_CLASS),
    )
    return {series_id for (series_id,) in tx.cursor.fetchall()}


def try_lock_series_for_transaction(tx: Transaction, series_id: int) -> bool:
    """Lock the series until the transaction ends, without waiting; return whether that succeeded.

    For short writers such as a stream. The key is that of `try_lock_series`, so the two exclude each other.
    """
    tx.cursor.execute("select pg_try_advisory_xact_lock(%s, %s)", (_SERIES_LOCK_CLASS, series_id))
    return bool(fetch_one(tx)[0])


def try_lock_each_for_transaction(tx: Transaction, series_ids: Sequence[int]) -> set[int]:
    """Lock series until the transaction ends, without waiting; return the ids of those that it now holds."""
    tx.cursor.execute(
        "select id from unnest(%s::integer[]) as wanted(id) where pg_try_advisory_xact_lock(%s, id)",
        ([*series_ids], _SERIES_LOCK_CLASS),
    )
    return {series_id for (series_id,) in tx.cursor.fetchall()}


def unlock_series(tx: Transaction, series_ids: Sequence[int]) -> None:
    """Release locks that this session holds."""
    tx.cursor.execute(
        "select pg_advisory_unlock(%s, id) from unnest(%s::integer[]) as held(id)", (_SERIES_LOCK_CLASS, [*series_ids])
    )
