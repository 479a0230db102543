"""One run at a time per database and series, and one change of the schema at a time, by advisory locks.

The locks belong to the session or transaction: a run that is killed leaves none behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from db.connection import Transaction, fetch_one

# First half of the two-number advisory lock key; any constant will do, the second half is the series' id.
_SERIES_LOCK_CLASS = 0x6F686C63
_SCHEMA_LOCK = 0x6F686C6376


def lock_schema(tx: Transaction) -> None:
    """Wait until no other run changes extension, project tables or view; hold that until the transaction ends."""
    tx.cursor.execute("select pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))


def try_lock_series(tx: Transaction, series_ids: Sequence[int]) -> set[int]:
    """Return those of `series_ids` whose lock this session now holds; never waits."""
    tx.cursor.execute(
        "select id from unnest(%s::integer[]) as wanted(id) where pg_try_advisory_lock(%s, id)",
        (list(series_ids), _SERIES_LOCK_CLASS),
    )
    return {series_id for (series_id,) in tx.cursor.fetchall()}


def try_lock_series_for_transaction(tx: Transaction, series_id: int) -> bool:
    """Whether this transaction now holds the series' lock, until it ends; never waits.

    For writers that come and go, such as a stream: the key is that of `try_lock_series`, so the two exclude each other.
    """
    tx.cursor.execute("select pg_try_advisory_xact_lock(%s, %s)", (_SERIES_LOCK_CLASS, series_id))
    return bool(fetch_one(tx)[0])


def unlock_series(tx: Transaction, series_ids: Sequence[int]) -> None:
    """Give back locks that this session holds."""
    tx.cursor.execute(
        "select pg_advisory_unlock(%s, id) from unnest(%s::integer[]) as held(id)", (_SERIES_LOCK_CLASS, [*series_ids])
    )
