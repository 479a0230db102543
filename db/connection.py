"""Connects to PostgreSQL, runs transactions and turns driver errors into the project's own errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import NamedTupleCursor

from core.errors import DatabaseUnavailable, FetcherError, SeriesError, StatementRefused
from db.pooler import refuse_shared_sessions
from db.session import connection_settings, session_statement

MIN_SERVER_VERSION = 140_000  # range_agg and multiranges came with PostgreSQL 14

# SQLSTATE classes (PostgreSQL manual, appendix A) after which no other series can work either:
# connection, authorization, no such database, resources, operator intervention, system, internal.
_FATAL_CLASSES = frozenset({"08", "28", "3D", "53", "57", "58", "XX"})
_HINTS = {
    "25006": "the database is read-only: use the primary server, or end its recovery or read-only mode",
    "53100": "the server's disk is full: make room there, then run again",
}
# What concerns one statement only, although its class is among the fatal ones or nothing is wrong with the table.
_REFUSED = {
    "23P01": "another run has committed some of this range meanwhile; the next run goes on from there",
    "42501": "grant the user CREATE and USAGE on schema public and all rights on its tables, or let it own them",
    "55P03": "another session has locked it, see pg_stat_activity; the next run tries again",
    "57014": "somebody cancelled the statement; the next run tries again",
    "53200": "the server has too little room for locks: raise max_locks_per_transaction",
    "53400": "a limit of the server's configuration; raise it",
}
# Other encodings lack letters that some symbols have (docs/binance.md, Symbols with odd letters).
_USABLE_ENCODINGS = ("UTF8", "SQL_ASCII")


class Transaction:
    """An open transaction, passed from function to function. Only code in `db/` uses its cursor."""

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
        """Connect by URL or by libpq keywords, to a session of its own. Raises DatabaseUnavailable."""

        def connect() -> Connection:
            connected: Connection = psycopg2.connect(url or "", **connection_settings(url, keywords, application_name))
            return connected

        try:
            connection = connect()
        except (psycopg2.Error, ValueError) as error:  # ValueError: a NUL in a setting
            # The driver's message may quote the URL, password included; the log's secret filter removes it.
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
            refuse_shared_sessions(connection, connect, database.address)
            with database.transaction("set up the session") as tx:
                tx.cursor.execute(session_statement(info.server_version))
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

        `doing` completes "cannot …" in messages. Raises DatabaseUnavailable when no other statement could work
        either, SeriesError when only the table of this statement cannot be used (StatementRefused: for now, or by
        this user).
        """
        try:
            with self._connection, self._connection.cursor() as cursor:
                yield Transaction(cursor)
        except psycopg2.Error as error:
            raise self._translated(error, doing) from error

    @contextmanager
    def listening(self, doing: str) -> Iterator[Connection]:
        """Yield the driver's connection outside a transaction, to hear of messages. Raises DatabaseUnavailable."""
        try:
            yield self._connection
        except psycopg2.Error as error:
            raise self._translated(error, doing) from error

    @contextmanager
    def commits_in_background(self) -> Iterator[None]:
        """Commits inside the block do not wait for the disk; the end of the block waits until all of them are on it.

        When the server crashes meanwhile, the last commits can be lost, but only as a whole: candles and their ledger
        row go together, so the next run fetches them again (PostgreSQL manual, "Asynchronous Commit").
        Raises DatabaseUnavailable when the final wait fails.
        """
        with self.transaction("set up the session") as tx:
            tx.cursor.execute("set synchronous_commit = off")
        try:
            yield
        finally:
            if not self._connection.closed:
                with self.transaction("make the commits safe") as tx:
                    tx.cursor.execute("reset synchronous_commit")
                    # A synchronous commit that writes anything waits until the log of all earlier commits is on disk.
                    tx.cursor.execute("select pg_logical_emit_message(true, 'ohlcv', 'run ends')")

    def cancel(self) -> None:
        """Cancel the running statement, if any; called from another thread. The transaction is rolled back."""
        with suppress(psycopg2.Error):  # the connection is closed, or the server cannot be reached
            self._connection.cancel()

    def close(self) -> None:
        """Close the connection, which also releases its advisory locks."""
        self._connection.close()

    def _translated(self, error: psycopg2.Error, doing: str) -> FetcherError:
        code = error.pgcode or ""
        hint = f"; {hints[code]}" if code in (hints := _HINTS | _REFUSED) else ""
        message = f"cannot {doing} in {self.address}: {_first_line(error)} (SQLSTATE {code or 'none'}){hint}"
        lost = bool(self._connection.closed) or isinstance(error, psycopg2.InterfaceError) or not code
        if lost:
            message += "; what was committed stays, run again when the server is back"
        if not lost and code in _REFUSED:
            return StatementRefused(message)
        if lost or code[:2] in _FATAL_CLASSES or code in _HINTS:
            return DatabaseUnavailable(message)
        return SeriesError(message)


def read_one_moment(tx: Transaction) -> None:
    """Make the transaction read-only, with one snapshot for all its queries. Must be its first statement.

    The results of several queries are then consistent even when a run commits between them.
    """
    tx.cursor.execute("set transaction isolation level repeatable read, read only")


def named_rows(tx: Transaction, query: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
    """Return the rows of a query as named tuples; for rows with many columns."""
    with tx.cursor.connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(query, parameters)  # type: ignore[no-untyped-call]
        return list(cursor.fetchall())


def fetch_one(tx: Transaction) -> tuple[Any, ...]:
    """Return the first row of a query that always has one. Raises DatabaseUnavailable when there is none."""
    row = tx.cursor.fetchone()
    if row is None:
        raise DatabaseUnavailable("the database returned no row for a query that always has one")
    return row


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
