"""The replay exchange's streams as a server: paths, requests, limits, pings, age and counters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from stream_client import Client, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_limits import HEART_RULES, ConnectLimit, Heart

Live = Callable[..., ReplayExchange]
NOW = "2024-03-01T00:10:30"
KLINE = "btcusdt@kline_1m"


@pytest.fixture(scope="module")
def store() -> CandleStore:
    made, begin_ms = CandleStore(), parse_time("2024-03-01")
    for notation in ("BTCUSDT", "ETHUSDT", "币安人生USDT", "um:BTCUSDT", "cm:BTCUSD_PERP"):
        series = parse_series(notation)
        made.add(series, generate_series(series, Span(begin_ms, begin_ms + 30 * 60_000)))
    return made


def later(exchange: ReplayExchange, ms: int = 2_500) -> None:
    exchange.clock.advance(ms)


def names(count: int, first: int = 0) -> list[str]:
    return [f"s{number}usdt@kline_1m" for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("market", "path", "is_combined"),
    [
        ("spot", f"/ws/{KLINE}", False),
        ("spot", f"/ws/nix@depth/{KLINE}", False),
        ("spot", f"/stream?streams={KLINE}", True),
        ("spot", f"/stream?streams=ethusdt@nix/{KLINE}&x=y", True),
        ("spot", "/ws/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1m", False),
        ("um", f"/market/ws/{KLINE}", False),
        ("um", f"/market/stream?streams={KLINE}", True),
        ("cm", "/stream?streams=btcusd_perp@kline_1m", True),
    ],
)
def test_a_path_names_streams_and_the_form_of_their_frames(
    live: Live, store: CandleStore, market: str, path: str, is_combined: bool
) -> None:
    exchange = live(store, NOW)
    with Client(exchange.stream_urls[market] + path) as client:
        wait_for(lambda: bool(exchange.streams.connections))
        later(exchange)
        message = client.read()
        if is_combined:
            assert list(message) == ["stream", "data"]
            assert message["stream"] == f"{message['data']['s'].lower()}@kline_1m"
            message = message["data"]
        assert message["e"] == "kline"


@pytest.mark.parametrize(
    ("market", "path"),
    [
        ("spot", "/ws/BTCUSDT@kline_1m"),  # upper case
        ("spot", "/ws/btcusdt@kline_1T"),
        ("spot", "/ws/nixusdt@kline_1m"),
        ("spot", "/ws/btcusdt@markPrice"),
        ("um", f"/public/ws/{KLINE}"),  # the wrong route
        ("um", f"/ws/{KLINE}"),  # none: public streams only
        ("um", "/market/ws/btcusdt@kline_1s"),
        ("um", "/market/ws/btcusdt@trade"),
        ("cm", f"/ws/{KLINE}"),
    ],
)
def test_what_is_not_served_there_is_acknowledged_and_silent(
    live: Live, store: CandleStore, market: str, path: str
) -> None:
    exchange = live(store, NOW)
    with Client(exchange.stream_urls[market] + path) as client:
        name = path.rpartition("/")[2]
        assert client.ask("SUBSCRIBE", name) == {"result": None, "id": 1}
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == [name]
        later(exchange, 90_000)
        assert client.is_silent(0.1)


@pytest.mark.parametrize(("market", "path"), [("spot", "/"), ("spot", "/market/ws"), ("cm", "/public/stream")])
def test_other_paths_do_not_exist(live: Live, store: CandleStore, market: str, path: str) -> None:
    exchange = live(store, NOW)
    with pytest.raises(InvalidStatus) as refused, Client(exchange.stream_urls[market] + path):
        pass
    assert refused.value.response.status_code == 404
    assert [(one.path, one.status) for one in exchange.streams.refused] == [(path, 404)]


def test_streams_come_and_go_by_requests(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    with Client(exchange.stream_urls["spot"] + "/stream") as client:
        assert client.ask("SUBSCRIBE", KLINE, "ethusdt@kline_1m", request_id="abc") == {"result": None, "id": "abc"}
        assert client.ask("LIST_SUBSCRIPTIONS", request_id=None) == {"result": [KLINE, "ethusdt@kline_1m"], "id": None}
        later(exchange)
        assert {client.read()["stream"] for _ in range(2)} == {KLINE, "ethusdt@kline_1m"}
        assert client.ask("UNSUBSCRIBE", KLINE, "never@asked")["result"] is None
        later(exchange)
        assert client.read()["stream"] == "ethusdt@kline_1m"
        assert client.is_silent(0.05)


def test_the_form_of_frames_can_be_set(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    with Client(f"{exchange.stream_urls['spot']}/ws/{KLINE}") as client:
        assert client.ask("GET_PROPERTY", "combined")["result"] is False
        assert client.ask("SET_PROPERTY", "combined", True)["result"] is None
        assert client.ask("GET_PROPERTY", "combined")["result"] is True
        later(exchange)
        assert client.read()["stream"] == KLINE


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"method":"SUBSCRIBE","params":["a@b"]}', 2),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":1.5}', 2),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":"' + "x" * 37 + '"}', 2),
        ('{"method":"subscribe","params":["a@b"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
        ('{"params":["a@b"],"id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
        ('{"method":"GET_PROPERTY","params":[],"id":1}', 2),
    ],
)
def test_a_malformed_request_is_answered_by_its_code(
    live: Live, store: CandleStore, request_text: str, code: int
) -> None:
    with Client(live(store, NOW).stream_urls["um"] + "/market/ws") as client:
        client.socket.send(request_text)
        assert client.read()["code"] == code
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def close_code_of(client: Client) -> int:
    with pytest.raises(ConnectionClosed):
        while True:
            client.read()
    assert client.socket.close_code is not None
    return client.socket.close_code


def test_1024_streams_are_served_and_one_more_closes(live: Live, store: CandleStore) -> None:
    with Client(live(store, NOW).stream_urls["spot"] + "/ws") as client:
        assert client.ask("SUBSCRIBE", *names(1024))["result"] is None
        client.socket.send(json.dumps({"method": "SUBSCRIBE", "params": names(1, 1024), "id": 2}))
        assert close_code_of(client) == 1008


def test_more_than_1024_streams_in_the_path_close(live: Live, store: CandleStore) -> None:
    path = "/".join(str(number) for number in range(1025))
    with Client(f"{live(store, NOW).stream_urls['cm']}/ws/{path}") as client:
        assert close_code_of(client) == 1008


@pytest.mark.parametrize(("market", "allowed", "act"), [("spot", 5, "ask"), ("spot", 5, "ping"), ("um", 10, "ask")])
def test_too_many_messages_in_a_second_close(
    live: Live, store: CandleStore, market: str, allowed: int, act: str
) -> None:
    with Client(live(store, NOW).stream_urls[market] + "/ws") as client:
        for number in range(allowed):
            if act == "ping":
                assert client.socket.ping(str(number)).wait(5)
            else:
                client.ask("LIST_SUBSCRIPTIONS", request_id=number)
        client.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 99}))
        assert close_code_of(client) == 1008


def test_pings_do_not_count_on_futures(live: Live, store: CandleStore) -> None:
    with Client(live(store, NOW).stream_urls["um"] + "/market/ws") as client:
        for number in range(15):
            assert client.socket.ping(str(number)).wait(5)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_messages_spread_over_seconds_are_fine(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    with Client(exchange.stream_urls["spot"] + "/ws") as client:
        for number in range(12):
            client.ask("LIST_SUBSCRIPTIONS", request_id=number)
            exchange.clock.advance(250)


def test_the_301st_handshake_of_five_minutes_is_refused() -> None:
    limit = ConnectLimit()
    assert not any(limit.is_exceeded_by_one_more(1_000_000 + number) for number in range(300))
    assert limit.is_exceeded_by_one_more(1_000_300)
    assert not limit.is_exceeded_by_one_more(1_000_000 + 300_000 + 301)


def test_a_spot_host_refuses_too_many_handshakes(live: Live, store: CandleStore, monkeypatch: Any) -> None:
    monkeypatch.setattr("demo.stream_limits.CONNECTS_PER_WINDOW", 2)
    exchange = live(store, NOW)
    for market, allowed in (("um", 4), ("spot", 2)):
        for _ in range(allowed):
            Client(exchange.stream_urls[market] + "/ws").socket.close()
    with pytest.raises(InvalidStatus) as refused:
        Client(exchange.stream_urls["spot"] + "/ws")
    assert refused.value.response.status_code == 429


def test_the_server_pings_and_a_client_that_answers_stays(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    with Client(exchange.stream_urls["spot"] + "/ws") as client:
        wait_for(lambda: len(exchange.streams.connections) == 1)
        for number in range(1, 7):  # two minutes
            exchange.clock.advance(20_000)
            wait_for(lambda number=number: exchange.streams.connections[0].messages == number)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_a_client_that_answers_no_ping_is_lost_after_the_deadline() -> None:
    heart = Heart(HEART_RULES[next(iter(HEART_RULES))], now_ms=0)
    assert heart.ping(19_999, 20.0) is None
    first = heart.ping(20_000, 20.0)
    assert first is not None
    assert heart.ping(20_001, 20.0) is None
    heart.pong(b"something else")
    assert not heart.is_lost(80_000, 80.0)
    assert heart.is_lost(80_001, 80.0)
    assert not heart.is_lost(80_001, 20.1), "a fast clock gives a real client real time"
    heart.pong(first)
    assert not heart.is_lost(80_001, 80.0)


def test_a_connection_lives_24_hours(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    with Client(exchange.stream_urls["um"] + "/market/ws") as client:
        wait_for(lambda: len(exchange.streams.connections) == 1)
        exchange.clock.advance(MS_PER_DAY - 1)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []
        exchange.clock.advance(1)
        assert close_code_of(client) == 1001
    wait_for(lambda: not exchange.streams.open_connections)
    assert exchange.streams.connections[0].close_code == 1001


@pytest.mark.parametrize("hours", [3, -1])
def test_a_jump_of_the_clock_does_not_send_what_it_passed_over(live: Live, store: CandleStore, hours: int) -> None:
    exchange = live(store, NOW)
    with Client(f"{exchange.stream_urls['um']}/market/ws/{KLINE}") as client:
        later(exchange)
        first = client.read()
        exchange.clock.advance(hours * 3_600_000)
        assert client.is_silent()
        exchange.clock.set(parse_time(NOW) + 60_000)
        assert client.is_silent()
        later(exchange)
        assert client.read()["k"]["t"] == first["k"]["t"] + 60_000


def test_a_fast_clock_sends_every_final_and_skips_open_candles(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW, speed=600.0)
    with Client(f"{exchange.stream_urls['um']}/market/ws/{KLINE}") as client:
        wait_for(lambda: exchange.clock.now_ms() > parse_time("2024-03-01T00:30:05"))
        wait_for(lambda: exchange.streams.frames_sent(KLINE) > 15)
        frames = [client.read() for _ in range(exchange.streams.frames_sent(KLINE))]
    opens = [frame["k"]["t"] for frame in frames if frame["k"]["x"]]
    assert opens == list(range(opens[0], parse_time("2024-03-01T00:30"), 60_000))
    assert len(opens) > 15
    assert len(frames) < 2_000


def test_connections_are_counted(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    with Client(f"{exchange.stream_urls['spot']}/ws/{KLINE}") as client:
        client.ask("SUBSCRIBE", "nix@kline_1m")
        later(exchange)
        client.read()
        [record] = exchange.streams.open_connections
        assert (record.number, record.market, record.path) == (1, "spot", f"/ws/{KLINE}")
        assert (record.messages, record.streams) == (1, [KLINE, "nix@kline_1m"])
        assert record.frames == {KLINE: 1}
        assert (record.opened_ms, record.closed_ms) == (parse_time(NOW), None)
    wait_for(lambda: not exchange.streams.open_connections)
    assert exchange.streams.connections[0].close_code == 1000
    assert exchange.streams.frames_sent(KLINE) == 1


def test_a_stop_ends_connections_and_a_new_start_has_the_same_addresses(store: CandleStore) -> None:
    exchange = ReplayExchange(store, ReplayClock(parse_time(NOW), speed=0))
    with exchange:
        urls = exchange.stream_urls
        client = Client(urls["spot"] + "/ws")
        client.ask("LIST_SUBSCRIPTIONS")
    assert close_code_of(client) == 1006
    with pytest.raises(OSError), connect(urls["spot"] + "/ws"):
        pass
    with exchange, Client(urls["spot"] + "/ws") as client:
        assert exchange.stream_urls == urls
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_connections_can_be_cut_by_hand(live: Live, store: CandleStore) -> None:
    exchange = live(store, NOW)
    clients = [Client(exchange.stream_urls[market] + "/ws") for market in ("spot", "cm")]
    wait_for(lambda: len(exchange.streams.open_connections) == 2)
    assert exchange.streams.close(1012, number=1) == 1
    assert close_code_of(clients[0]) == 1012
    assert exchange.streams.abort() >= 1
    assert close_code_of(clients[1]) == 1006


def test_nobody_needs_websockets_who_wants_no_streams() -> None:
    code = "import sys, demo.server, commands.demo; assert 'websockets' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_are_no_streams_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = ReplayExchange(CandleStore(), ReplayClock(0)).stream_urls
