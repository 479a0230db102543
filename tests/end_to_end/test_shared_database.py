"""The program in a database where others have tables, `public.symbols` among them; and the list in that table."""

from __future__ import annotations

import pytest
from candles import truth_rows
from program import PROJECT, Program
from small_market import BTC, truth

from core.times import parse_time
from demo.server import ReplayExchange

HOUR = {"START_DATE": "2025-01-09T10:00", "END_DATE": "2025-01-09T11:00"}
THEIRS = (
    "create table public.symbols (id serial primary key, symbol text unique, price numeric)",
    "insert into public.symbols (symbol, price) values ('BTCUSDT', 1), ('BRK.B', 2)",
    "create table public.orders (id serial primary key, symbol integer references public.symbols (id))",
    "insert into public.orders (symbol) values (1), (2)",
    "create view public.prices as select symbol, price from public.symbols",
)


BROKEN = "drop table symbols cascade; create view public.symbols as select (1 / 0)::text as symbol"


@pytest.fixture
def guest(program: Program, exchange: ReplayExchange, empty_database_url: str) -> Program:
    """The program for the first time in a database that is others'."""
    program.database_url = program.settings["DATABASE_URL"] = empty_database_url
    program.settings |= HOUR
    for statement in THEIRS:
        program.query(statement)
    return program


def theirs(program: Program) -> list[object]:
    tables = [program.query(f"select * from public.{name} order by 1") for name in ("symbols", "orders", "prices")]
    described = "select relname, pg_class::text from pg_class where relname ~ '^(symbols|orders|prices)' order by 1"
    return [*tables, program.query(described)]


def an_hour(exchange: ReplayExchange) -> list[tuple[object, ...]]:
    return truth_rows(truth(exchange.store, BTC, parse_time(HOUR["START_DATE"]), parse_time(HOUR["END_DATE"])))


def made_anew_by_the_document() -> str:
    text = (PROJECT / "docs" / "storage.md").read_text(encoding="utf-8").split("## When one of them is gone\n")[1]
    return text.split("```sql\n")[1].split("```")[0]


def test_what_is_others_is_never_changed_also_when_ours_is_made_anew(guest: Program, exchange: ReplayExchange) -> None:
    before = theirs(guest)
    guest.symbols("symbols: [BTCUSDT]")
    done = guest.run()
    assert (done.returncode, "public.symbols is not this program's" in done.stderr) == (0, True), done.stderr
    again = guest.run()
    assert (again.returncode, "public.symbols" in again.stderr) == (0, False), again.stderr
    guest.query("drop table public.ohlcv_gaps cascade")
    assert "When one of them is gone" in guest.run().stderr
    guest.query(made_anew_by_the_document())
    assert theirs(guest) == before
    assert guest.run().returncode == 0
    assert guest.run("check").returncode == 0
    assert guest.stored("ohlcv_btcusdt") == an_hour(exchange)
    assert theirs(guest) == before


def test_symbols_of_others_are_the_list_where_there_is_no_symbols_yml(guest: Program, exchange: ReplayExchange) -> None:
    before = theirs(guest)
    document = guest.run_json(expect=3)
    assert [(one["symbol"], one["outcome"]) for one in document["series"]] == [("BTCUSDT", "ok")]
    [why] = document["unusable_rows"]
    assert why.startswith("row 'BRK.B': 'BRK.B' is not a symbol")
    assert guest.stored("ohlcv_btcusdt") == an_hour(exchange)
    assert "public.symbols, row 'BRK.B'" in guest.run("--quiet").stdout
    assert theirs(guest) == before
    assert guest.run("--dry-run").returncode == 3
    assert guest.run("check").returncode == 0


@pytest.mark.parametrize(
    "statement", ["alter table public.symbols rename symbol to ticker", "drop table symbols cascade", BROKEN]
)
def test_what_is_no_list_of_series_is_said(guest: Program, statement: str) -> None:
    guest.query(statement)
    done = guest.run()
    assert done.returncode == 2
    assert "nothing to do: there is no symbols.yml, and " in done.stderr and "public.symbols" in done.stderr


def test_a_table_of_others_in_the_way_ends_the_run_before_anything_is_made(guest: Program) -> None:
    guest.query("create table public.ohlcv_gaps (mine integer)")
    done = guest.run("--symbols", "BTCUSDT")
    assert done.returncode == 6
    assert "public.ohlcv_gaps" in done.stderr and "use a database of its own" in done.stderr
    assert "drop" not in done.stderr
    assert guest.query("select tablename from pg_tables where tablename ~ '^ohlcv'") == [("ohlcv_gaps",)]


def test_the_catalog_follows_the_list_and_the_list_is_never_written(program: Program, exchange: ReplayExchange) -> None:
    program.settings |= HOUR
    program.query("insert into public.symbols (symbol) values ('btcusdt'), ('ETHUSDT')")
    assert program.run().returncode == 0
    program.query("update public.symbols set active = false where symbol = 'ETHUSDT'")
    before = program.query("select s::text, xmin from public.symbols as s order by id")
    assert program.run().returncode == 0
    assert program.run("--symbols", "BTCUSDT/1h").returncode == 0
    assert program.query("select s::text, xmin from public.symbols as s order by id") == before
    active = 'select symbol, "interval", active from public.ohlcv_series order by 1, 2'
    assert program.query(active) == [("BTCUSDT", "1h", False), ("BTCUSDT", "1m", True), ("ETHUSDT", "1m", False)]
