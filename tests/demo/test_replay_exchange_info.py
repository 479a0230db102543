from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from core.instrument import Market
from core.times import parse_time
from demo.candle_store import PERPETUAL_DELIVERY_MS, CandleStore
from demo.generated_market import DEFAULT_SPAN
from demo.market_facts import market_facts
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
NOW = "2025-01-20"


@pytest.fixture
def ask(market: CandleStore, run: Run, http: requests.Session) -> Callable[..., requests.Response]:
    exchange = run(market, NOW)
    return lambda path, **params: http.get(exchange.url + path, params=params)


@pytest.mark.parametrize("root", ["/api/v3", "/fapi/v1", "/dapi/v1"])
def test_ping_and_time(ask: Callable[..., requests.Response], root: str) -> None:
    assert ask(f"{root}/ping").json() == {}
    assert ask(f"{root}/time").json() == {"serverTime": parse_time(NOW)}


def weight_limit(info: dict[str, Any]) -> int:
    limits = {limit["rateLimitType"]: limit for limit in info["rateLimits"]}
    assert (limits["REQUEST_WEIGHT"]["interval"], limits["REQUEST_WEIGHT"]["intervalNum"]) == ("MINUTE", 1)
    return int(limits["REQUEST_WEIGHT"]["limit"])


def test_spot_tells_status_and_assets(ask: Callable[..., requests.Response]) -> None:
    info = ask("/api/v3/exchangeInfo", showPermissionSets="false").json()
    assert info["serverTime"] == parse_time(NOW)
    assert weight_limit(info) == 6000
    assert [{key: one[key] for key in ("symbol", "status", "baseAsset", "quoteAsset")} for one in info["symbols"]] == [
        {"symbol": "BCCUSDT", "status": "BREAK", "baseAsset": "BCC", "quoteAsset": "USDT"},
        {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"},
        {"symbol": "ETHUSDT", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "USDT"},
    ]


@pytest.mark.parametrize(
    ("root", "tick", "lot"), [("/api/v3", "0.01", "0.00001"), ("/fapi/v1", "0.01", "0.001"), ("/dapi/v1", "0.1", "1")]
)
def test_tick_and_lot_are_told(ask: Callable[..., requests.Response], root: str, tick: str, lot: str) -> None:
    for symbol in ask(root + "/exchangeInfo").json()["symbols"]:
        price, size = symbol["filters"]
        assert (price["filterType"], price["tickSize"]) == ("PRICE_FILTER", tick)
        assert (size["filterType"], size["stepSize"]) == ("LOT_SIZE", lot)


def test_spot_filters_by_symbol(ask: Callable[..., requests.Response]) -> None:
    one = ask("/api/v3/exchangeInfo", symbol="ETHUSDT").json()["symbols"]
    two = ask("/api/v3/exchangeInfo", symbols='["ETHUSDT","BTCUSDT"]').json()["symbols"]
    assert [symbol["symbol"] for symbol in one] == ["ETHUSDT"]
    assert sorted(symbol["symbol"] for symbol in two) == ["BTCUSDT", "ETHUSDT"]
    for params in ({"symbol": "NOSUCH"}, {"symbols": '["ETHUSDT","NOSUCH"]'}):
        answer = ask("/api/v3/exchangeInfo", **params)
        assert (answer.status_code, answer.json()["code"]) == (400, -1121)
    assert ask("/api/v3/exchangeInfo", symbols="ETHUSDT").json()["code"] == -1100


def test_usd_m_tells_when_a_contract_began_and_ends(ask: Callable[..., requests.Response]) -> None:
    info = ask("/fapi/v1/exchangeInfo").json()
    assert weight_limit(info) == 2400
    [symbol] = info["symbols"]
    assert (symbol["symbol"], symbol["status"], symbol["contractType"]) == ("BTCUSDT", "TRADING", "PERPETUAL")
    assert symbol["onboardDate"] == DEFAULT_SPAN.start_ms
    assert symbol["deliveryDate"] == PERPETUAL_DELIVERY_MS == 4133404800000


def test_coin_m_calls_the_status_contract_status(ask: Callable[..., requests.Response]) -> None:
    [symbol] = ask("/dapi/v1/exchangeInfo").json()["symbols"]
    facts = market_facts(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms)
    assert (symbol["symbol"], symbol["contractStatus"]) == ("BTCUSD_PERP", "TRADING")
    assert "status" not in symbol
    assert symbol["onboardDate"] == facts.symbol(Market.CM, "BTCUSD_PERP").listing_ms


def test_other_paths_do_not_exist(ask: Callable[..., requests.Response]) -> None:
    for path in ("/", "/api/v3/avgPrice", "/api/v3/premiumIndex", "/api/v1/klines", "/eapi/v1/klines"):
        assert ask(path).status_code == 404
