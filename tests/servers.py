"""PostgreSQL servers of their own for tests and long runs, and fresh databases on them.

TEST_POSTGRES_BIN, a folder with initdb, pg_ctl and postgres, makes them servers of that version:

    TEST_POSTGRES_BIN=FOLDER .venv/bin/python -m pytest tests/db tests/logic tests/end_to_end

Without it they are the packaged one, as are always those that the program starts itself. As root the folder must be
one that other users can read, because the server runs as another user.

With TEST_TIMESCALE=on, of a version that has TimescaleDB, every database gets the extension, and tests that ask no
kind of table of their own keep candles in hypertables:

    TEST_TIMESCALE=on TEST_POSTGRES_BIN=FOLDER .venv/bin/python -m pytest tests/db tests/logic
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from db.embedded import EmbeddedServer

# The machine itself does not crash: fsync may rest.
SERVER_OPTIONS = "-c fsync=off -c full_page_writes=off -c autovacuum=off -c max_connections=50"
OTHER_BINARIES = os.environ.get("TEST_POSTGRES_BIN", "")
HAS_TIMESCALE = os.environ.get("TEST_TIMESCALE", "") == "on"
# Its jobs do not run: they would sit in a database that is copied, and compress what a test has just made.
_TIMESCALE_OPTIONS = (
    " -c shared_preload_libraries=timescaledb -c timescaledb.telemetry_level=off"
    " -c timescaledb.max_background_workers=0"
)


@contextmanager
def database_server(prefix: str = "ohlcv-long-") -> Iterator[EmbeddedServer]:
    """Start a server whose data lie in a new folder; at the end stop it, and only then remove that folder."""
    # Not below pytest's own temporary folder: another pytest that starts closes that to other users,
    # and as root the server runs as another user, who must be able to pass.
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    # Clients stay the packaged ones: they serve every version.
    server = EmbeddedServer(folder / "pg", Path(OTHER_BINARIES).absolute() if OTHER_BINARIES else None)
    try:
        server.ensure_running(SERVER_OPTIONS + (_TIMESCALE_OPTIONS if HAS_TIMESCALE else ""))
        if HAS_TIMESCALE:
            execute(server, "create extension timescaledb", database="template1")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server: EmbeddedServer, name: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database, dropped at the end."""
    execute(server, f"create database {name} template {template}")
    try:
        yield url_of(server, name)
    finally:
        execute(server, f"drop database {name} with (force)")


def url_of(server: EmbeddedServer, name: str) -> str:
    where = server.keywords(name)
    return f"postgresql://{where['user']}@/{name}?host={where['host']}"


def execute(server: EmbeddedServer, statement: str, database: str = "postgres") -> None:
    """Run a statement in a database, at first the server's own, outside of any transaction."""
    connection = psycopg2.connect(**server.keywords(database))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
