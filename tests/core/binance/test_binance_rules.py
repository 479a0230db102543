"""What a page of candles may ask for, and what it costs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.binance.rules import BEST_ROWS, MAX_ROWS, BinanceRules, page_rows, page_weight
from core.instrument import ExchangeName, Instrument, Market
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time

NEW_YEAR = parse_time("2024-01-01")


@pytest.mark.parametrize("limit", [1, 99, 100, 500, 1000])
def test_a_spot_page_weighs_two_whatever_it_holds(limit: int) -> None:
    assert page_weight(Market.SPOT, limit) == 2


@pytest.mark.parametrize("market", [Market.UM, Market.CM])
@pytest.mark.parametrize(
    ("limit", "weight"), [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)]
)
def test_a_futures_page_weighs_what_the_bands_of_the_contract_say(market: Market, limit: int, weight: int) -> None:
    assert page_weight(market, limit) == weight


@pytest.mark.parametrize("market", Market)
def test_the_best_page_has_the_most_rows_per_weight(market: Market) -> None:
    yields = {limit: limit / page_weight(market, limit) for limit in range(1, MAX_ROWS[market] + 1)}
    assert yields[BEST_ROWS[market]] == max(yields.values())


@pytest.mark.parametrize(
    ("market", "wanted", "rows"),
    [
        (Market.SPOT, None, 1000),
        (Market.UM, None, 499),
        (Market.CM, None, 499),
        (Market.SPOT, 1500, 1000),
        (Market.UM, 1500, 1500),
        (Market.CM, 9999, 1500),
        (Market.SPOT, 10, 10),
        (Market.SPOT, 0, 1),
        (Market.UM, -5, 1),
    ],
)
def test_pages_keep_to_what_the_market_allows(market: Market, wanted: int | None, rows: int) -> None:
    assert page_rows(market, wanted) == rows


@pytest.mark.parametrize("code", INTERVALS)
@given(
    market=st.sampled_from(Market),
    start_ms=st.integers(NEW_YEAR, NEW_YEAR + 400 * MS_PER_DAY),
    slots=st.integers(0, 90),
    extra_ms=st.integers(1, 40 * MS_PER_DAY),
    rows=st.integers(1, 30),
)
def test_windows_are_disjoint_cover_exactly_and_fit_a_page(
    code: str, market: Market, start_ms: int, slots: int, extra_ms: int, rows: int
) -> None:
    interval = INTERVALS[code]
    length = interval.typical_ms
    span = Span(start_ms, start_ms + slots * length + extra_ms % length + 1)
    series = Series(Instrument(ExchangeName.BINANCE, market, "BTCUSDT"), interval)
    windows = list(BinanceRules(series, rows).pages(span))
    assert windows[0].start_ms == span.start_ms
    assert windows[-1].end_ms == span.end_ms
    assert all(left.end_ms == right.start_ms for left, right in itertools.pairwise(windows))
    assert all(interval.count(window.start_ms, window.end_ms) <= rows for window in windows)
    if market is Market.CM:
        assert all(window.end_ms - window.start_ms <= 200 * MS_PER_DAY for window in windows)


def test_a_day_of_spot_minutes_is_two_pages() -> None:
    day = Span(NEW_YEAR, NEW_YEAR + MS_PER_DAY)
    lengths = [
        (w.end_ms - w.start_ms) // MS_PER_MINUTE for w in BinanceRules(parse_series("BTCUSDT/1m"), 1000).pages(day)
    ]
    assert lengths == [1000, 440]


def test_a_day_of_futures_minutes_is_three_cheap_pages() -> None:
    day = Span(NEW_YEAR, NEW_YEAR + MS_PER_DAY)
    lengths = [
        (w.end_ms - w.start_ms) // MS_PER_MINUTE for w in BinanceRules(parse_series("um:BTCUSDT/1m"), 499).pages(day)
    ]
    assert lengths == [499, 499, 442]


def test_only_coin_m_windows_end_after_200_days() -> None:
    years = Span(parse_time("2021-01-01"), parse_time("2024-01-01"))
    assert len(list(BinanceRules(parse_series("um:BTCUSDT/1d"), 1500).pages(years))) == 1
    windows = BinanceRules(parse_series("cm:BTCUSD_PERP/1d"), 1500).pages(years)
    assert [w.end_ms - w.start_ms for w in windows][:-1] == [200 * MS_PER_DAY] * 5
