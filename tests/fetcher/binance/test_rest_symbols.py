"""The symbol list, the first and the last candle of a series."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import responses
from fetcher_helpers import NOW_MS, FakeTime, Row, budget_of, generated

from core.binance.rules import COIN_M_MAX_SPAN_MS
from core.binance.symbol_status import symbol_info
from core.errors import ExchangeUnavailable, SeriesError
from core.instrument import Market
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, format_ms, parse_time
from demo.candle_store import CandleStore
from demo.candle_store import SymbolFacts as ServedFacts
from demo.faults import AlterRows, Answer
from demo.server import ReplayExchange, RequestRecord
from demo.weights import WeightLimits
from fetcher.binance.rest import BinanceRest

Run = Callable[..., ReplayExchange]
MakeRest = Callable[..., BinanceRest]
Change = Callable[[list[Row]], list[Row]]

PERP = "cm:BTCUSD_PERP"
NO_FACTS = symbol_info("BTCUSDT", "TRADING")


def store_of(*what: tuple[str, str, int]) -> CandleStore:
    """Return a store with generated candles: notation, first day, number of candles."""
    store = CandleStore()
    for notation, start, count in what:
        series = parse_series(notation)
        store.add(series, generated(series, start, count)[1])
    return store


def in_a_row(requests: Sequence[RequestRecord]) -> list[tuple[dict[str, str], int]]:
    """Return the questions, and how many times in a row each was asked."""
    return [(params, len(list(same))) for params, same in groupby(dict(record.params) for record in requests)]


class TestTheSymbolList:
    STORE = (
        ("BTCUSDT", "2024-05-01", 3),
        ("ETHUSDT", "2024-05-02", 3),
        ("币安人生USDT", "2024-05-03", 3),
        ("um:BTCUSDT", "2024-05-01", 3),
        (PERP, "2024-05-01", 3),
    )

    def test_spot_is_asked_for_the_named_symbols_alone(self, run: Run, make_rest: MakeRest) -> None:
        exchange = run(store_of(*self.STORE))
        symbols, are_all = make_rest(Market.SPOT, exchange.url).load_symbols({"ETHUSDT", "币安人生USDT"})
        assert (set(symbols), are_all) == ({"ETHUSDT", "币安人生USDT"}, False)
        [record] = exchange.requests
        assert json.loads(record.params["symbols"]) == ["ETHUSDT", "币安人生USDT"]
        assert record.params["showPermissionSets"] == "false"

    @pytest.mark.parametrize("wanted", [None, set()])
    def test_without_names_all_of_spot_come(self, run: Run, make_rest: MakeRest, wanted: set[str] | None) -> None:
        exchange = run(store_of(*self.STORE))
        symbols, are_all = make_rest(Market.SPOT, exchange.url).load_symbols(wanted)
        assert (set(symbols), are_all) == ({"BTCUSDT", "ETHUSDT", "币安人生USDT"}, True)

    def test_an_unknown_name_makes_it_ask_for_all(self, run: Run, make_rest: MakeRest) -> None:
        exchange = run(store_of(*self.STORE))
        symbols, are_all = make_rest(Market.SPOT, exchange.url).load_symbols({"BTCUSDT", "NOSUCH"})
        assert (set(symbols), are_all) == ({"BTCUSDT", "ETHUSDT", "币安人生USDT"}, True)
        assert [record.status for record in exchange.requests] == [400, 200]

    def test_more_than_a_hundred_names_are_not_sent(self, run: Run, make_rest: MakeRest) -> None:
        exchange = run(store_of(*self.STORE))
        _, are_all = make_rest(Market.SPOT, exchange.url).load_symbols({f"COIN{n}USDT" for n in range(101)})
        assert are_all
        assert ["symbols" in record.params for record in exchange.requests] == [False]

    @pytest.mark.parametrize(("market", "symbol"), [(Market.UM, "BTCUSDT"), (Market.CM, "BTCUSD_PERP")])
    def test_futures_give_all_with_their_dates(
        self, run: Run, make_rest: MakeRest, market: Market, symbol: str
    ) -> None:
        store = store_of(*self.STORE)
        store.set_facts(market, symbol, ServedFacts("PRE_SETTLE", onboard_ms=1_597_042_800_000, delivery_ms=NOW_MS))
        exchange = run(store)
        loaded = make_rest(market, exchange.url).load_symbols({symbol})
        assert loaded == ({symbol: symbol_info(symbol, "PRE_SETTLE", 1_597_042_800_000, NOW_MS)}, True)
        assert exchange.requests[0].params == {}

    def test_spot_has_a_status_and_no_dates(self, run: Run, make_rest: MakeRest) -> None:
        store = store_of(*self.STORE)
        store.set_facts(Market.SPOT, "ETHUSDT", ServedFacts("BREAK"))
        symbols, _ = make_rest(Market.SPOT, run(store).url).load_symbols({"ETHUSDT"})
        assert symbols == {"ETHUSDT": symbol_info("ETHUSDT", "BREAK")}

    @pytest.mark.parametrize(("market", "weight"), [(Market.SPOT, 20), (Market.UM, 1), (Market.CM, 1)])
    def test_it_costs_what_the_exchange_counts(
        self, run: Run, make_rest: MakeRest, market: Market, weight: int
    ) -> None:
        exchange = run(store_of(*self.STORE))
        rest = make_rest(market, exchange.url)
        rest.load_symbols(None)
        assert budget_of(rest).total_used == exchange.requests[0].weight == weight

    @pytest.mark.parametrize("market", list(Market))
    def test_the_published_limit_is_taken_over(self, run: Run, make_rest: MakeRest, market: Market) -> None:
        exchange = run(store_of(*self.STORE), weight_limits=WeightLimits(spot=777, futures=777))
        rest = make_rest(market, exchange.url)
        assert budget_of(rest).allowed_per_minute in (6000, 2400)
        rest.load_symbols(None)
        assert budget_of(rest).allowed_per_minute == 777

    @pytest.mark.parametrize(
        ("name", "market", "limit", "counts"),
        [
            ("BINANCE", Market.SPOT, 1200, {"TRADING": 1262, "BREAK": 433}),
            ("BINANCE_FUTURES", Market.UM, 2400, None),
            ("BINANCE_DELIVERY", Market.CM, 2400, None),
        ],
    )
    def test_recorded_lists_are_understood(
        self,
        shared_data: Path,
        make_rest: MakeRest,
        http: responses.RequestsMock,
        name: str,
        market: Market,
        limit: int,
        counts: dict[str, int] | None,
    ) -> None:
        text = gzip.decompress((shared_data / "rest" / f"cryptofeed.{name}.exchangeInfo.txt.gz").read_bytes()).decode()
        body = text[text.index("{") :].splitlines()[0]
        path = {"spot": "/api/v3", "um": "/fapi/v1", "cm": "/dapi/v1"}[market]
        http.get(f"https://any.test{path}/exchangeInfo", body=body)
        rest = make_rest(market, "https://any.test")
        symbols, are_all = rest.load_symbols(None)
        assert are_all
        assert budget_of(rest).allowed_per_minute == limit
        statuses = [facts.status for facts in symbols.values()]
        assert "None" not in statuses
        if counts is not None:
            assert {status: statuses.count(status) for status in set(statuses)} == counts
        else:
            assert all(facts.onboard_ms and facts.delivery_ms for facts in symbols.values())

    LIMITS = ({"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1},)
    UNUSABLE: tuple[Any, ...] = (
        [],
        None,
        {},
        {"rateLimits": LIMITS, "symbols": []},
        {"rateLimits": LIMITS},
        {"rateLimits": LIMITS, "symbols": [{"status": "TRADING"}]},
        {"rateLimits": LIMITS, "symbols": ["BTCUSDT"]},
        {"rateLimits": [{}], "symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}]},
        {"rateLimits": [{**LIMITS[0], "limit": "many"}], "symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}]},
    )

    @pytest.mark.parametrize("body", UNUSABLE, ids=range(len(UNUSABLE)))
    def test_an_unusable_list_is_a_market_that_cannot_be_used(
        self, make_rest: MakeRest, http: responses.RequestsMock, body: Any
    ) -> None:
        http.get("https://any.test/fapi/v1/exchangeInfo", json=body)
        rest = make_rest(Market.UM, "https://any.test")
        with pytest.raises(ExchangeUnavailable, match="market um"):
            rest.load_symbols(None)
        assert budget_of(rest).allowed_per_minute == 2400

    def test_a_list_without_a_limit_leaves_the_published_one(
        self, make_rest: MakeRest, http: responses.RequestsMock
    ) -> None:
        body = {"rateLimits": [], "symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}]}
        http.get("https://any.test/fapi/v1/exchangeInfo", json=body)
        rest = make_rest(Market.UM, "https://any.test")
        assert rest.load_symbols(None)[0] == {"BTCUSDT": NO_FACTS}
        assert budget_of(rest).allowed_per_minute == 2400


class TestTheFirstCandle:
    @pytest.mark.parametrize("market", ["spot", "um"])
    @pytest.mark.parametrize("code", ["1m", "5m", "1h", "1d", "3d", "1w", "1M"])
    def test_of_spot_and_usd_m_takes_two_cheap_requests(
        self, run: Run, make_rest: MakeRest, market: str, code: str
    ) -> None:
        notation = f"{market}:BTCUSDT/{code}"
        store = store_of((notation, "2019-09-08", 20))
        series, exchange = parse_series(notation), run(store)
        rest = make_rest(series.market, exchange.url)
        assert rest.find_first_candle(series) == store.open_times(series)[0]
        assert [(r.params["startTime"], r.params["limit"]) for r in exchange.requests] == [("0", "1")] * 2
        assert all("endTime" not in r.params for r in exchange.requests)

    @pytest.mark.parametrize("notation", ["BTCUSDT", "um:BTCUSDT", PERP])
    def test_there_is_none_before_trading_has_begun(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        store = store_of((f"{notation}/1m", "2024-06-05", 10))  # after the fake now
        series, exchange = parse_series(notation), run(store)
        assert make_rest(series.market, exchange.url).find_first_candle(series) is None
        stretches = -(-(NOW_MS - parse_time("2020-01-01")) // COIN_M_MAX_SPAN_MS) if notation == PERP else 1
        # That there is none is believed when it was said three times in a row.
        assert [times for _, times in in_a_row(exchange.requests)] == [3] * stretches

    @pytest.mark.parametrize("notation", ["BTCUSDT", "um:BTCUSDT", PERP])
    def test_of_an_unknown_symbol_is_an_error_of_the_series(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        series = parse_series(notation)
        with pytest.raises(SeriesError, match="Invalid symbol"):
            make_rest(series.market, run(CandleStore()).url).find_first_candle(series)

    @pytest.mark.parametrize("market", ["spot", "um"])
    @pytest.mark.parametrize(("wrong", "requests"), [(1, 3), (2, 4)])
    @pytest.mark.parametrize("answer", ["nothing", "a later candle"])
    def test_one_wrong_answer_is_not_believed(
        self, run: Run, make_rest: MakeRest, market: str, wrong: int, requests: int, answer: str
    ) -> None:
        series = parse_series(f"{market}:BTCUSDT/1h")
        store = store_of((str(series), "2019-09-08", 20))
        later = store.rows(series)[7]
        exchange = run(store)
        change: Change = (lambda rows: []) if answer == "nothing" else (lambda rows: [later])
        exchange.faults.add("/klines", AlterRows(change), after=wrong - 1)
        assert make_rest(series.market, exchange.url).find_first_candle(series) == store.open_times(series)[0]
        assert exchange.faults.pending() == 0
        assert len(exchange.requests) == requests

    @pytest.mark.parametrize("market", ["spot", "um"])
    @pytest.mark.parametrize(("first_wrong", "requests"), [(1, 4), (2, 5)])
    def test_two_wrong_empty_answers_in_a_row_are_not_believed(
        self, run: Run, make_rest: MakeRest, market: str, first_wrong: int, requests: int
    ) -> None:
        series = parse_series(f"{market}:BTCUSDT/1h")
        store = store_of((str(series), "2019-09-08", 20))
        exchange = run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: []), after=first_wrong - 1, times=2)
        assert make_rest(series.market, exchange.url).find_first_candle(series) == store.open_times(series)[0]
        assert exchange.faults.pending() == 0
        assert len(exchange.requests) == requests

    @pytest.mark.parametrize("market", ["spot", "um"])
    def test_three_wrong_empty_answers_in_a_row_cannot_be_told_from_the_truth(
        self, run: Run, make_rest: MakeRest, market: str
    ) -> None:
        """The documented limit."""
        series = parse_series(f"{market}:BTCUSDT/1h")
        exchange = run(store_of((str(series), "2019-09-08", 20)))
        exchange.faults.add("/klines", AlterRows(lambda rows: []), times=3)
        assert make_rest(series.market, exchange.url).find_first_candle(series) is None
        assert len(exchange.requests) == 3

    @pytest.mark.parametrize("market", ["spot", "um"])
    def test_one_candle_of_a_symbol_that_has_none_is_not_believed(
        self, run: Run, make_rest: MakeRest, market: str
    ) -> None:
        series = parse_series(f"{market}:BTCUSDT/1h")
        stranger = generated(series, "2024-01-01", 1)[1]
        exchange = run(store_of((str(series), "2024-06-05", 10)))  # after the fake now
        exchange.faults.add("/klines", AlterRows(lambda rows: stranger))
        assert make_rest(series.market, exchange.url).find_first_candle(series) is None
        assert len(exchange.requests) == 4

    @pytest.mark.parametrize("notation", ["BTCUSDT/1h", "um:BTCUSDT/1h", f"{PERP}/1h"])
    def test_answers_that_keep_changing_are_an_error_and_not_a_guess(
        self, run: Run, make_rest: MakeRest, notation: str
    ) -> None:
        series = parse_series(notation)
        exchange = run(store_of((notation, "2020-01-05", 20)))
        for after in range(0, 10, 2):
            exchange.faults.add("/klines", AlterRows(lambda rows: []), after=after)
        with pytest.raises(SeriesError, match="about the first or last candle keep changing"):
            make_rest(series.market, exchange.url).find_first_candle(series)
        assert len(exchange.requests) == 9

    @pytest.mark.parametrize("notation", ["BTCUSDT/1h", "um:BTCUSDT/1h", f"{PERP}/1h"])
    def test_a_candle_of_the_last_moment_is_found(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        """It opened a millisecond ago and is still open."""
        series = parse_series(notation)
        exchange = run(store_of((notation, "2024-06-01T12:00", 1)))
        exchange.clock.advance(1)
        assert make_rest(series.market, exchange.url).find_first_candle(series) == NOW_MS

    @pytest.mark.parametrize("notation", ["BTCUSDT/1h", "um:BTCUSDT/1h", f"{PERP}/1h"])
    def test_a_candle_that_opens_this_very_moment_is_no_error(
        self, run: Run, make_rest: MakeRest, notation: str, fake_time: FakeTime
    ) -> None:
        series, exchange = parse_series(notation), run(store_of((notation, "2024-06-01T12:00", 1)))
        assert make_rest(series.market, exchange.url).find_first_candle(series) in (None, NOW_MS)
        assert fake_time.waits == []


def some_of(places: range) -> list[object]:
    """Return the first three places, every seventh and the last for the suite, and all others for tests/long."""
    return [
        place if place < 4 or place % 7 == 0 or place == places[-1] else pytest.param(place, marks=pytest.mark.long)
        for place in places
    ]


class TestTheFirstCandleOfCoinM:
    """It answers the newest rows of at most 200 days, so the first one has to be searched for."""

    def find(self, store: CandleStore, run: Run, make_rest: MakeRest, code: str, **options: Any) -> int | None:
        series = parse_series(f"{PERP}/{code}")
        self.exchange = run(store)
        found = make_rest(Market.CM, self.exchange.url, **options).find_first_candle(series)
        for record in self.exchange.requests:
            assert record.status == 200
            assert int(record.params["endTime"]) - int(record.params["startTime"]) <= COIN_M_MAX_SPAN_MS
        asked = in_a_row(self.exchange.requests)
        for params, times in asked:  # every question twice, or three times when the answer is "none"
            candles = store.rows(series, int(params["startTime"]), int(params["endTime"]) + 1)
            assert times == (2 if candles else 3)
        assert int(asked[0][0]["startTime"]) == series.interval.floor(parse_time("2020-01-01"))
        return found

    def store(self, code: str, start: str, count: int, onboard_ms: int) -> CandleStore:
        store = store_of((f"{PERP}/{code}", start, count), (f"{PERP}/1d", start, 300))
        store.set_facts(Market.CM, "BTCUSD_PERP", ServedFacts(onboard_ms=onboard_ms))
        return store

    @pytest.mark.parametrize("limit", [None, 1, 20, 199, 1500])
    @pytest.mark.parametrize("code", ["1m", "1h", "1d"])
    def test_on_its_onboard_date(self, run: Run, make_rest: MakeRest, code: str, limit: int | None) -> None:
        start = parse_time("2021-03-04")
        store = self.store(code, "2021-03-04", 700, start)
        assert self.find(store, run, make_rest, code, limit=limit) == start
        assert len(self.exchange.requests) < 50

    @pytest.mark.parametrize("code", ["1m", "1h", "1d", "3d", "1w", "1M"])
    def test_long_after_its_onboard_date(self, run: Run, make_rest: MakeRest, code: str) -> None:
        """Six stretches of 200 days are empty."""
        store = self.store(code, "2023-06-05", 30, parse_time("2023-06-05") - 1100 * MS_PER_DAY)
        if code == "1M":  # thirty months reach beyond the fake now
            store.remove(parse_series(f"{PERP}/1M"), Span(NOW_MS, parse_time("2030-01-01")))
        assert self.find(store, run, make_rest, code) == store.open_times(parse_series(f"{PERP}/{code}"))[0]
        # The stretches, then at most 18 halves of the 288,000 minutes of one.
        assert 3 * 6 + 2 <= len(self.exchange.requests) <= 3 * 6 + 2 + 3 * 18

    @pytest.mark.parametrize("early_ms", [1, MS_PER_HOUR, 2 * MS_PER_DAY, 3 * MS_PER_DAY, 500 * MS_PER_DAY])
    def test_before_its_onboard_date(self, run: Run, make_rest: MakeRest, early_ms: int) -> None:
        start = parse_time("2021-03-04")
        store = self.store("1h", "2021-03-04", 700, start + early_ms)
        assert self.find(store, run, make_rest, "1h") == start

    @pytest.mark.parametrize(
        ("code", "first"),
        [
            ("1M", "2020-08-01"),
            ("1w", "2020-08-03"),
            ("3d", "2020-08-07"),
            ("1d", "2020-08-10"),
            ("1h", "2020-08-10T06:00"),
        ],
    )
    def test_in_a_bucket_that_opens_before_its_onboard_date(
        self, run: Run, make_rest: MakeRest, code: str, first: str
    ) -> None:
        store = self.store(code, first, 20, parse_time("2020-08-10"))
        assert store.open_times(parse_series(f"{PERP}/{code}"))[0] == parse_time(first)
        assert self.find(store, run, make_rest, code) == parse_time(first)

    @pytest.mark.parametrize("hours", [7, pytest.param(0, marks=pytest.mark.long)])
    @pytest.mark.parametrize("day", [0, 1, 100, 199, 200, 201, 399, 400, 401, 600, 1000])
    def test_wherever_it_lies_between_the_stretches(self, run: Run, make_rest: MakeRest, day: int, hours: int) -> None:
        start = parse_time("2020-01-01") + day * MS_PER_DAY + hours * MS_PER_HOUR
        store = self.store("1h", format_ms(start), 500, start)
        assert self.find(store, run, make_rest, "1h") == start

    @pytest.mark.parametrize("days_ahead", [1, 2, 3, 199, 200, 201])
    @pytest.mark.parametrize("code", ["3d", "1w", "1M"])
    def test_in_buckets_longer_than_a_day_at_the_border_of_a_stretch(
        self, run: Run, make_rest: MakeRest, code: str, days_ahead: int
    ) -> None:
        series = parse_series(f"{PERP}/{code}")
        border = series.interval.floor(parse_time("2020-01-01")) + COIN_M_MAX_SPAN_MS
        first = series.interval.ceil(border - 3 * MS_PER_DAY + days_ahead * MS_PER_DAY)
        store = self.store(code, format_ms(first), 20, first)
        assert self.find(store, run, make_rest, code) == first

    def test_in_the_very_first_stretch_before_its_first_day(self, run: Run, make_rest: MakeRest) -> None:
        """The week of 2020-01-01 opens in 2019."""
        assert self.find(self.store("1w", "2019-12-30", 20, 0), run, make_rest, "1w") == parse_time("2019-12-30")

    @pytest.mark.parametrize("wrong", some_of(range(1, 37)))
    def test_one_wrong_empty_answer_changes_nothing(self, run: Run, make_rest: MakeRest, wrong: int) -> None:
        """Whichever of the requests it answers: the stretches come first, then the halves."""
        start = parse_time("2020-08-10T06:00")
        series = parse_series(f"{PERP}/1m")
        store = store_of((f"{PERP}/1m", "2020-08-10T06:00", 500), (f"{PERP}/1m", "2021-01-05", 500))
        exchange = run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: []), after=wrong - 1)
        assert make_rest(Market.CM, exchange.url).find_first_candle(series) == start
        assert exchange.faults.pending() == 0

    @pytest.mark.parametrize("code", ["1m", "1h", "1d", "3d", "1w", "1M"])
    @pytest.mark.parametrize("wrong", [1, 2, 3])
    def test_one_wrong_empty_answer_at_the_start_hides_no_stretch(
        self, run: Run, make_rest: MakeRest, wrong: int, code: str
    ) -> None:
        """The first stretch has candles: taken for empty, the listing would come out half a year late."""
        series = parse_series(f"{PERP}/{code}")
        store = store_of((f"{PERP}/{code}", "2020-02-03", 30))
        first = store.open_times(series)[0]
        exchange = run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: []), after=wrong - 1)
        assert make_rest(Market.CM, exchange.url).find_first_candle(series) == first
        assert exchange.faults.pending() == 0

    @pytest.mark.parametrize("first_wrong", some_of(range(1, 46)))
    def test_two_wrong_empty_answers_in_a_row_change_nothing(
        self, run: Run, make_rest: MakeRest, first_wrong: int
    ) -> None:
        """Whichever two requests in a row they answer, of one question or of two."""
        series = parse_series(f"{PERP}/1m")
        store = store_of((f"{PERP}/1m", "2020-08-10T06:00", 500), (f"{PERP}/1m", "2021-01-05", 500))
        exchange = run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: []), after=first_wrong - 1, times=2)
        assert make_rest(Market.CM, exchange.url).find_first_candle(series) == parse_time("2020-08-10T06:00")
        assert exchange.faults.pending() == 0

    @pytest.mark.parametrize("code", ["1m", "1h", "1d", "3d", "1w", "1M"])
    @pytest.mark.parametrize("first_wrong", [1, 2, 3])
    def test_two_wrong_empty_answers_in_a_row_at_the_start_hide_no_stretch(
        self, run: Run, make_rest: MakeRest, first_wrong: int, code: str
    ) -> None:
        series = parse_series(f"{PERP}/{code}")
        store = store_of((f"{PERP}/{code}", "2020-02-03", 30))
        exchange = run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: []), after=first_wrong - 1, times=2)
        assert make_rest(Market.CM, exchange.url).find_first_candle(series) == store.open_times(series)[0]
        assert exchange.faults.pending() == 0

    def test_with_holes_behind_it(self, run: Run, make_rest: MakeRest) -> None:
        """One early candle, then nothing for a hundred days: the early one is the first."""
        store = store_of(
            (f"{PERP}/1h", "2021-03-04", 1), (f"{PERP}/1h", "2021-06-20", 500), (f"{PERP}/1d", "2021-03-04", 1)
        )
        store.set_facts(Market.CM, "BTCUSD_PERP", ServedFacts(onboard_ms=parse_time("2021-03-04")))
        assert self.find(store, run, make_rest, "1h") == parse_time("2021-03-04")

    def test_there_is_none_while_its_onboard_date_lies_ahead(self, run: Run, make_rest: MakeRest) -> None:
        store = self.store("1h", "2024-06-20", 10, parse_time("2024-06-20"))
        assert self.find(store, run, make_rest, "1h") is None


class TestTheLastCandle:
    """COIN-M is asked in stretches of 200 days; the candles of these tests lie in the first one."""

    @pytest.mark.parametrize("notation", ["BCCUSDT/1m", "um:FTTBUSD/1h", "BCCUSDT/1M"])
    def test_is_the_newest_that_there_is(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        store, series = store_of((notation, "2022-01-01", 25)), parse_series(notation)
        exchange = run(store)
        found = make_rest(series.market, exchange.url).find_last_candle(series)
        assert found == store.open_times(series)[-1]
        assert [record.params["limit"] for record in exchange.requests] == ["1"] * 2

    @pytest.mark.parametrize("notation", ["BTCUSDT", "um:BTCUSDT"])
    def test_there_is_none_without_candles(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        store = store_of((f"{notation}/1h", "2024-06-05", 10))  # after the fake now
        series, exchange = parse_series(f"{notation}/1h"), run(store)
        assert make_rest(series.market, exchange.url).find_last_candle(series) is None
        assert len(exchange.requests) == 3

    NOTATIONS = ("BCCUSDT/1h", "um:FTTBUSD/1h", f"{PERP}/1h")

    @pytest.mark.parametrize("notation", NOTATIONS)
    @pytest.mark.parametrize(("wrong", "after"), [(1, 0), (2, 0), (1, 1), (2, 1)])
    def test_one_or_two_wrong_empty_answers_are_not_believed(
        self, run: Run, make_rest: MakeRest, notation: str, wrong: int, after: int
    ) -> None:
        store, series = store_of((notation, "2024-01-01", 25)), parse_series(notation)
        exchange = run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: []), after=after, times=wrong)
        assert make_rest(series.market, exchange.url).find_last_candle(series) == store.open_times(series)[-1]
        assert exchange.faults.pending() == 0
        assert len(exchange.requests) == after + wrong + 2

    @pytest.mark.parametrize("notation", NOTATIONS[:2])
    def test_three_wrong_empty_answers_cannot_be_told_from_the_truth(
        self, run: Run, make_rest: MakeRest, notation: str
    ) -> None:
        """The documented limit."""
        series, exchange = parse_series(notation), run(store_of((notation, "2024-01-01", 25)))
        exchange.faults.add("/klines", AlterRows(lambda rows: []), times=3)
        assert make_rest(series.market, exchange.url).find_last_candle(series) is None
        assert len(exchange.requests) == 3

    @pytest.mark.parametrize("notation", NOTATIONS)
    def test_one_answer_with_an_earlier_candle_is_not_believed(
        self, run: Run, make_rest: MakeRest, notation: str
    ) -> None:
        store, series = store_of((notation, "2024-01-01", 25)), parse_series(notation)
        earlier, exchange = store.rows(series)[7], run(store)
        exchange.faults.add("/klines", AlterRows(lambda rows: [earlier]))
        assert make_rest(series.market, exchange.url).find_last_candle(series) == store.open_times(series)[-1]
        assert len(exchange.requests) == 3

    @pytest.mark.parametrize("notation", NOTATIONS)
    def test_answers_that_keep_changing_are_an_error_and_not_a_guess(
        self, run: Run, make_rest: MakeRest, notation: str
    ) -> None:
        series, exchange = parse_series(notation), run(store_of((notation, "2024-01-01", 25)))
        for after in range(0, 10, 2):
            exchange.faults.add("/klines", AlterRows(lambda rows: []), after=after)
        with pytest.raises(SeriesError, match="about the first or last candle keep changing"):
            make_rest(series.market, exchange.url).find_last_candle(series)
        assert len(exchange.requests) == 9

    @pytest.mark.parametrize("notation", ["BTCUSDT/1h", "um:BTCUSDT/1h", f"{PERP}/1h"])
    def test_may_have_opened_this_very_moment(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        series, exchange = parse_series(notation), run(store_of((notation, "2024-06-01T10:00", 3)))
        assert make_rest(series.market, exchange.url).find_last_candle(series) == NOW_MS

    def test_a_fault_is_sat_out(self, run: Run, make_rest: MakeRest, fake_time: FakeTime) -> None:
        store, series = store_of(("BCCUSDT/1m", "2022-01-01", 25)), parse_series("BCCUSDT/1m")
        exchange = run(store)
        exchange.faults.add("/klines", Answer(502), times=2)
        assert make_rest(Market.SPOT, exchange.url).find_last_candle(series) == store.open_times(series)[-1]
        assert len(fake_time.waits) == 2
