"""Reads of many candle tables so that few of them are locked at a time, and one that is in use holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from core.errors import SeriesError
from db.connection import Database, Transaction
from db.locks import wait_for_locks

# A transaction keeps the locks of all that it has read, two a plain table, and the server has room for only
# max_locks_per_transaction (64) times max_connections of them, for all its users together.
TABLES_AT_ONCE = 100
# Together, then each alone: what is used for longer is left for the next run.
_TOGETHER_S, _ALONE_S = 5.0, 1.0

Value = TypeVar("Value")


def read_many(
    database: Database,
    tables: Sequence[str],
    read: Callable[[Transaction, Sequence[str]], dict[str, Value]],
) -> tuple[dict[str, Value], dict[str, SeriesError]]:
    """Return what `read` finds by table, and by table the errors of those that cannot be read now.

    Raises DatabaseUnavailable.
    """
    found: dict[str, Value] = {}
    unreadable: dict[str, SeriesError] = {}

    def read_together(some: Sequence[str], wait_s: float) -> None:
        with database.transaction("read several candle tables") as tx:
            wait_for_locks(tx, wait_s)
            found.update(read(tx, some))

    for first in range(0, len(tables), TABLES_AT_ONCE):
        some = tables[first : first + TABLES_AT_ONCE]
        try:
            read_together(some, _TOGETHER_S)
        except SeriesError:
            for table in some:
                try:
                    read_together([table], _ALONE_S)
                except SeriesError as error:
                    unreadable[table] = error
    return found, unreadable
