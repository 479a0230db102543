"""The one door to PostgreSQL: connects, runs transactions, translates driver errors at the edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import NamedTupleCursor

from core.errors import DatabaseUnavailable, FetcherError, SeriesError

MIN_SERVER_VERSION = 140_000  # range_agg and multiranges came with PostgreSQL 14

# SQLSTATE classes (PostgreSQL manual, appendix A) after which no other series can work either:
# connection, authorization, no such database, resources, operator intervention, system, internal.
_FATAL_CLASSES = frozenset({"08", "28", "3D", "53", "57", "58", "XX"})
_HINTS = {
    "42501": "grant the user CREATE and USAGE on schema public, or let it own the tables",
    "25006": "the database is read-only: use the primary server, or end its recovery or read-only mode",
    "53100": "the server's disk is full: make room there, then run again",
}

# A server whose machine has gone says nothing; without these the run would wait for it for hours.
_NOTICE_A_LOST_SERVER = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "90000",  # ms; where the system has it
}
# These hold every symbol. Another encoding lacks letters of some (docs/binance.md, Symbols with odd letters).
_USABLE_ENCODINGS = ("UTF8", "SQL_ASCII")


class Transaction:
    """A transaction under way, handed from function to function. Only `db/` asks it for its cursor."""

    __slots__ = ("cursor",)

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor


class Database:
    """One connection. Sessions run in UTC with ISO dates, whatever the server's own settings are."""

    def __init__(self, connection: Connection, address: str) -> None:
        self._connection = connection
        self.address = address  # host, port and name, without user or password

    @classmethod
    def connect(cls, url: str | None, keywords: Mapping[str, str], application_name: str) -> Database:
        """Connect by URL or by libpq keywords. Raises DatabaseUnavailable."""
        settings: dict[str, Any] = {
            "connect_timeout": "10",
            "application_name": application_name,
            "client_encoding": "UTF8",
            **_NOTICE_A_LOST_SERVER,
        }
        try:
            connection = psycopg2.connect(url or "", **{**settings, **keywords})
        except (psycopg2.Error, ValueError) as error:  # ValueError: a NUL in a setting
            # The driver's message may quote the URL: callers print it through the log's secret filter.
            raise DatabaseUnavailable(
                f"cannot connect to the database: {_first_line(error)}. "
                "Check DATABASE_URL or PG_*, and that the server is running"
            ) from error
        info = connection.info
        database = cls(connection, f"{info.host or 'local socket'}:{info.port}/{info.dbname}")
        try:
            if info.server_version < MIN_SERVER_VERSION:
                raise DatabaseUnavailable(
                    f"PostgreSQL at {database.address} is version {info.server_version // 10000}; 14 or newer is needed"
                )
            with database.transaction("set up the session") as tx:
                tx.cursor.execute(
                    "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres';"
                    " set default_transaction_isolation = 'read committed'"
                )
            encoding = info.parameter_status("server_encoding")
            if encoding not in _USABLE_ENCODINGS:
                raise DatabaseUnavailable(
                    f"the database at {database.address} has the encoding {encoding}, which cannot hold every symbol "
                    "of the exchange; create one with: create database NAME encoding 'UTF8' template template0"
                )
        except FetcherError:
            connection.close()
            raise
        return database

    @contextmanager
    def transaction(self, doing: str) -> Iterator[Transaction]:
        """Yield a transaction; commit at the end, roll back on any error.

        `doing` completes "cannot …" in messages. Raises DatabaseUnavailable when nothing can work
        any more, SeriesError when only this statement's table is unusable.
        """
        try:
            with self._connection, self._connection.cursor() as cursor:
                yield Transaction(cursor)
        except psycopg2.Error as error:
            raise self._translated(error, doing) from error

    @contextmanager
    def commits_in_background(self) -> Iterator[None]:
        """Let the commits inside not wait for the disk; at the end, wait until all of them are safe there.

        A crash of the server meanwhile can lose the last of them, each whole: candles and the ledger row that
        vouches for them go together, so the next run fetches them again (PostgreSQL manual, "Asynchronous Commit").
        Raises DatabaseUnavailable when the end cannot be confirmed.
        """
        with self.transaction("set up the session") as tx:
            tx.cursor.execute("set synchronous_commit = off")
        try:
            yield
        finally:
            if not self._connection.closed:
                with self.transaction("make the commits safe") as tx:
                    tx.cursor.execute("reset synchronous_commit")
                    # A commit that writes waits for the log of all commits before it; this one writes a note there.
                    tx.cursor.execute("select pg_logical_emit_message(true, 'ohlcv', 'run ends')")

    def cancel(self) -> None:
        """End the statement under way, if any; from another thread. The server rolls its transaction back."""
        with suppress(psycopg2.Error):  # the connection is closed, or the server cannot be reached
            self._connection.cancel()

    def close(self) -> None:
        """Close the connection; advisory locks go with it."""
        self._connection.close()

    def _translated(self, error: psycopg2.Error, doing: str) -> FetcherError:
        code = error.pgcode or ""
        hint = f"; {_HINTS[code]}" if code in _HINTS else ""
        message = f"cannot {doing} in {self.address}: {_first_line(error)} (SQLSTATE {code or 'none'}){hint}"
        lost = bool(self._connection.closed) or isinstance(error, psycopg2.InterfaceError) or not code
        if lost:
            message += "; what was committed stays, run again when the server is back"
        if lost or code[:2] in _FATAL_CLASSES or code in _HINTS:
            return DatabaseUnavailable(message)
        return SeriesError(message)


def read_one_moment(tx: Transaction) -> None:
    """Let the transaction, of which this is the first statement, see one moment of the database and change nothing.

    Several queries then add up although a run commits between them.
    """
    tx.cursor.execute("set transaction isolation level repeatable read, read only")


def named_rows(tx: Transaction, query: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
    """Return the rows of a query whose columns are read by name: for wide rows, where an order would be mistaken."""
    with tx.cursor.connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(query, parameters)  # type: ignore[no-untyped-call]
        return list(cursor.fetchall())


def fetch_one(tx: Transaction) -> tuple[Any, ...]:
    """Return the row of a query that always has one."""
    row = tx.cursor.fetchone()
    if row is None:
        raise DatabaseUnavailable("the database returned no row where one was certain")
    return row


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
