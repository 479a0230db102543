"""The server is the one that was asked for, and one that is too old is refused; tests/servers.py says how to ask."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from servers import OTHER_BINARIES
from small_market import program_in

from core.errors import DatabaseUnavailable
from core.exit_codes import EXIT_DATABASE
from db.connection import MIN_SERVER_VERSION, Database


@pytest.fixture
def driver(empty_database_url: str) -> Iterator[Connection]:
    """The driver's own connection, which refuses no version."""
    connection = psycopg2.connect(empty_database_url)
    yield connection
    connection.close()


@pytest.mark.skipif(not OTHER_BINARIES, reason="TEST_POSTGRES_BIN names no other PostgreSQL")
def test_the_tests_run_against_the_server_that_was_named(driver: Connection) -> None:
    named = subprocess.run([Path(OTHER_BINARIES) / "postgres", "--version"], capture_output=True, text=True, check=True)
    with driver.cursor() as cursor:
        cursor.execute("show server_version")
        assert named.stdout.strip() == f"postgres (PostgreSQL) {cursor.fetchone()[0]}"


def test_a_server_that_is_too_old_is_refused(
    driver: Connection, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = driver.info.server_version
    if version >= MIN_SERVER_VERSION:  # no old one is here, so this one must do
        monkeypatch.setattr("db.connection.MIN_SERVER_VERSION", version + 1)
    with pytest.raises(DatabaseUnavailable, match=f"is version {version // 10000}; 14 or newer is needed"):
        Database.connect(empty_database_url, {}, "tests")


def test_a_server_that_is_too_old_ends_every_command_with_6_and_is_left_as_it_was(
    driver: Connection, empty_database_url: str, tmp_path: Path
) -> None:
    if driver.info.server_version >= MIN_SERVER_VERSION:
        pytest.skip("TEST_POSTGRES_BIN names no PostgreSQL before 14")
    program = program_in(tmp_path, empty_database_url)
    for command in (["--symbols", "BTCUSDT"], ["check", "--heal"], ["verify", "--repair"], ["status"]):
        done = program.run(*command)
        assert done.returncode == EXIT_DATABASE, done.stderr
        assert "14 or newer is needed" in done.stderr
        assert "Traceback" not in done.stderr
    with driver.cursor() as cursor:
        cursor.execute("select count(*) from pg_class where relnamespace = 'public'::regnamespace")
        assert cursor.fetchone() == (0,)
