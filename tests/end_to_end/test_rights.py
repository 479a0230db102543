"""A role that owns nothing: with the documented grants it keeps the series that there are, without one it is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from candles import truth_rows
from program import Program
from small_market import SERIES, truth

from core.times import parse_time
from demo.server import ReplayExchange

START = "2025-01-08"
NAMES = ["BTCUSDT", "ETHUSDT"]
STORAGE = Path(__file__).parents[2] / "docs" / "storage.md"
ROLE = "candle_writer"


def documented_grants() -> str:
    """The statements of docs/storage.md, Rights, for the database at hand."""
    text = STORAGE.read_text(encoding="utf-8").partition("## Rights")[2]
    return text.partition("```sql rights\n")[2].partition("```")[0].replace("ROLE", ROLE)


def as_owner(program: Program, statement: str) -> None:
    connection = psycopg2.connect(program.database_url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select current_database()")
            [(name,)] = cursor.fetchall()
            cursor.execute(statement.replace("DATABASE", name))
    finally:
        connection.close()


@pytest.fixture
def writer(program: Program, exchange: ReplayExchange) -> Iterator[Program]:
    """The program by a role with the documented grants, over BTCUSDT that the owner has begun."""
    want(program, "BTCUSDT")
    program.run_json("--end", "2025-01-09")
    as_owner(program, f"create role {ROLE} login; revoke temporary on database DATABASE from public")
    as_owner(program, "revoke create on schema public from public")  # PostgreSQL 14 grants it to everybody
    as_owner(program, documented_grants())
    program.settings["DATABASE_URL"] = program.database_url.replace("postgres@", f"{ROLE}@")
    yield program
    as_owner(program, f"drop owned by {ROLE} cascade; drop role {ROLE}; grant temporary on database DATABASE to public")


def want(program: Program, *names: str) -> None:
    program.symbols(f"defaults: {{start: {START}}}\nsymbols: [{', '.join(names)}]\n")


def assert_stored(program: Program, exchange: ReplayExchange, *names: str) -> None:
    for name in names:
        series = SERIES[name]
        wanted = truth_rows(truth(exchange.store, series, parse_time(START)))
        assert program.stored(series.table_name) == wanted, name


def test_with_the_documented_grants_a_role_keeps_what_is_there(writer: Program, exchange: ReplayExchange) -> None:
    assert writer.run().returncode == 0, writer.log_text
    assert_stored(writer, exchange, "BTCUSDT")
    assert "stays as it was" not in writer.log_text  # the view is another's and needs no change
    for command in (["check"], ["check", "--heal"], ["verify", "--repair"], ["status"]):
        assert writer.run(*command).returncode == 0, command


def test_a_series_that_it_may_not_make_a_table_for_ends_alone(writer: Program, exchange: ReplayExchange) -> None:
    as_owner(writer, f"revoke create on schema public from {ROLE}")
    want(writer, "ETHUSDT", "BTCUSDT")
    run = writer.run_json(expect=3)
    assert [(one["symbol"], one["outcome"]) for one in run["series"]] == [("ETHUSDT", "failed"), ("BTCUSDT", "ok")]
    assert "grant the user CREATE" in run["series"][0]["error"]
    assert_stored(writer, exchange, "BTCUSDT")


def test_a_table_that_it_may_not_read_or_write_ends_alone(writer: Program, exchange: ReplayExchange) -> None:
    want(writer, *NAMES)
    as_owner(writer, f"revoke insert on public.ohlcv_btcusdt from {ROLE}")
    run = writer.run_json(expect=3)
    assert [one["outcome"] for one in run["series"]] == ["failed", "ok"]
    as_owner(writer, f"revoke select on public.ohlcv_btcusdt from {ROLE}")
    assert [one["outcome"] for one in writer.run_json(expect=3)["series"]] == ["failed", "ok"]
    as_owner(writer, f"grant select, insert on public.ohlcv_btcusdt to {ROLE}")
    assert writer.run().returncode == 0
    assert_stored(writer, exchange, *NAMES)


def test_a_view_that_another_role_owns_is_said_and_stays(writer: Program, exchange: ReplayExchange) -> None:
    want(writer, *NAMES)
    run = writer.run("--json")
    assert run.returncode == 0, run.stderr
    assert "the view public.ohlcv stays as it was" in run.stderr and "must be owner of view ohlcv" in run.stderr
    assert_stored(writer, exchange, *NAMES)
    as_owner(writer, f"grant select on public.ohlcv_ethusdt to {ROLE}")
    assert writer.query("select distinct symbol from public.ohlcv") == [("BTCUSDT",)]


@pytest.mark.parametrize(
    ("taken", "named"),
    [
        ("revoke temporary on database DATABASE from {}", r"grant temporary on database \w+ to candle_writer"),
        (
            "revoke update on public.ohlcv_ledger, public.ohlcv_weight from {}",
            "grant select, insert, update, delete on public.ohlcv_ledger, public.ohlcv_weight to candle_writer",
        ),
    ],
)
def test_a_right_that_every_run_needs_is_named(
    writer: Program, exchange: ReplayExchange, taken: str, named: str
) -> None:
    as_owner(writer, taken.format(ROLE))
    exchange.clear_requests()
    done = writer.run()
    assert done.returncode == 6
    assert re.search(named, " ".join(done.stderr.split())), done.stderr
    assert exchange.count("klines") == 0
