"""The SQL that the documents show runs on the tables that the program makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.series import parse_series
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import sync_symbols
from db.connection import Database
from db.migrate import OWN_TABLES
from db.schema import create_table_if_not_exists
from db.symbols import load_symbols_from_db

PROJECT = Path(__file__).resolve().parents[2]
SERIES = [parse_series("BTCUSDT"), parse_series("ETHUSDT/1h")]


@pytest.fixture
def with_tables(database: Database) -> Database:
    with database.transaction("prepare") as tx:
        sync_symbols(tx, [WantedSeries(series) for series in SERIES], True)
        for series in SERIES:
            create_table_if_not_exists(tx, series, False, 0)
        refresh_all_series_view(tx)
    return database


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_the_queries_for_users_run(page: str, with_tables: Database) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```", (PROJECT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    with with_tables.transaction("read as the document says") as tx:
        for block in blocks:
            tx.cursor.execute(block)


def test_the_list_is_filled_as_the_document_says(with_tables: Database) -> None:
    text = (PROJECT / "docs" / "storage.md").read_text(encoding="utf-8").split("## The list in the database\n")[1]
    with with_tables.transaction("insert as the document says") as tx:
        tx.cursor.execute(text.split("```sql\n")[1].split("```")[0])
        found = load_symbols_from_db(tx, "1m")
    assert [str(one.series) for one in found.series] == ["BTCUSDT/1h", "um:ETHUSDT/5m"]


def test_all_of_the_programs_own_tables_are_listed_and_made_anew() -> None:
    text = (PROJECT / "docs" / "storage.md").read_text(encoding="utf-8")
    tables = text.split("## Tables\n")[1].split("\n## ")[0]
    assert [name for name in OWN_TABLES if f"`public.{name}`" not in tables] == []
    recipe = text.split("## When one of them is gone\n")[1].split("```sql\n")[1].split("```")[0]
    assert [name for name in OWN_TABLES if f"'{name}'" not in recipe] == []


def test_the_columns_of_a_candle_are_those_of_the_table(with_tables: Database) -> None:
    text = (PROJECT / "docs" / "storage.md").read_text(encoding="utf-8").split("## Columns of a candle\n")[1]
    rows = re.findall(r"^\| (`.*`) \| (timestamptz|numeric|integer) \|", text.split("\n## ")[0], re.MULTILINE)
    told = [(name, kind) for names, kind in rows for name in re.findall(r"`(\w+)`", names)]
    with with_tables.transaction("read") as tx:
        tx.cursor.execute(
            "select column_name, data_type from information_schema.columns"
            " where table_name = 'ohlcv_btcusdt' order by ordinal_position"
        )
        found = [(name, "timestamptz" if kind.startswith("timestamp") else kind) for name, kind in tx.cursor.fetchall()]
    assert told == found
