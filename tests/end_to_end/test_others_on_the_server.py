"""Other sessions on the user's server that read, lock or never end: no run hangs or ends for one table or the view."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from candles import truth_rows
from pooler import needs_pgbouncer, pgbouncer
from program import Program
from small_market import SERIES, truth

from core.times import parse_time
from db.embedded import EmbeddedServer
from demo.server import ReplayExchange

START = "2025-01-08"
NAMES = ["BTCUSDT", "ETHUSDT"]


@contextmanager
def somebody(program: Program, statement: str) -> Iterator[None]:
    """A session that has run `statement` and stays idle in its transaction."""
    connection = psycopg2.connect(program.database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield
    finally:
        connection.close()


SHORT_WAITS = """
import db.all_series_view, db.many_tables, db.session
db.many_tables._TOGETHER_S, db.many_tables._ALONE_S, db.all_series_view._WAIT_S = 0.5, 0.1, 0.3
db.session._SETTINGS["lock_timeout"] = "500ms"
"""


@pytest.fixture(autouse=True)
def short_waits(program: Program) -> None:
    """Let a run wait only tenths of the usual time for locks."""
    (program.folder / "sitecustomize.py").write_text(SHORT_WAITS)
    program.settings["PYTHONPATH"] = str(program.folder)


def want(program: Program, *names: str) -> None:
    program.symbols(f"defaults: {{start: {START}}}\nsymbols: [{', '.join(names)}]\n")


def assert_stored(program: Program, exchange: ReplayExchange, *names: str) -> None:
    for name in names:
        series = SERIES[name]
        wanted = truth_rows(truth(exchange.store, series, parse_time(START)))
        assert program.stored(series.table_name) == wanted, name


def outcomes(document: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {one["symbol"]: one["outcome"] for one in document["series"]}


def legs(program: Program) -> set[str]:
    return {symbol for (symbol,) in program.query("select distinct symbol from public.ohlcv")}


def test_a_reader_that_never_ends_keeps_the_view_as_it_was_and_nothing_else(
    program: Program, exchange: ReplayExchange
) -> None:
    want(program, "BTCUSDT")
    program.run_json()
    want(program, *NAMES)
    with somebody(program, "select count(*) from public.ohlcv"):
        done = program.run()
        assert done.returncode == 0, done.stderr
        assert "the view public.ohlcv stays as it was" in program.log_text
        assert program.run().returncode == 0  # nor does the next one wait for anything
        assert legs(program) == {"BTCUSDT"}
    assert_stored(program, exchange, *NAMES)
    assert program.run().returncode == 0
    assert legs(program) == set(NAMES)


def test_a_table_that_somebody_has_locked_is_left_for_the_next_run(program: Program, exchange: ReplayExchange) -> None:
    want(program, *NAMES)
    program.run_json("--end", "2025-01-09")
    rows = program.query("select count(*) from public.ohlcv_ledger")
    exchange.clear_requests()
    with somebody(program, "alter table public.ohlcv_btcusdt add column note text"):
        run = program.run_json(expect=3)
        assert outcomes(run) == {"BTCUSDT": "failed", "ETHUSDT": "ok"}
        assert "another session has locked it" in run["series"][0]["error"]
        check = program.run_json("check", expect=3)
        assert [(one["symbol"], one["complete"]) for one in check["series"]] == [("BTCUSDT", False), ("ETHUSDT", True)]
        assert "55P03" in check["series"][0]["not_checked"]
        assert "UNPROVEN" in program.run("check").stdout
        status = program.run("status")
        assert status.returncode == 0 and "BTCUSDT" in status.stdout, status.stderr
        assert_stored(program, exchange, "ETHUSDT")
    assert program.query("select count(*) from public.ohlcv_ledger") >= rows
    assert program.run().returncode == 0
    assert_stored(program, exchange, *NAMES)
    assert "dropped and everything is fetched again" not in program.log_text


def test_a_lock_that_comes_amid_a_run_ends_its_series_only(program: Program, exchange: ReplayExchange) -> None:
    want(program, *NAMES)
    program.run_json("--end", "2025-01-09")
    with somebody(program, "lock table public.ohlcv_btcusdt in share mode"):  # it can be read, but not written
        assert outcomes(program.run_json(expect=3)) == {"BTCUSDT": "failed", "ETHUSDT": "ok"}
    assert program.run().returncode == 0
    assert_stored(program, exchange, *NAMES)


@needs_pgbouncer
def test_a_run_through_a_pooler_is_whole_or_refused(
    program: Program, exchange: ReplayExchange, pg_server: EmbeddedServer
) -> None:
    want(program, "BTCUSDT")
    [(name,)] = program.query("select current_database()")
    for mode, code in (("transaction", 6), ("session", 0)):
        exchange.clear_requests()
        with pgbouncer(pg_server, mode) as where:
            program.settings["DATABASE_URL"] = f"postgresql://{where['user']}@127.0.0.1:{where['port']}/{name}"
            done = program.run()
        assert done.returncode == code, done.stderr
        assert bool(exchange.count("klines")) is (code == 0)
    assert_stored(program, exchange, "BTCUSDT")


def test_an_undo_leaves_out_a_table_that_somebody_has_locked(program: Program, exchange: ReplayExchange) -> None:
    want(program, *NAMES)
    program.run_json()
    for name in NAMES:
        program.query(
            f"update {SERIES[name].table_name} set close = low where time = '2025-01-08T10:00Z' and close <> low"
            " returning time"
        )
    run_id = program.run_json("verify", "--repair")["run_id"]
    with somebody(program, "lock table public.ohlcv_btcusdt in share mode"):
        document = program.run_json("verify", "--undo", run_id, expect=4)
    assert {one["symbol"]: (one["locked"], one["put_back"]) for one in document["series"]} == {
        "BTCUSDT": (True, 0),
        "ETHUSDT": (False, 1),
    }
