"""`public.ohlcv_weight`: one request-weight budget for all runs that share a database."""

from __future__ import annotations

import threading

from db.connection import Database, Transaction, fetch_one


class SharedWeight:
    """Reserves weight over a connection of its own, which it closes. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()  # one transaction at a time on the connection

    def reserve(self, pool: str, minute: int, wanted: int, allowed: int) -> int:
        """Return how much of `wanted` may be used in `minute`; all runs together get at most `allowed`.

        Raises DatabaseUnavailable.
        """
        with self._lock, self._database.transaction("reserve request weight") as tx:
            return reserve_weight(tx, pool, minute, wanted, allowed)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


def reserve_weight(tx: Transaction, pool: str, minute: int, wanted: int, allowed: int) -> int:
    """Take up to `wanted` of what is left of `allowed` in `minute` (since the epoch, by the exchange's clock).

    A request heavier than the whole budget gets its weight when nobody has taken any: it goes alone.
    """
    tx.cursor.execute(
        "insert into public.ohlcv_weight values (%s, %s, 0) on conflict (pool) do nothing; "
        "select minute, reserved from public.ohlcv_weight where pool = %s for update",
        (pool, minute, pool),
    )
    known_minute, reserved = fetch_one(tx)
    if known_minute == minute + 1:
        return 0  # by the clock of another run the minute has turned already
    if known_minute != minute:  # long ago, or by a clock that is none of this exchange's
        reserved = 0
    granted = wanted if reserved == 0 else max(0, min(wanted, allowed - reserved))
    tx.cursor.execute(
        "update public.ohlcv_weight set minute = %s, reserved = %s where pool = %s", (minute, reserved + granted, pool)
    )
    return granted
