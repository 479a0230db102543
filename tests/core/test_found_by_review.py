"""Faults found by review, each with the example that showed it."""

from __future__ import annotations

import pytest
from candles import batch_of, validate

from core.binance.archives import period_of_file
from core.candles import coalesce
from core.errors import UnusableAnswer
from core.instrument import ExchangeName, Instrument, Market
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series
from core.times import format_ms, parse_time


def test_times_far_beyond_any_date_are_refused_with_a_message() -> None:
    row = [1_735_689_600_000_000, "1", "1", "1", "1", "0", 0, "0", 0, "0", "0", "0"]
    with pytest.raises(UnusableAnswer, match="1735689600000000 ms"):
        validate(batch_of([row, row]))
    assert format_ms(10**18) == "1000000000000000000 ms"


@pytest.mark.parametrize("name", ["X-1m-9999-12.zip", "X-1m-2024-01.zip\n", "X-1m-٢٠٢٤-٠١.zip"])
def test_a_file_name_with_an_impossible_period_has_none(name: str) -> None:
    assert period_of_file(name) is None


def test_months_are_counted_as_candles_not_as_days() -> None:
    july, september = (Span(parse_time(f"2023-{m:02d}-01"), parse_time(f"2023-{m + 1:02d}-01")) for m in (7, 9))
    assert coalesce([july, september], INTERVALS["1M"], 1) == [Span(july.start_ms, september.end_ms)]
    assert coalesce([july, september], INTERVALS["1M"], 0) == [july, september]


def test_symbols_that_differ_in_case_only_have_files_of_their_own() -> None:
    plain, kelvin = (
        Series(Instrument(ExchangeName.BINANCE, Market.UM, symbol), INTERVALS["1m"]) for symbol in ("K", "\u212a")
    )
    assert plain.file_stem.lower() != kelvin.file_stem.lower()
