from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from core.times import parse_time
from demo.candle_store import CandleStore
from demo.server import ReplayExchange
from demo.weights import USED_WEIGHT_HEADER, WeightLimits

Run = Callable[..., ReplayExchange]
NOW = "2025-01-20T12:00:15"
BTC = {"symbol": "BTCUSDT", "interval": "1m"}


def used(answer: requests.Response) -> int:
    return int(answer.headers[USED_WEIGHT_HEADER])


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/ping", {}, 1),
        ("/api/v3/time", {}, 1),
        ("/api/v3/exchangeInfo", {}, 20),
        ("/fapi/v1/exchangeInfo", {}, 1),
        ("/api/v3/klines", {**BTC, "limit": 1}, 2),
        ("/api/v3/klines", {**BTC, "limit": 1000}, 2),
        ("/fapi/v1/klines", {**BTC, "limit": 99}, 1),
        ("/fapi/v1/klines", {**BTC, "limit": 100}, 2),
        ("/fapi/v1/klines", {**BTC, "limit": 499}, 2),
        ("/fapi/v1/klines", BTC, 5),
        ("/fapi/v1/klines", {**BTC, "limit": 1000}, 5),
        ("/fapi/v1/klines", {**BTC, "limit": 1001}, 10),
        ("/dapi/v1/klines", {"symbol": "BTCUSD_PERP", "interval": "1m", "limit": 1500}, 10),
    ],
)
def test_what_a_request_costs(
    market: CandleStore, run: Run, http: requests.Session, path: str, params: dict[str, str], weight: int
) -> None:
    exchange = run(market, NOW)
    answer = http.get(exchange.url + path, params=params)
    assert answer.status_code == 200
    assert used(answer) == weight == exchange.requests[0].weight


def test_refused_requests_cost_weight_too(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, NOW)
    answer = http.get(exchange.url + "/api/v3/klines", params={"symbol": "NOSUCH", "interval": "1m"})
    assert (answer.status_code, used(answer)) == (400, 2)
    answer = http.get(exchange.url + "/fapi/v1/klines", params={**BTC, "limit": 1501})
    assert (answer.status_code, used(answer)) == (400, 10)


def test_futures_share_one_budget_and_spot_has_its_own(market: CandleStore, run: Run, http: requests.Session) -> None:
    url = run(market, NOW).url
    assert used(http.get(url + "/fapi/v1/ping")) == 1
    assert used(http.get(url + "/dapi/v1/ping")) == 2
    assert used(http.get(url + "/api/v3/ping")) == 1


def test_the_count_begins_anew_with_every_clock_minute(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, NOW)
    assert used(http.get(exchange.url + "/api/v3/ping")) == 1
    exchange.clock.set(parse_time("2025-01-20T12:00:59.999"))
    assert used(http.get(exchange.url + "/api/v3/ping")) == 2
    exchange.clock.advance(1)
    assert used(http.get(exchange.url + "/api/v3/ping")) == 1


def test_above_the_limit_comes_429_and_then_a_ban(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, NOW, weight_limits=WeightLimits(spot=3, futures=2, refusals_before_ban=2))
    ping = exchange.url + "/api/v3/ping"
    assert [http.get(ping).status_code for _ in range(3)] == [200] * 3

    refused = http.get(ping)
    assert (refused.status_code, refused.headers["Retry-After"], used(refused)) == (429, "45", 4)
    assert refused.json() == {
        "code": -1003,
        "msg": "Too much request weight used; current limit is 3 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    }
    assert http.get(ping).status_code == 429

    banned = http.get(ping)
    until_ms = parse_time(NOW) + 120_000
    assert (banned.status_code, banned.headers["Retry-After"]) == (418, "120")
    assert banned.json() == {
        "code": -1003,
        "msg": f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
    }
    assert http.get(exchange.url + "/fapi/v1/ping").status_code == 200

    exchange.clock.set(until_ms - 1)
    assert http.get(ping).status_code == 418
    exchange.clock.set(until_ms)
    assert http.get(ping).status_code == 200


def test_waiting_for_the_next_minute_ends_a_429(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, NOW, weight_limits=WeightLimits(spot=1))
    ping = exchange.url + "/api/v3/ping"
    assert [http.get(ping).status_code for _ in range(2)] == [200, 429]
    exchange.clock.advance(45_000)
    assert http.get(ping).status_code == 200


def test_the_limit_is_told_in_exchange_info(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, NOW, weight_limits=WeightLimits(spot=100, futures=50))
    limits = http.get(exchange.url + "/fapi/v1/exchangeInfo").json()["rateLimits"]
    assert [limit["limit"] for limit in limits if limit["rateLimitType"] == "REQUEST_WEIGHT"] == [50]


def test_archives_cost_nothing(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, NOW)
    answer = http.get(exchange.archive_list_url, params={"prefix": "data/spot/"})
    assert USED_WEIGHT_HEADER not in answer.headers
    assert exchange.requests[0].weight == 0
