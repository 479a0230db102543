"""The newest candle of COIN-M, which answers 200 days at most, and the first candle from a given time on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import responses
from fetcher_helpers import NOW_MS, generated

from core.binance.rules import COIN_M_MAX_SPAN_MS
from core.binance.symbol_status import symbol_info
from core.errors import SeriesError
from core.instrument import Market
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, format_ms, parse_time
from demo.candle_store import CandleStore
from demo.faults import AlterRows
from demo.server import ReplayExchange
from fetcher.binance.rest import BinanceRest

Run = Callable[..., ReplayExchange]
MakeRest = Callable[..., BinanceRest]

PERP = "cm:XMRUSD_PERP"


def store_with(*what: tuple[str, str, int]) -> CandleStore:
    """Return a store with generated candles: notation, first day, number of candles."""
    store = CandleStore()
    for notation, start, count in what:
        series = parse_series(notation)
        store.add(series, generated(series, start, count)[1])
    return store


def stretches_asked(exchange: ReplayExchange) -> list[Span]:
    """Return the different stretches asked for, in order, and require both bounds and at most 200 days of each."""
    asked = []
    for record in exchange.requests:
        assert record.status == 200
        assert record.params["limit"] == "1"
        asked.append(Span(int(record.params["startTime"]), int(record.params["endTime"]) + 1))
        assert asked[-1].end_ms - asked[-1].start_ms <= COIN_M_MAX_SPAN_MS
    return list(dict.fromkeys(asked))


class TestTheLastCandleOfCoinM:
    @pytest.mark.parametrize("code", ["1m", "1h", "1d", "1w", "1M"])
    @pytest.mark.parametrize("start", ["2020-09-01", "2021-06-01", "2022-03-05"])
    def test_is_found_years_back(self, run: Run, make_rest: MakeRest, code: str, start: str) -> None:
        store, series = store_with((f"{PERP}/{code}", start, 20)), parse_series(f"{PERP}/{code}")
        exchange, last_ms = run(store), store.open_times(series)[-1]
        assert make_rest(Market.CM, exchange.url).find_last_candle(series) == last_ms
        stretches = stretches_asked(exchange)
        assert stretches[0].end_ms == NOW_MS + 1
        assert all(later.start_ms == earlier.end_ms for later, earlier in pairwise(stretches))
        # Three times "none" is believed; the stretch with the candle says it twice.
        assert len(exchange.requests) == 3 * (len(stretches) - 1) + 2

    @pytest.mark.parametrize("days_ago", [0, 1, 199, 200, 201, 399, 400, 401])
    def test_wherever_it_lies_between_the_stretches(self, run: Run, make_rest: MakeRest, days_ago: int) -> None:
        series = parse_series(f"{PERP}/1h")
        last_ms = NOW_MS - days_ago * MS_PER_DAY
        store = store_with((str(series), format_ms(last_ms - 30 * MS_PER_HOUR), 31))
        exchange = run(store)
        assert make_rest(Market.CM, exchange.url).find_last_candle(series) == last_ms
        assert len(stretches_asked(exchange)) == 1 + days_ago // 200

    def test_of_a_trading_symbol_takes_two_requests(self, run: Run, make_rest: MakeRest) -> None:
        series = parse_series(f"{PERP}/1h")
        exchange = run(store_with((str(series), "2024-01-01", 24 * 200)))
        assert make_rest(Market.CM, exchange.url).find_last_candle(series) == NOW_MS
        assert len(exchange.requests) == 2

    def test_is_not_looked_for_before_the_listing(self, run: Run, make_rest: MakeRest) -> None:
        series, listing_ms = parse_series(f"{PERP}/1h"), parse_time("2023-11-20")
        exchange = run(store_with((str(series), "2024-06-05", 10)))  # after the fake now
        assert make_rest(Market.CM, exchange.url).find_last_candle(series, listing_ms) is None
        stretches = stretches_asked(exchange)
        assert stretches == [Span(listing_ms, NOW_MS + 1)]
        assert len(exchange.requests) == 3

    def test_is_looked_for_back_to_the_markets_beginning_without_a_listing(self, run: Run, make_rest: MakeRest) -> None:
        series = parse_series(f"{PERP}/1w")
        exchange = run(store_with((str(series), "2024-06-10", 10)))
        assert make_rest(Market.CM, exchange.url).find_last_candle(series) is None
        assert stretches_asked(exchange)[-1].start_ms == parse_time("2019-12-30")

    def test_one_wrong_empty_answer_hides_no_stretch(self, run: Run, make_rest: MakeRest) -> None:
        series = parse_series(f"{PERP}/1h")
        store = store_with((str(series), "2021-01-01", 20), (str(series), "2023-01-01", 20))
        for wrong in range(1, 9):
            exchange = run(store)
            exchange.faults.add("/klines", AlterRows(lambda rows: []), after=wrong - 1)
            found = make_rest(Market.CM, exchange.url).find_last_candle(series)
            assert found == parse_time("2023-01-01T19:00"), wrong
            assert exchange.faults.pending() == 0

    def test_of_an_unknown_symbol_is_an_error_of_the_series(self, run: Run, make_rest: MakeRest) -> None:
        with pytest.raises(SeriesError, match="Invalid symbol"):
            make_rest(Market.CM, run(CandleStore()).url).find_last_candle(parse_series(f"{PERP}/1h"))


class TestTheFirstCandleFromATimeOn:
    NOTATIONS = ("BTCUSDT/1h", "um:BTCUSDT/1h", f"{PERP}/1h")

    def store(self, series: Series) -> CandleStore:
        """Two eras, a year and a half apart."""
        return store_with((str(series), "2021-03-04", 20), (str(series), "2022-09-05T07:00", 20))

    @pytest.mark.parametrize("notation", NOTATIONS)
    @pytest.mark.parametrize(
        ("start", "first"),
        [
            ("2021-03-04", "2021-03-04"),
            ("2021-03-04T05:00", "2021-03-04T05:00"),
            ("2021-03-05", "2022-09-05T07:00"),
            ("2022-09-05T07:00", "2022-09-05T07:00"),
            ("2022-09-06T07:00", None),
            ("2024-06-05", None),  # after the fake now
        ],
    )
    def test_lies_at_or_after_it(
        self, run: Run, make_rest: MakeRest, notation: str, start: str, first: str | None
    ) -> None:
        series = parse_series(notation)
        exchange = run(self.store(series))
        found = make_rest(series.market, exchange.url).find_first_candle(series, parse_time(start))
        assert found == (None if first is None else parse_time(first))

    @pytest.mark.parametrize("notation", NOTATIONS)
    def test_whether_there_is_a_candle_in_a_span(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        series = parse_series(notation)
        rest = make_rest(series.market, run(self.store(series)).url)
        for start, end, there in [
            ("2022-09-04T07:00", "2022-09-05T07:00", False),
            ("2022-09-04T07:00", "2022-09-05T08:00", True),
            ("2021-03-04T19:00", "2021-03-05", True),
            ("2021-03-04T20:00", "2021-03-05", False),
        ]:
            assert rest.has_candle_in(series, Span(parse_time(start), parse_time(end))) is there


@pytest.mark.parametrize("said", [None, 0, -1, "", "2021-01-01", 1.5, []])
def test_a_date_that_is_no_time_counts_as_not_said(
    make_rest: MakeRest, http: responses.RequestsMock, said: object
) -> None:
    body = {
        "rateLimits": [],
        "symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "onboardDate": said, "deliveryDate": said}],
    }
    http.get("https://any.test/fapi/v1/exchangeInfo", json=body)
    symbols, _ = make_rest(Market.UM, "https://any.test").load_symbols(None)
    assert symbols == {"BTCUSDT": symbol_info("BTCUSDT", "TRADING")}
