"""Tickers, mark prices and funding of REST and streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import requests

from core.instrument import Market
from core.ranges import Span
from core.series import make_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from demo.market_data import MarketData
from demo.server import ReplayExchange
from demo.stream_channels import Channels
from demo.stream_names import read_name

Live = Callable[..., ReplayExchange]
BEGIN_MS, HOUR = parse_time("2024-03-01"), 3_600_000
NOW, NOW_MS = "2024-03-03T12:00:30", parse_time("2024-03-03T12:00:30")
SERIES = ((Market.SPOT, "BTCUSDT"), (Market.UM, "BTCUSDT"), (Market.UM, "ETHUSDT"), (Market.CM, "BTCUSD_PERP"))
PATHS = {Market.SPOT: "/api/v3/", Market.UM: "/fapi/v1/", Market.CM: "/dapi/v1/"}


@pytest.fixture(scope="module")
def store() -> CandleStore:
    made = CandleStore()
    for market, symbol in SERIES:
        series = make_series(market, symbol, "1h")
        made.add(series, generate_series(series, Span(BEGIN_MS, BEGIN_MS + 72 * HOUR)))
    return made


def frame(store: CandleStore, market: Market, name: str, now_ms: int) -> Any:
    known = read_name(market, name)
    assert known is not None
    channel = Channels(MarketData(store))(market, known)
    channel.restart(now_ms - known.every_ms - 5)
    [made] = channel.due(now_ms)
    return json.loads(made.payload)


@pytest.mark.parametrize(("market", "symbol"), SERIES)
def test_a_ticker_is_the_sum_of_the_last_24_hours(
    live: Live, store: CandleStore, http: requests.Session, market: Market, symbol: str
) -> None:
    answered = http.get(live(store, NOW).url + PATHS[market] + "ticker/24hr", params={"symbol": symbol}).json()
    ticker = answered[0] if market is Market.CM else answered
    # The hourly candles that open within the window; the last one is half a minute old.
    rows = store.rows(make_series(market, symbol, "1h"), NOW_MS - 24 * HOUR + 1, NOW_MS)
    if market is not Market.SPOT:
        assert ticker["openTime"] % 60_000 == 0
        rows = store.rows(make_series(market, symbol, "1h"), ticker["openTime"], NOW_MS)
    assert ticker["openPrice"] == rows[0][1]
    closed = rows[:-1]
    least = sum(Decimal(row[5]) for row in closed)
    assert least <= Decimal(ticker["volume"]) < least + Decimal(rows[-1][5])
    assert Decimal(ticker["highPrice"]) >= max(Decimal(row[2]) for row in closed)
    assert ticker["count"] == ticker["lastId"] - ticker["firstId"] + 1
    assert Decimal(ticker["priceChange"]) == Decimal(ticker["lastPrice"]) - Decimal(ticker["openPrice"])
    assert Decimal(ticker["lowPrice"]) <= Decimal(ticker["lastPrice"]) <= Decimal(ticker["highPrice"])


@pytest.mark.parametrize(("market", "symbol"), SERIES)
def test_the_stream_s_ticker_says_the_same(
    live: Live, store: CandleStore, http: requests.Session, market: Market, symbol: str
) -> None:
    event = frame(store, market, f"{symbol.lower()}@ticker", NOW_MS)
    assert (event["e"], event["E"], event["s"]) == ("24hrTicker", NOW_MS, symbol)
    answered = http.get(live(store, NOW).url + PATHS[market] + "ticker/24hr", params={"symbol": symbol}).json()
    ticker = answered[0] if market is Market.CM else answered
    names = {"p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "c": "lastPrice", "Q": "lastQty",
             "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "O": "openTime", "C": "closeTime",
             "F": "firstId", "L": "lastId", "n": "count"}  # fmt: skip
    assert {key: event[key] for key in names} == {key: ticker[name] for key, name in names.items()}
    mini = frame(store, market, f"{symbol.lower()}@miniTicker", NOW_MS)
    assert mini["e"] == "24hrMiniTicker"
    assert all(mini[key] == event[key] for key in "Escohlvq")


@pytest.mark.parametrize(
    ("path", "weight"),
    [("/api/v3/ticker/24hr?symbol=BTCUSDT", 2), ("/api/v3/ticker/24hr", 80), ("/fapi/v1/ticker/24hr", 40),
     ('/api/v3/ticker/24hr?symbols=["BTCUSDT"]', 2), ("/dapi/v1/ticker/24hr?symbol=BTCUSD_PERP", 1),
     ("/fapi/v1/premiumIndex?symbol=BTCUSDT", 1), ("/fapi/v1/premiumIndex", 10), ("/dapi/v1/premiumIndex", 10),
     ("/dapi/v1/fundingRate?symbol=BTCUSD_PERP", 1), ("/fapi/v1/fundingRate", None), ("/fapi/v1/fundingInfo", None)],
)  # fmt: skip
def test_weights(live: Live, store: CandleStore, http: requests.Session, path: str, weight: int | None) -> None:
    reply = http.get(live(store, NOW).url + path)
    assert reply.status_code == 200, reply.text
    assert reply.headers.get("X-MBX-USED-WEIGHT-1M") == (None if weight is None else str(weight))


@pytest.mark.parametrize(("market", "symbol"), SERIES[1:])
def test_mark_prices_are_near_the_price_and_the_same_everywhere(
    live: Live, store: CandleStore, http: requests.Session, market: Market, symbol: str
) -> None:
    event = frame(store, market, f"{symbol.lower()}@markPrice@1s", NOW_MS)
    answered = http.get(live(store, NOW).url + PATHS[market] + "premiumIndex", params={"symbol": symbol}).json()
    row = answered[0] if market is Market.CM else answered
    assert [event[key] for key in "piPrT"] == [
        row[name] for name in ("markPrice", "indexPrice", "estimatedSettlePrice", "lastFundingRate", "nextFundingTime")
    ]
    assert event["st"] == (2 if market is Market.CM else 1)
    assert abs(Decimal(event["p"]) - 30_000) < 300
    assert event["T"] == parse_time("2024-03-03T16:00")
    assert frame(store, market, f"{symbol.lower()}@markPrice", NOW_MS)["E"] % 3_000 == 0


def test_a_delivery_contract_has_no_funding(live: Live, http: requests.Session) -> None:
    store, series = CandleStore(), make_series(Market.CM, "BTCUSD_240628", "1h")
    store.add(series, generate_series(series, Span(BEGIN_MS, BEGIN_MS + 72 * HOUR)))
    event = frame(store, Market.CM, "btcusd_240628@markPrice@1s", NOW_MS)
    assert (event["r"], event["T"]) == ("", 0)
    asked = {"symbol": "BTCUSD_240628"}
    assert http.get(live(store, NOW).url + "/dapi/v1/fundingRate", params=asked).json() == []


def test_settled_funding_is_paged_by_time(live: Live, store: CandleStore, http: requests.Session) -> None:
    exchange = live(store, NOW)

    def ask(**params: Any) -> Any:
        return http.get(exchange.url + "/fapi/v1/fundingRate", params=params).json()

    rows = ask(symbol="BTCUSDT")
    assert [row["fundingTime"] // HOUR * HOUR for row in rows] == list(range(BEGIN_MS, NOW_MS, 8 * HOUR))
    assert all(0 <= row["fundingTime"] % HOUR < 9 and row["markPrice"] and row["fundingRate"] for row in rows)
    assert ask(symbol="BTCUSDT", limit=2) == rows[-2:]
    assert ask(symbol="BTCUSDT", startTime=rows[1]["fundingTime"], endTime=rows[3]["fundingTime"]) == rows[1:4]
    assert ask(symbol="BTCUSDT", startTime=rows[1]["fundingTime"] + 1, limit=1) == rows[2:3]
    assert len(ask(symbol="ETHUSDT")) == 16, "every four hours"
    assert {row["symbol"] for row in ask(startTime=BEGIN_MS)} == {"BTCUSDT", "ETHUSDT"}
    info = http.get(exchange.url + "/fapi/v1/fundingInfo").json()
    assert [(row["symbol"], row["fundingIntervalHours"]) for row in info] == [("ETHUSDT", 4)]
    assert http.get(exchange.url + "/dapi/v1/fundingRate").json()["code"] == -1102


def test_the_501st_call_for_funding_in_five_minutes_is_refused(
    live: Live, store: CandleStore, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.weights.FundingCalls.most", 3)
    exchange = live(store, NOW)
    codes = [http.get(exchange.url + path).status_code for path in ("/fapi/v1/fundingInfo", "/fapi/v1/fundingRate") * 2]
    assert codes == [200, 200, 200, 429]
    exchange.clock.advance(300_000)
    assert http.get(exchange.url + "/fapi/v1/fundingInfo").status_code == 200
