"""A real PostgreSQL for every test that asks: the embedded server, one per test process, a fresh database per test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from db.connection import Database
from db.embedded import EmbeddedServer
from db.migrate import migrate

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
_TEMPLATE = "migrated_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded archives; absent for whoever cloned the project alone."""
    folder = SHARED_DATA / "archives"
    if not folder.is_dir():
        pytest.skip("the recorded archives are not on this machine; generated candles cover the main paths")
    return folder


@pytest.fixture(scope="session")
def pg_server() -> Iterator[EmbeddedServer]:
    # Not below pytest's own temporary folder: another pytest that starts closes that to other users,
    # and as root the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="ohlcv-tests-"))
    server = EmbeddedServer(folder / "pg")
    # Tests lose no data when the machine loses power: fsync may rest.
    server.ensure_running("-c fsync=off -c max_connections=50")
    _execute(server, f"create database {_TEMPLATE}")
    database = Database.connect(None, server.keywords(_TEMPLATE), "tests")
    migrate(database)
    database.close()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(pg_server: EmbeddedServer) -> Iterator[str]:
    """The URL of a database with the project's schema and no series."""
    yield from _fresh_database(pg_server, _TEMPLATE)


@pytest.fixture
def empty_database_url(pg_server: EmbeddedServer) -> Iterator[str]:
    """The URL of a database in which nothing of the project exists yet."""
    yield from _fresh_database(pg_server, "template1")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    connected = Database.connect(database_url, {}, "tests")
    yield connected
    connected.close()


def _fresh_database(server: EmbeddedServer, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _execute(server, f"create database {name} template {template}")
    yield url_of(server, name)
    _execute(server, f"drop database {name} with (force)")


def url_of(server: EmbeddedServer, name: str) -> str:
    where = server.keywords(name)
    return f"postgresql://{where['user']}@/{name}?host={where['host']}"


def _execute(server: EmbeddedServer, statement: str) -> None:
    connection = psycopg2.connect(**server.keywords("postgres"))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
