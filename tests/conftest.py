"""A real PostgreSQL for every test that asks: one embedded server a test process, a database as new for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from reused_database import ReusedDatabase
from servers import database_server, execute, fresh_database
from timescale import timescale_database

from db.connection import Database
from db.embedded import EmbeddedServer
from db.migrate import migrate

# Programs that tests start read compiled modules, as a user's second run does; compiling all takes a third of a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
_numbers = itertools.count(1)

# Property tests: a few examples, always the same ones, here; ten times as many, by a seed, in tests/long.
# A busy machine is no failure, and one folder or database serves all examples of a test.
_PROPERTIES = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("suite", _PROPERTIES, max_examples=20, derandomize=True)
settings.register_profile("long", _PROPERTIES, max_examples=300)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=1, help="for the tests that draw lots; tests/long gives others")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    chosen: int = pytestconfig.getoption("--seed")
    return chosen


def pytest_xdist_auto_num_workers() -> int:
    """Work in two processes more than there are processors: many tests wait for a server, a signal or a stream."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits longest: worksteal gives each process a stretch of the list, and moves what is at its end.

    So one process waits for whole runs while the others work, and no long test is left for the end.
    """
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded archives; absent for whoever cloned the project alone."""
    folder = SHARED_DATA / "archives"
    if not folder.is_dir():
        pytest.skip("the recorded archives are not on this machine; generated candles cover the main paths")
    return folder


@pytest.fixture(scope="session")
def pg_server() -> Iterator[EmbeddedServer]:
    with database_server("ohlcv-tests-") as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(pg_server: EmbeddedServer) -> str:
    """The name of a database with the project's schema, to be copied."""
    name = "migrated_template"
    execute(pg_server, f"create database {name}")
    database = Database.connect(None, pg_server.keywords(name), "tests")
    migrate(database)
    database.close()
    return name


@pytest.fixture(scope="session")
def reused_database(pg_server: EmbeddedServer, migrated_template: str) -> ReusedDatabase:
    return ReusedDatabase(pg_server, migrated_template)


@pytest.fixture
def database_url(reused_database: ReusedDatabase) -> Iterator[str]:
    """The URL of a database with the project's schema and no series."""
    with reused_database.lend() as url:
        yield url


@pytest.fixture
def empty_database_url(pg_server: EmbeddedServer) -> Iterator[str]:
    """The URL of a database in which nothing of the project exists yet."""
    with fresh_database(pg_server, f"test_{next(_numbers)}") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    connected = Database.connect(database_url, {}, "tests")
    yield connected
    connected.close()


@pytest.fixture
def timescale() -> Iterator[Database]:
    """A database on the server of TIMESCALE_TEST_URL, with the project's schema and no series."""
    with timescale_database() as url:
        connected = Database.connect(url, {}, "tests")
        migrate(connected)
        yield connected
        connected.close()
