from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from core.series import parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from demo.candle_store import CandleStore
from demo.decimal_text import scaled_text
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
Make = Callable[[str, str, str], CandleStore]

FIRST = parse_time("2024-03-01")
COIN_M_MAX_SPAN_MS = 200 * MS_PER_DAY
PATHS = {"spot": "/api/v3/klines", "um": "/fapi/v1/klines", "cm": "/dapi/v1/klines"}
NOTATIONS = {"spot": "BTCUSDT", "um": "um:BTCUSDT", "cm": "cm:BTCUSD_PERP"}


def at(minute: int) -> int:
    return FIRST + minute * MS_PER_MINUTE


class Market:
    """One market with 3 days of minutes from 2024-03-01, asked at 2024-03-04, when all are closed."""

    def __init__(self, name: str, run: Run, make_store: Make, http: requests.Session, now: str) -> None:
        self.series = parse_series(NOTATIONS[name])
        self.store = make_store(NOTATIONS[name], "2024-03-01", "2024-03-04")
        self.exchange = run(self.store, now)
        self._http, self._path = http, PATHS[name]

    def get(self, **params: Any) -> requests.Response:
        asked = {"symbol": self.series.symbol, "interval": "1m", **params}
        return self._http.get(self.exchange.url + self._path, params=asked)

    def opens(self, **params: Any) -> list[int]:
        answer = self.get(**params)
        assert answer.status_code == 200, answer.text
        rows = answer.json()
        assert rows == [self.store.rows(self.series, row[0], row[0] + 1)[0] for row in rows]
        return [row[0] for row in rows]

    def error(self, **params: Any) -> tuple[int, int]:
        answer = self.get(**params)
        return answer.status_code, answer.json()["code"]


@pytest.fixture
def on(run: Run, make_store: Make, http: requests.Session) -> Callable[..., Market]:
    return lambda name, now="2024-03-04": Market(name, run, make_store, http, now)


@pytest.mark.parametrize("name", ["spot", "um", "cm"])
class TestEveryMarket:
    def test_without_bounds_the_newest_500_come(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).opens() == [at(minute) for minute in range(4320 - 500, 4320)]

    def test_with_an_end_only_the_newest_up_to_it_come(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).opens(endTime=at(100), limit=10) == [at(minute) for minute in range(91, 101)]

    def test_both_bounds_are_inclusive(self, on: Callable[..., Market], name: str) -> None:
        market = on(name)
        assert market.opens(startTime=at(10), endTime=at(12)) == [at(10), at(11), at(12)]
        assert market.opens(startTime=at(10), endTime=at(12) - 1) == [at(10), at(11)]
        assert market.opens(startTime=at(10) + 1, endTime=at(12)) == [at(11), at(12)]

    def test_the_largest_page_is_whole(self, on: Callable[..., Market], name: str) -> None:
        rows = 1000 if name == "spot" else 1500
        assert on(name).opens(startTime=at(0), endTime=at(rows - 1), limit=rows) == [at(i) for i in range(rows)]

    def test_before_the_listing_there_is_nothing(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).opens(startTime=at(-100), endTime=at(-1)) == []

    def test_candles_in_the_future_are_not_there(self, on: Callable[..., Market], name: str) -> None:
        market = on(name, "2024-03-02T00:00:00")
        assert market.get(startTime=at(1438), endTime=at(1450)).json()[-1][0] == at(1440)
        assert market.opens(startTime=at(1441), endTime=at(1450)) == []

    def test_the_open_candle_is_in_progress_and_not_what_it_will_be(self, on: Callable[..., Market], name: str) -> None:
        market = on(name, "2024-03-02T00:00:30")
        *closed, unfinished = market.get(startTime=at(1438), endTime=at(1450)).json()
        final = market.store.rows(market.series, at(1440), at(1441))[0]
        assert [row[0] for row in closed] == [at(1438), at(1439)]
        assert closed == market.store.rows(market.series, at(1438), at(1440))
        assert (unfinished[0], unfinished[6]) == (final[0], final[6]) == (at(1440), at(1441) - 1)
        assert unfinished[1] == final[1]
        opened, high, low, close = (Decimal(unfinished[position]) for position in (1, 2, 3, 4))
        assert Decimal(final[3]) <= low <= min(opened, close) <= max(opened, close) <= high <= Decimal(final[2])
        assert close != Decimal(final[4])
        assert unfinished[8] == final[8] // 2 != final[8]
        for position in (5, 7, 9, 10):
            whole, part = Decimal(final[position]), Decimal(unfinished[position])
            assert part < whole
            assert part.as_tuple().exponent == whole.as_tuple().exponent

    def test_the_candle_is_final_when_its_time_is_over(self, on: Callable[..., Market], name: str) -> None:
        market = on(name, "2024-03-02T00:00:59.999")
        final = market.store.rows(market.series, at(1440), at(1441))[0]
        assert market.get(limit=1).json() != [final]
        market.exchange.clock.advance(1)
        assert market.get(limit=2).json()[0] == final

    def test_refusals(self, on: Callable[..., Market], name: str) -> None:
        market = on(name)
        assert market.error(symbol="NOSUCH") == (400, -1121)
        assert market.error(symbol=None) == (400, -1102)
        assert market.error(symbol="") == (400, -1102)
        assert market.error(interval=None) == (400, -1102)
        assert market.error(interval="1H") == (400, -1120)
        assert market.error(interval="7m") == (400, -1120)
        assert market.error(startTime="yesterday") == (400, -1100)
        assert market.error(limit="many") == (400, -1100)
        assert market.error(limit=0) == (400, -1130)


@pytest.mark.parametrize("name", ["spot", "um"])
class TestSpotAndUsdM:
    def test_with_a_start_the_oldest_from_it_come(self, on: Callable[..., Market], name: str) -> None:
        market = on(name)
        expected = [at(minute) for minute in range(10, 15)]
        assert market.opens(startTime=at(10), limit=5) == expected
        assert market.opens(startTime=at(10), endTime=at(1000), limit=5) == expected

    def test_start_zero_finds_the_listing(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).opens(startTime=0, limit=1) == [FIRST]


class TestSpot:
    def test_a_larger_limit_is_clamped_to_1000(self, on: Callable[..., Market]) -> None:
        assert len(on("spot").opens(limit=5000)) == 1000

    def test_a_start_after_the_end_gives_nothing(self, on: Callable[..., Market]) -> None:
        assert on("spot").opens(startTime=at(10), endTime=at(5)) == []

    def test_one_second_candles_exist(self, on: Callable[..., Market]) -> None:
        assert on("spot").opens(interval="1s") == []

    def test_bounds_may_be_in_microseconds(self, on: Callable[..., Market]) -> None:
        market = on("spot")
        assert market.opens(startTime=at(10) * 1000, endTime=at(11) * 1000 + 999) == [at(10), at(11)]
        assert market.opens(startTime=at(10) * 1000 + 1, endTime=at(11) * 1000) == [at(11)]

    def test_a_parameter_that_does_not_exist_is_refused(self, on: Callable[..., Market]) -> None:
        assert on("spot").error(startDate="2024-03-01") == (400, -1104)


@pytest.mark.parametrize("name", ["um", "cm"])
class TestFutures:
    def test_a_larger_limit_is_refused(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).error(limit=1501) == (400, -1130)

    def test_a_start_after_the_end_is_refused(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).error(startTime=at(10), endTime=at(5)) == (400, -1023)

    def test_one_second_candles_do_not_exist(self, on: Callable[..., Market], name: str) -> None:
        assert on(name).error(interval="1s") == (400, -1120)


class TestCoinM:
    def test_the_newest_up_to_the_end_win_even_with_a_start(self, on: Callable[..., Market]) -> None:
        market = on("cm")
        assert market.opens(startTime=at(10), endTime=at(1000), limit=5) == [at(minute) for minute in range(996, 1001)]
        assert market.opens(startTime=at(998), endTime=at(1000), limit=5) == [at(998), at(999), at(1000)]

    def test_a_start_implies_an_end_200_days_later_or_now(
        self, run: Run, make_store: Make, http: requests.Session
    ) -> None:
        store = make_store("cm:BTCUSD_PERP/1d", "2023-01-01", "2024-01-01")
        url = run(store, "2023-12-31").url + PATHS["cm"]
        asked = {"symbol": "BTCUSD_PERP", "interval": "1d", "limit": 3}
        start_ms = parse_time("2023-01-05")
        rows = http.get(url, params={**asked, "startTime": start_ms}).json()
        assert rows[-1][0] == start_ms + COIN_M_MAX_SPAN_MS
        rows = http.get(url, params={**asked, "startTime": parse_time("2023-12-01")}).json()
        assert rows[-1][0] == parse_time("2023-12-31")

    def test_an_end_implies_a_start_200_days_earlier(self, run: Run, make_store: Make, http: requests.Session) -> None:
        store = make_store("cm:BTCUSD_PERP/1d", "2023-01-01", "2024-01-01")
        asked = {"symbol": "BTCUSD_PERP", "interval": "1d", "limit": 500, "endTime": parse_time("2023-12-01")}
        rows = http.get(run(store, "2023-12-31").url + PATHS["cm"], params=asked).json()
        assert [rows[0][0], rows[-1][0]] == [parse_time("2023-12-01") - COIN_M_MAX_SPAN_MS, parse_time("2023-12-01")]

    def test_more_than_200_days_are_refused(self, on: Callable[..., Market]) -> None:
        market = on("cm")
        answer = market.get(startTime=at(0) - COIN_M_MAX_SPAN_MS - 1, endTime=at(0))
        assert answer.status_code == 400
        assert answer.json() == {"code": -4088, "msg": "Maximum time interval is 200 days."}
        assert market.opens(startTime=at(0) - COIN_M_MAX_SPAN_MS, endTime=at(0)) == [at(0)]


def test_a_month_and_a_week_in_progress_end_when_the_calendar_says(
    run: Run, make_store: Make, http: requests.Session
) -> None:
    exchange = run(make_store("BTCUSDT/1M", "2024-01-01", "2024-06-01"), "2024-02-29T23:59:59")
    asked = {"symbol": "BTCUSDT", "interval": "1M"}
    unfinished = http.get(exchange.url + PATHS["spot"], params=asked).json()[-1]
    final = exchange.store.rows(parse_series("BTCUSDT/1M"), unfinished[0], unfinished[0] + 1)[0]
    assert unfinished != final
    exchange.clock.advance(1000)
    assert http.get(exchange.url + PATHS["spot"], params=asked).json()[-2] == final


def test_off_grid_candles_are_found_by_their_own_open_times(
    market: CandleStore, run: Run, http: requests.Session
) -> None:
    off = [ms for ms in market.open_times(parse_series("BTCUSDT")) if ms % MS_PER_MINUTE]
    url = run(market, "2025-01-20").url + PATHS["spot"]
    asked = {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": off[0] - MS_PER_DAY // 2,
        "endTime": off[1],
        "limit": 1000,
    }
    assert [row[0] for row in http.get(url, params=asked).json()][-2:] == off[:2]


@given(st.integers(0, 10**15), st.integers(0, 8), st.integers(0, 1000))
def test_scaled_text_is_the_share_cut_off(value: int, decimals: int, numerator: int) -> None:
    digits = str(value).rjust(decimals + 1, "0")
    text = digits if not decimals else f"{digits[:-decimals]}.{digits[-decimals:]}"
    scaled = scaled_text(text, numerator, 1000)
    assert len(scaled.partition(".")[2]) == decimals
    assert Decimal(scaled) == Decimal(value * numerator // 1000).scaleb(-decimals)
