"""`public.symbols`, the list of a run without symbols.yml: ours, somebody else's, and what is no such list."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.errors import ConfigurationError
from core.series import parse_series
from core.times import parse_time
from core.wanted import WantedSeries
from core.wanted_rows import WantedList
from db.connection import Database
from db.symbols import load_symbols_from_db

SOL = parse_series("SOLUSDT/1h")


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    connected = Database.connect(empty_database_url, {}, "tests")
    yield connected
    connected.close()


def listed(database: Database, *statements: str) -> WantedList:
    """Return the list after `statements`."""
    with database.transaction("prepare") as tx:
        for statement in statements:
            tx.cursor.execute(statement)
    with database.transaction("read") as tx:
        return load_symbols_from_db(tx, "1h")


def names(found: WantedList) -> list[str]:
    return [str(one.series) for one in found.series]


def test_the_table_that_is_made_takes_a_symbol_alone_or_all_of_a_series(database: Database) -> None:
    assert listed(database) == WantedList([])
    found = listed(
        database,
        "insert into public.symbols (symbol) values ('SOLUSDT'), ('no symbol')",
        "insert into public.symbols (symbol, active) values ('XRPUSDT', false)",
        'insert into public.symbols (symbol, market, "interval", wanted_from, wanted_until)'
        " values ('ETHUSDT', 'um', '5m', '2024-01-01 01:00+01', '2024-02-01Z')",
    )
    eth = WantedSeries(parse_series("um:ETHUSDT/5m"), parse_time("2024-01-01"), parse_time("2024-02-01"))
    assert found.series == [WantedSeries(SOL), eth]
    assert len(found.unusable) == 1 and "'no symbol' is not a symbol" in found.unusable[0]


@pytest.mark.parametrize(
    "statement",
    [
        "create table public.symbols (symbol text)",
        "create table public.symbols (id uuid, symbol varchar(20) primary key, exchange text, price numeric)",
        "create table public.symbols (symbol char(20), active boolean)",
        'create domain ticker as text; create table public.symbols (symbol ticker, "interval" char(2))',
        "create type kind as enum ('spot', 'um'); create table public.symbols (symbol name, market kind)",
    ],
)
def test_a_table_of_others_with_a_column_symbol_is_a_list(empty: Database, statement: str) -> None:
    assert names(listed(empty, statement, "insert into public.symbols (symbol) values ('SOLUSDT')")) == ["SOLUSDT/1h"]


@pytest.mark.parametrize("kind", ["view", "materialized view"])
def test_a_view_of_others_is_a_list(empty: Database, kind: str) -> None:
    query = "values ('SOLUSDT', '4h'::text, true), ('ETHUSDT', null, null), ('XRPUSDT', '1m', false)"
    assert names(listed(empty, f'create {kind} public.symbols (symbol, "interval", active) as {query}')) == [
        "ETHUSDT/1h",
        "SOLUSDT/4h",
    ]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("select 1", "there is no table public.symbols"),
        ("create table public.symbols (ticker text)", "public.symbols has no column symbol"),
        ("create table public.symbols (symbol integer)", "its column symbol is of type integer, not a text"),
        ("create table public.symbols (symbol text, active integer)", "column active is of type integer"),
        ("create table public.symbols (symbol text, market integer)", "column market is of type integer"),
        ('create table public.symbols (symbol text, "interval" interval)', "column interval is of type interval"),
        ("create table public.symbols (symbol text, wanted_from text)", "wanted_from is of type text, not a time"),
        ("create table public.symbols (symbol text); alter table symbols drop column symbol", "no column symbol"),
    ],
)
def test_what_is_no_list_is_said_and_nothing_of_it_guessed(empty: Database, statement: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        listed(empty, statement)


def test_a_list_that_may_not_be_read_is_said(empty_database_url: str) -> None:
    owner = Database.connect(empty_database_url, {}, "owner")
    with owner.transaction("prepare") as tx:
        tx.cursor.execute("drop role if exists lister; create role lister login")
        tx.cursor.execute("create table public.symbols (symbol text)")
    owner.close()
    lister = Database.connect(empty_database_url.replace("postgres@", "lister@"), {}, "tests")
    with pytest.raises(ConfigurationError, match="grant the user select on it"):
        listed(lister)
    lister.close()
