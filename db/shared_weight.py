"""`public.ohlcv_weight`: one budget of request weight for all runs that share a database, and its limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import DatabaseUnavailable, StatementRefused
from db.connection import Database, Transaction, fetch_one


class SharedWeight:
    """Reserves weight through its own database connection (fetcher.source.SharedBudget). Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()  # one transaction at a time on the connection

    def reserve(self, pool: str, minute: int, wanted: int, allowed: int) -> int:
        """Return how much of `wanted` this run may use in `minute`; all runs together get at most `allowed`.

        `minute` counts from the epoch, by the exchange's clock. Raises DatabaseUnavailable.
        """
        with self._transaction("reserve request weight") as tx:
            return reserve_weight(tx, pool, minute, wanted, allowed)

    def published_limit(self, pool: str) -> int | None:
        """Return the limit per minute that an earlier run was told, or None. Raises DatabaseUnavailable."""
        with self._transaction("read the last published weight limit") as tx:
            tx.cursor.execute("select published_limit from public.ohlcv_weight where pool = %s", (pool,))
            row: tuple[int | None] | None = tx.cursor.fetchone()
            return None if row is None else row[0]

    def keep_limit(self, pool: str, limit: int) -> None:
        """Keep the limit per minute that the exchange publishes, for later runs. Raises DatabaseUnavailable."""
        with self._transaction("keep the published weight limit") as tx:
            tx.cursor.execute(
                "insert into public.ohlcv_weight (pool, minute, reserved, published_limit) values (%s, 0, 0, %s)"
                " on conflict (pool) do update set published_limit = excluded.published_limit",
                (pool, limit),
            )

    @contextmanager
    def _transaction(self, purpose: str) -> Iterator[Transaction]:
        try:
            with self._lock, self._database.transaction(purpose) as tx:
                yield tx
        except StatementRefused as error:  # concerns every series
            raise DatabaseUnavailable(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


def reserve_weight(tx: Transaction, pool: str, minute: int, wanted: int, allowed: int) -> int:
    """Reserve up to `wanted` of what is left of `allowed` in `minute` (since the epoch, by the exchange's clock).

    Return the weight granted. A request heavier than the whole budget is granted when nothing else is reserved.
    """
    tx.cursor.execute(
        "insert into public.ohlcv_weight values (%s, %s, 0) on conflict (pool) do nothing; "
        "select minute, reserved from public.ohlcv_weight where pool = %s for update",
        (pool, minute, pool),
    )
    known_minute, reserved = fetch_one(tx)
    if known_minute == minute + 1:
        return 0  # by the clock of another run the next minute has begun
    if known_minute != minute:  # an older minute, or one from a clock that was never set to the exchange's
        reserved = 0
    granted = wanted if reserved == 0 else max(0, min(wanted, allowed - reserved))
    tx.cursor.execute(
        "update public.ohlcv_weight set minute = %s, reserved = %s where pool = %s", (minute, reserved + granted, pool)
    )
    return granted
