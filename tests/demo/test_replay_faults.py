from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable

import pytest
import requests

from core.times import parse_time
from demo.candle_store import CandleStore
from demo.faults import AlterArchive, AlterBody, AlterRows, Answer, CutBody, FaultScript, Reset, Stall
from demo.server import ReplayExchange
from demo.weights import USED_WEIGHT_HEADER

Run = Callable[..., ReplayExchange]


@pytest.fixture
def exchange(market: CandleStore, run: Run) -> ReplayExchange:
    return run(market, "2025-01-20")


def klines(http: requests.Session, exchange: ReplayExchange, **params: object) -> requests.Response:
    asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": 5, **params}
    return http.get(exchange.url + "/api/v3/klines", params=asked, timeout=10)


def test_an_answer_replaces_the_real_one(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("/klines", Answer(429, {"code": -1003, "msg": "slow down"}, {"Retry-After": "7"}))
    exchange.faults.add("/klines", Answer(403, "<html>no</html>", content_type="text/html"))
    first, second, third = (klines(http, exchange) for _ in range(3))
    assert (first.status_code, first.json()["code"], first.headers["Retry-After"]) == (429, -1003, "7")
    assert USED_WEIGHT_HEADER in first.headers
    assert (second.status_code, second.text, second.headers["Content-Type"]) == (403, "<html>no</html>", "text/html")
    assert third.status_code == 200
    assert [record.status for record in exchange.requests] == [429, 403, 200]


def test_a_cut_body_is_noticed_by_its_length(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("/klines", CutBody())
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        klines(http, exchange)
    assert klines(http, exchange).status_code == 200


def test_a_reset_gives_no_answer(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("/klines", Reset())
    with pytest.raises(requests.exceptions.ConnectionError):
        klines(http, exchange)
    assert klines(http, exchange).status_code == 200
    assert [record.status for record in exchange.requests] == [0, 200]


def test_a_stall_answers_late(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("/klines", Stall(0.2))
    began = time.monotonic()
    assert klines(http, exchange).status_code == 200
    assert time.monotonic() - began >= 0.2


def test_a_stall_does_not_hold_up_the_stop(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("/klines", Stall(60))
    with pytest.raises(requests.exceptions.Timeout):
        http.get(exchange.url + "/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1m"}, timeout=0.1)
    began = time.monotonic()
    exchange.stop()
    assert time.monotonic() - began < 5


def test_rows_can_be_altered(exchange: ReplayExchange, http: requests.Session) -> None:
    true = klines(http, exchange).json()
    exchange.faults.add("/klines", AlterRows(lambda rows: rows + rows[-1:]))
    exchange.faults.add("/klines", AlterRows(lambda rows: rows[::-1]))
    assert klines(http, exchange).json() == [*true, true[-1]]
    assert klines(http, exchange).json() == true[::-1]
    assert klines(http, exchange).json() == true


def test_rows_of_a_refusal_are_not_altered(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("/klines", AlterRows(lambda rows: rows[::-1]))
    assert klines(http, exchange, symbol="NOSUCH").json()["code"] == -1121


def test_bodies_can_be_altered(exchange: ReplayExchange, http: requests.Session) -> None:
    url = exchange.archive_url + "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12-05.zip.CHECKSUM"
    true = http.get(url).content
    exchange.faults.add(".CHECKSUM", AlterBody(lambda body: b"0" * 64 + body[64:]))
    assert http.get(url).content == b"0" * 64 + true[64:]


def test_a_fault_is_chosen_by_path_and_query(exchange: ReplayExchange, http: requests.Session) -> None:
    exchange.faults.add("symbol=ETHUSDT", Answer(503))
    assert klines(http, exchange).status_code == 200
    assert klines(http, exchange, symbol="ETHUSDT").status_code == 503


def test_a_part_of_the_path_can_be_left_out() -> None:
    script = FaultScript()
    script.add(".zip", Reset(), times=2, after=1, but_not=".CHECKSUM")
    assert [script.take("/a.zip.CHECKSUM"), script.take("/a.zip"), script.take("/a.zip.CHECKSUM")] == [None] * 3
    assert [script.take("/a.zip"), script.take("/a.zip.CHECKSUM"), script.take("/b.zip")] == [Reset(), None, Reset()]


def test_faults_come_in_order_as_often_and_as_late_as_said() -> None:
    script = FaultScript()
    stall, reset, cut = Stall(1), Reset(), CutBody()
    script.add("/a", stall, times=2, after=1)
    script.add("/a", reset)
    script.add("/b", cut)
    assert script.pending() == 4
    assert [script.take("/a") for _ in range(5)] == [reset, stall, stall, None, None]
    assert script.take("/b") == cut
    assert script.pending() == 0


def test_after_counts_requests_that_another_fault_takes() -> None:
    script = FaultScript()
    script.add("/a", Reset())
    script.add("/a", CutBody(), after=1)
    assert [script.take("/a") for _ in range(3)] == [Reset(), CutBody(), None]


def test_faults_can_be_dropped() -> None:
    script = FaultScript()
    script.add("/a", Reset(), times=3)
    script.clear()
    assert script.take("/a") is None


def test_requests_are_recorded(exchange: ReplayExchange, http: requests.Session) -> None:
    klines(http, exchange)
    http.get(exchange.url + "/api/v3/ping")
    first, second = exchange.requests
    assert first.path == "/api/v3/klines"
    assert first.params == {"symbol": "BTCUSDT", "interval": "1m", "limit": "5"}
    assert (first.status, first.weight, first.at_ms) == (200, 2, parse_time("2025-01-20"))
    assert second.path == "/api/v3/ping"
    assert (exchange.count("klines"), exchange.count()) == (1, 2)
    exchange.clear_requests()
    assert exchange.requests == []


def test_an_altered_archive_has_a_checksum_that_fits(
    make_store: Callable[[str, str, str], CandleStore], run: Run, http: requests.Session
) -> None:
    exchange = run(make_store("BTCUSDT/1h", "2024-03-01", "2024-04-01"), "2024-04-20")
    address = f"{exchange.archive_url}/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-03-02.zip"
    whole = http.get(address).content
    exchange.faults.add(".zip", AlterArchive(lambda lines: lines[:5]), times=10)
    altered, checksum = http.get(address).content, http.get(f"{address}.CHECKSUM").text
    assert checksum == f"{hashlib.sha256(altered).hexdigest()}  BTCUSDT-1h-2024-03-02.zip"
    for content, lines in ((whole, 24), (altered, 5)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert len(archive.read("BTCUSDT-1h-2024-03-02.csv").splitlines()) == lines
