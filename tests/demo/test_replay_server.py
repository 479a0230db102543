from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import requests

from core.series import parse_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]


def test_there_is_no_address_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = ReplayExchange(CandleStore(), ReplayClock(0)).url


def test_connections_are_kept_alive(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, "2025-01-20")
    first = http.get(exchange.url + "/api/v3/ping", stream=True)
    socket = first.raw.connection.sock
    assert first.json() == {}
    second = http.get(exchange.url + "/api/v3/nosuch", stream=True)
    assert second.raw.connection.sock is socket


def test_a_stop_ends_kept_connections_and_a_new_start_has_the_same_address(
    market: CandleStore, http: requests.Session
) -> None:
    exchange = ReplayExchange(market, ReplayClock(0))
    with exchange:
        url = exchange.url
        assert http.get(url + "/api/v3/ping").status_code == 200
    with pytest.raises(requests.exceptions.ConnectionError):
        http.get(url + "/api/v3/ping", timeout=5)
    with exchange:
        assert exchange.url == url
        assert http.get(url + "/api/v3/ping").status_code == 200


def test_latency_comes_before_every_answer(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, "2025-01-20", latency_s=0.1)
    began = time.monotonic()
    http.get(exchange.url + "/api/v3/ping")
    assert time.monotonic() - began >= 0.1


def test_a_head_request_has_no_body(market: CandleStore, run: Run, http: requests.Session) -> None:
    url = run(market, "2025-01-20").archive_url + "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12-05.zip"
    head, body = http.head(url), http.get(url).content
    assert head.content == b""
    assert int(head.headers["Content-Length"]) == len(body)


def test_a_page_of_1000_rows_takes_a_few_ms(market: CandleStore, run: Run, http: requests.Session) -> None:
    url = run(market, "2025-01-20").url + "/api/v3/klines"
    asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": "1000", "startTime": str(parse_time("2024-12-01"))}
    fastest = 1.0
    for _ in range(100):  # on a busy machine most of them take longer
        began = time.monotonic()
        http.get(url, params=asked)
        fastest = min(fastest, time.monotonic() - began)
        if fastest < 0.02:
            break
    assert fastest < 0.02


def test_many_clients_get_their_own_answers(market: CandleStore, run: Run) -> None:
    url = run(market, "2025-01-20").url + "/api/v3/klines"
    expected = market.open_times(parse_series("BTCUSDT"))
    wrong: list[int] = []

    def ask(first: int) -> None:
        with requests.Session() as session:
            for position in range(first, first + 1000, 50):
                asked = {"symbol": "BTCUSDT", "interval": "1m", "startTime": expected[position], "limit": 50}
                rows = session.get(url, params=asked).json()
                if [row[0] for row in rows] != expected[position : position + 50]:
                    wrong.append(position)

    threads = [threading.Thread(target=ask, args=(number * 1000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
