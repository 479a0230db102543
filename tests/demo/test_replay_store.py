from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.instrument import Market
from core.ranges import Span
from core.series import parse_series
from demo.candle_rows import CandleRows
from demo.candle_store import CandleStore, SymbolFacts

SERIES = parse_series("BTCUSDT")


def row(open_ms: int, price: str = "1.0") -> list[Any]:
    return [open_ms, price, price, price, price, "2.5", open_ms + 59_999, "2.5", 3, "1.0", "1.0", "0"]


def test_rows_come_back_as_given_in_order_of_open_time() -> None:
    store = CandleStore()
    store.add(SERIES, [row(180_000), row(60_000)])
    store.add(SERIES, [row(120_000)])
    assert store.rows(SERIES) == [row(60_000), row(120_000), row(180_000)]
    assert store.open_times(SERIES) == [60_000, 120_000, 180_000]
    assert orjson.loads(b"[" + store.json_rows(SERIES) + b"]") == store.rows(SERIES)


def test_an_equal_open_time_replaces() -> None:
    store = CandleStore()
    store.add(SERIES, [row(60_000), row(120_000)])
    store.add(SERIES, [row(60_000, "7.0")])
    assert store.rows(SERIES) == [row(60_000, "7.0"), row(120_000)]


def test_ranges_are_half_open() -> None:
    store = CandleStore()
    store.add(SERIES, [row(60_000), row(120_000), row(180_000)])
    assert store.rows(SERIES, 60_000, 180_000) == [row(60_000), row(120_000)]


def test_remove_makes_a_hole() -> None:
    store = CandleStore()
    store.add(SERIES, [row(minute * 60_000) for minute in range(10)])
    store.remove(SERIES, Span(120_000, 240_000))
    assert store.open_times(SERIES) == [0, 60_000, *range(240_000, 600_000, 60_000)]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="12 items"):
        CandleStore().add(SERIES, [[1, 2, 3]])


def test_an_unknown_series_is_empty() -> None:
    store = CandleStore()
    assert store.rows(SERIES) == []
    assert store.symbols(Market.SPOT) == []


def test_a_symbols_listing_is_the_first_candle_of_its_finest_series() -> None:
    store = CandleStore()
    store.add(parse_series("BTCUSDT/1w"), [row(0)])
    store.add(SERIES, [row(240_000), row(300_000)])
    assert store.symbols(Market.SPOT) == ["BTCUSDT"]
    assert store.listing_ms(Market.SPOT, "BTCUSDT") == 240_000
    assert store.listing_ms(Market.UM, "BTCUSDT") is None


def test_facts_are_an_ordinary_symbols_until_they_are_set() -> None:
    store = CandleStore()
    assert store.facts(Market.SPOT, "BTCUSDT").status == "TRADING"
    store.set_facts(Market.SPOT, "BTCUSDT", SymbolFacts("BREAK"))
    assert store.facts(Market.SPOT, "BTCUSDT").status == "BREAK"


minutes = st.lists(st.integers(0, 30))


@given(minutes, minutes, st.integers(0, 30), st.integers(1, 30))
def test_adding_and_removing_is_what_a_dictionary_would_do(
    first: list[int], second: list[int], hole_start: int, hole_length: int
) -> None:
    store, expected = CandleStore(), {}
    for number, batch in enumerate((first, second)):
        rows = [row(minute, f"{number}.{position}") for position, minute in enumerate(batch)]
        store.add(SERIES, rows)
        expected.update({one[0]: one for one in rows})
    store.remove(SERIES, Span(hole_start, hole_start + hole_length))
    kept = {ms: one for ms, one in expected.items() if not hole_start <= ms < hole_start + hole_length}
    assert store.rows(SERIES) == [kept[ms] for ms in sorted(kept)]


def test_rows_that_were_handed_out_do_not_change() -> None:
    store = CandleStore()
    store.add(SERIES, [row(60_000)])
    before: CandleRows = store.candles(SERIES)
    store.add(SERIES, [row(60_000, "7.0")])
    assert before.rows(0, 1) == [row(60_000)]


def test_a_copy_and_its_original_do_not_see_each_other_s_changes() -> None:
    store, other = CandleStore(), parse_series("ETHUSDT")
    store.add(SERIES, [row(minute * 60_000) for minute in range(4)])
    store.set_facts(Market.SPOT, "BTCUSDT", SymbolFacts("BREAK"))
    store.limit_archives(SERIES, [Span(0, 60_000)])
    copy = store.copy()
    assert copy.rows(SERIES) == store.rows(SERIES)
    assert copy.facts(Market.SPOT, "BTCUSDT") == SymbolFacts("BREAK")
    copy.remove(SERIES, Span(0, 120_000))
    copy.add(other, [row(60_000)])
    copy.set_facts(Market.SPOT, "BTCUSDT", SymbolFacts("TRADING"))
    copy.limit_archives(SERIES, [Span(60_000, 120_000)])
    store.add(SERIES, [row(60_000, "7.0")])
    assert store.open_times(SERIES) == [0, 60_000, 120_000, 180_000]
    assert copy.open_times(SERIES) == [120_000, 180_000]
    assert store.series() == [SERIES]
    assert store.facts(Market.SPOT, "BTCUSDT") == SymbolFacts("BREAK")
    assert not store.archives_hold(SERIES, Span(0, 120_000)) and copy.archives_hold(SERIES, Span(0, 120_000))
