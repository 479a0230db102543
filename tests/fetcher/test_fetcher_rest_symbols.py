"""The symbol list, the first and the last candle of a series."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import responses
from fetcher_helpers import NOW_MS, FakeTime, generated

from core.errors import ExchangeUnavailable, SeriesError
from core.rest_rules import COIN_M_MAX_SPAN_MS
from core.series import Market, parse_series
from core.symbol_facts import SymbolFacts
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time
from demo.candle_store import CandleStore
from demo.candle_store import SymbolFacts as ServedFacts
from demo.faults import Answer
from demo.server import ReplayExchange
from demo.weights import WeightLimits
from fetcher.binance import BinanceRest

Run = Callable[..., ReplayExchange]
MakeRest = Callable[..., BinanceRest]

PERP = "cm:BTCUSD_PERP"
NO_FACTS = SymbolFacts("BTCUSDT", "TRADING")


def store_of(*what: tuple[str, str, int]) -> CandleStore:
    """Return a store with generated candles: notation, first day, number of candles."""
    store = CandleStore()
    for notation, start, count in what:
        series = parse_series(notation)
        store.add(series, generated(series, start, count)[1])
    return store


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
        assert loaded == ({symbol: SymbolFacts(symbol, "PRE_SETTLE", 1_597_042_800_000, NOW_MS)}, True)
        assert exchange.requests[0].params == {}

    def test_spot_has_a_status_and_no_dates(self, run: Run, make_rest: MakeRest) -> None:
        store = store_of(*self.STORE)
        store.set_facts(Market.SPOT, "ETHUSDT", ServedFacts("BREAK"))
        symbols, _ = make_rest(Market.SPOT, run(store).url).load_symbols({"ETHUSDT"})
        assert symbols == {"ETHUSDT": SymbolFacts("ETHUSDT", "BREAK", None, None)}

    @pytest.mark.parametrize(("market", "weight"), [(Market.SPOT, 20), (Market.UM, 1), (Market.CM, 1)])
    def test_it_costs_what_the_exchange_counts(
        self, run: Run, make_rest: MakeRest, market: Market, weight: int
    ) -> None:
        exchange = run(store_of(*self.STORE))
        rest = make_rest(market, exchange.url)
        rest.load_symbols(None)
        assert rest.budget.total_used == exchange.requests[0].weight == weight

    @pytest.mark.parametrize("market", list(Market))
    def test_the_published_limit_is_taken_over(self, run: Run, make_rest: MakeRest, market: Market) -> None:
        exchange = run(store_of(*self.STORE), weight_limits=WeightLimits(spot=777, futures=777))
        rest = make_rest(market, exchange.url)
        assert rest.budget.allowed_per_minute in (6000, 2400)
        rest.load_symbols(None)
        assert rest.budget.allowed_per_minute == 777

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
        assert rest.budget.allowed_per_minute == limit
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
        assert rest.budget.allowed_per_minute == 2400

    def test_a_list_without_a_limit_leaves_the_published_one(
        self, make_rest: MakeRest, http: responses.RequestsMock
    ) -> None:
        body = {"rateLimits": [], "symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}]}
        http.get("https://any.test/fapi/v1/exchangeInfo", json=body)
        rest = make_rest(Market.UM, "https://any.test")
        assert rest.load_symbols(None)[0] == {"BTCUSDT": NO_FACTS}
        assert rest.budget.allowed_per_minute == 2400


class TestTheFirstCandle:
    @pytest.mark.parametrize("market", ["spot", "um"])
    @pytest.mark.parametrize("code", ["1m", "5m", "1h", "1d", "3d", "1w", "1M"])
    def test_of_spot_and_usd_m_takes_one_cheap_request(
        self, run: Run, make_rest: MakeRest, market: str, code: str
    ) -> None:
        notation = f"{market}:BTCUSDT/{code}"
        store = store_of((notation, "2019-09-08", 20))
        series, exchange = parse_series(notation), run(store)
        rest = make_rest(series.market, exchange.url)
        assert rest.find_listing(series, NO_FACTS) == store.open_times(series)[0]
        assert [(r.params["startTime"], r.params["limit"]) for r in exchange.requests] == [("0", "1")]

    @pytest.mark.parametrize("notation", ["BTCUSDT", "um:BTCUSDT", PERP])
    def test_there_is_none_before_trading_has_begun(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        store = store_of((f"{notation}/1m", "2024-06-05", 10))  # after the fake now
        series, exchange = parse_series(notation), run(store)
        facts = SymbolFacts(series.symbol, "TRADING", parse_time("2024-05-20"))
        assert make_rest(series.market, exchange.url).find_listing(series, facts) is None

    @pytest.mark.parametrize("notation", ["BTCUSDT", "um:BTCUSDT", PERP])
    def test_of_an_unknown_symbol_is_an_error_of_the_series(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        series = parse_series(notation)
        facts = SymbolFacts(series.symbol, "TRADING", parse_time("2024-05-20"))
        with pytest.raises(SeriesError, match="Invalid symbol"):
            make_rest(series.market, run(CandleStore()).url).find_listing(series, facts)


class TestTheFirstCandleOfCoinM:
    """It answers the newest rows of at most 200 days, so the first one has to be searched for."""

    def find(self, store: CandleStore, run: Run, make_rest: MakeRest, code: str, **options: Any) -> int | None:
        series = parse_series(f"{PERP}/{code}")
        self.exchange = run(store)
        rest = make_rest(Market.CM, self.exchange.url, **options)
        facts = rest.load_symbols(None)[0][series.symbol]
        self.exchange.clear_requests()
        found = rest.find_listing(series, facts)
        for record in self.exchange.requests:
            assert record.status == 200
            assert int(record.params["endTime"]) - int(record.params["startTime"]) <= COIN_M_MAX_SPAN_MS
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
        assert len(self.exchange.requests) < 30

    @pytest.mark.parametrize("code", ["1m", "1h", "1d", "3d", "1w", "1M"])
    def test_long_after_its_onboard_date(self, run: Run, make_rest: MakeRest, code: str) -> None:
        """Five windows of 200 days are empty."""
        store = self.store(code, "2021-03-04", 30, parse_time("2021-03-04") - 1100 * MS_PER_DAY)
        assert self.find(store, run, make_rest, code) == store.open_times(parse_series(f"{PERP}/{code}"))[0]
        assert 6 <= len(self.exchange.requests) < 40

    @pytest.mark.parametrize("early_ms", [1, MS_PER_HOUR, 2 * MS_PER_DAY])
    def test_shortly_before_its_onboard_date(self, run: Run, make_rest: MakeRest, early_ms: int) -> None:
        start = parse_time("2021-03-04")
        store = self.store("1h", "2021-03-04", 700, start + early_ms)
        assert self.find(store, run, make_rest, "1h") == start

    @pytest.mark.parametrize("day", [0, 1, 100, 195, 197, 198, 199, 200, 201, 202, 397, 398])
    def test_wherever_it_lies_between_the_windows(self, run: Run, make_rest: MakeRest, day: int) -> None:
        start = parse_time("2021-03-04")
        store = self.store("1h", "2021-03-04", 500, start - day * MS_PER_DAY - 7 * MS_PER_HOUR)
        assert self.find(store, run, make_rest, "1h") == start

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
    @pytest.mark.parametrize("notation", ["BCCUSDT/1m", "um:FTTBUSD/1h", f"{PERP}/1d", "BCCUSDT/1M"])
    def test_is_the_newest_that_there_is(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        store, series = store_of((notation, "2022-01-01", 25)), parse_series(notation)
        exchange = run(store)
        found = make_rest(series.market, exchange.url).find_last_candle(series)
        assert found == store.open_times(series)[-1]
        assert [record.params["limit"] for record in exchange.requests] == ["1"]

    @pytest.mark.parametrize("notation", ["BTCUSDT", "um:BTCUSDT", PERP])
    def test_there_is_none_without_candles(self, run: Run, make_rest: MakeRest, notation: str) -> None:
        store = store_of((f"{notation}/1h", "2024-06-05", 10))  # after the fake now
        series = parse_series(f"{notation}/1h")
        assert make_rest(series.market, run(store).url).find_last_candle(series) is None

    def test_a_fault_is_sat_out(self, run: Run, make_rest: MakeRest, fake_time: FakeTime) -> None:
        store, series = store_of(("BCCUSDT/1m", "2022-01-01", 25)), parse_series("BCCUSDT/1m")
        exchange = run(store)
        exchange.faults.add("/klines", Answer(502), times=2)
        assert make_rest(Market.SPOT, exchange.url).find_last_candle(series) == store.open_times(series)[-1]
        assert len(fake_time.waits) == 2
