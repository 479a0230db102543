"""Rows of the list that a person keeps in a table: each is read alone, whatever stands in it."""

from __future__ import annotations

import pytest

from core.series import parse_series
from core.times import parse_time
from core.wanted import WantedSeries
from core.wanted_rows import WantedRow, read_rows

BTC = WantedSeries(parse_series("BTCUSDT"))


def test_what_a_row_does_not_say_is_spot_and_the_default_interval() -> None:
    rows = [WantedRow("BTCUSDT"), WantedRow("ETHUSDT", "um", "5m"), WantedRow("ETHUSDT", "", " ")]
    found = read_rows(rows, "1h")
    assert [str(one.series) for one in found.series] == ["BTCUSDT/1h", "um:ETHUSDT/5m", "ETHUSDT/1h"]
    assert found.unusable == ()


def test_capitals_and_blanks_are_as_free_as_in_symbols_yml() -> None:
    assert read_rows([WantedRow(" btcusdt\n", "spot ", "1m")], "1h").series == [BTC]


def test_a_range_is_read_as_the_database_writes_it() -> None:
    [one] = read_rows([WantedRow("BTCUSDT", start="2024-01-01 00:00:00+00", end="2024-02-01")], "1m").series
    assert (one.start_ms, one.end_ms) == (parse_time("2024-01-01"), parse_time("2024-02-01"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (WantedRow(None), "row : '' is not a symbol"),
        (WantedRow("E T H"), "row 'E T H': 'E T H' is not a symbol"),
        (WantedRow("*USDT"), "is not a symbol"),
        (WantedRow("um:BTCUSDT/5m"), "is not a symbol"),
        (WantedRow("X'; drop table public.symbols; --\n"), "is not a symbol"),
        (WantedRow("ETHUSDT", "NASDAQ"), "row 'NASDAQ' 'ETHUSDT': unknown market 'NASDAQ': allowed are spot, um, cm"),
        (WantedRow("ETHUSDT", "um", "7m"), "row 'um' 'ETHUSDT' '7m': interval '7m' is not offered on market um"),
        (WantedRow("ETHUSDT", start="infinity"), "'infinity'"),
        (WantedRow("ETHUSDT", start="2024-01-02", end="2024-01-01"), "is not after start"),
    ],
)
def test_a_row_that_names_no_series_is_told_and_stops_no_other(row: WantedRow, why: str) -> None:
    found = read_rows([row, WantedRow("BTCUSDT")], "1m")
    assert found.series == [BTC]
    [told] = found.unusable
    assert why in told


def test_a_series_listed_twice_counts_once_and_is_told_when_the_ranges_differ() -> None:
    assert read_rows([WantedRow("BTCUSDT"), WantedRow("btcusdt", "spot", "1m")], "1m") == read_rows(
        [WantedRow("BTCUSDT")], "1m"
    )
    found = read_rows([WantedRow("BTCUSDT"), WantedRow("BTCUSDT", start="2024-01-01")], "1m")
    assert found.series == [BTC]
    assert found.unusable == ("row 'BTCUSDT': series BTCUSDT/1m is listed twice, with another range",)
