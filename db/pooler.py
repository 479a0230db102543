"""Refuses a connection pooler that gives each transaction another session of the server.

Locks of a session, on which runs rely, then exclude nobody or never end, and what a session sets reaches other
programs of the same pool.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
from psycopg2.extensions import connection as Connection

from core.errors import DatabaseUnavailable

_ADVICE = (
    "Use a direct connection to the server, or a pool in session mode (pgbouncer: pool_mode = session; "
    "many providers have another port or host name for it)"
)


def refuse_shared_sessions(connection: Connection, connect_again: Callable[[], Connection], address: str) -> None:
    """Return when `connection` has a session of its own; sets and leaves nothing in any session.

    Raises DatabaseUnavailable for a pooler in transaction or statement mode. Costs one query without a pooler, and
    behind one a second connection for a moment.
    """
    try:
        number = _number(connection)
        connection.rollback()
        if number == connection.info.backend_pid:
            return  # a pooler reports a number of its own, because it hands out sessions later
        other = connect_again()
        try:
            is_shared = _shares(connection, other)
        finally:
            other.close()
    except psycopg2.Error as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DatabaseUnavailable(
            f"cannot use the connection to {address}: {said}. Where it goes through a pooler, that may have no three "
            f"sessions to spare, or be in statement mode. {_ADVICE}"
        ) from error
    if is_shared:
        raise DatabaseUnavailable(
            f"the connection to {address} goes through a pooler that gives each transaction another session, so that "
            f"locks would not hold. {_ADVICE}"
        )


def _shares(one: Connection, other: Connection) -> bool:
    """Whether `one`, which is between two transactions, loses its session to `other`.

    Tried with either of them released last: some poolers hand out the session that was used last, others the one
    that has rested longest.
    """
    seen = {_number(one)}
    one.rollback()
    if _number(other) in seen:
        return True
    for first, last in ((one, other), (other, one)):
        seen.add(_number(one))
        first.rollback()
        last.rollback()
        seen.add(_number(one))
        _number(other)
    one.rollback()
    return len(seen) > 1


def _number(connection: Connection) -> int:
    """Return the number of the session's server process; the transaction stays open."""
    with connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = 0; select pg_backend_pid()")
        [(pid,)] = cursor.fetchall()
    return int(pid)
