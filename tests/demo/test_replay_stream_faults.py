"""Each fault of the replay exchange's streams does what it says, to whom it is meant for."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from stream_client import Client, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

from core.instrument import Market
from core.ranges import Span
from core.series import parse_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import (
    Abort,
    AlterFrame,
    CloseWith,
    Damage,
    DamageFrame,
    DoubleFrame,
    DropFrame,
    HalfOpen,
    LateFrame,
    RefuseHandshake,
    ShutDown,
    Silence,
    Slow,
    SwapFrame,
    Where,
)

Live = Callable[..., ReplayExchange]
BEGIN_MS, MINUTE = parse_time("2024-03-01"), 60_000
NOW = "2024-03-01T00:10:30"
KLINE, OTHER = "btcusdt@kline_1m", "ethusdt@kline_1m"
FINALS = Where(finals=True)


@pytest.fixture
def exchange(live: Live) -> ReplayExchange:
    store = CandleStore()
    for notation in ("BTCUSDT", "ETHUSDT", "um:BTCUSDT"):
        series = parse_series(notation)
        store.add(series, generate_series(series, Span(BEGIN_MS, BEGIN_MS + 30 * MINUTE)))
    return live(store, NOW)


def spot(exchange: ReplayExchange, path: str = f"/ws/{KLINE}") -> Client:
    before = len(exchange.streams.connections)
    client = Client(exchange.stream_urls["spot"] + path)
    wait_for(lambda: len(exchange.streams.connections) > before)
    return client


def go_to_close(exchange: ReplayExchange, minute: int) -> None:
    """Let the clock pass the close of a minute and the time in which its final frame comes."""
    exchange.clock.set(BEGIN_MS + (minute + 1) * MINUTE - 100)
    exchange.clock.advance(2_600)


def closes(exchange: ReplayExchange, client: Client, count: int, stream: str = "") -> list[dict[str, Any]]:
    """Let `count` minutes close one after the other; return the events of final candles as they came."""
    events: list[dict[str, Any]] = []
    for minute in range(10, 10 + count):
        go_to_close(exchange, minute)
        try:
            while True:
                message = client.read(0.15)
                event = message.get("data", message)
                if event["k"]["x"] and stream in message.get("stream", ""):
                    events.append(event)
        except TimeoutError:
            pass
    return events


def minutes_of(events: list[dict[str, Any]]) -> list[int]:
    return [(event["k"]["t"] - BEGIN_MS) // MINUTE for event in events]


def close_code(client: Client) -> int | None:
    with pytest.raises(ConnectionClosed):
        while True:
            client.read()
    return client.socket.close_code


@pytest.mark.parametrize("status", [403, 429, 451, 503])
def test_a_handshake_is_refused_once_and_the_next_is_not(exchange: ReplayExchange, status: int) -> None:
    retry_after = 7 if status == 429 else None
    exchange.streams.faults.add(RefuseHandshake(status, retry_after), Where(path="/market"))
    spot(exchange).socket.close()
    with pytest.raises(InvalidStatus) as refused:
        Client(exchange.stream_urls["um"] + "/market/ws")
    assert refused.value.response.status_code == status
    assert refused.value.response.headers.get("Retry-After") == (None if retry_after is None else "7")
    Client(exchange.stream_urls["um"] + "/market/ws").socket.close()
    assert [one.status for one in exchange.streams.refused] == [status]


def test_an_abort_is_a_tcp_reset_after_so_many_frames(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(Abort(), after=2)
    with spot(exchange) as client:
        for _ in range(2):
            exchange.clock.advance(2_000)
            client.read()
        exchange.clock.advance(2_000)
        with pytest.raises(ConnectionClosed) as cut:
            client.read()
        assert isinstance(cut.value.__cause__, ConnectionResetError)
        assert client.socket.close_code == 1006
    wait_for(lambda: not exchange.streams.open_connections)
    assert exchange.streams.connections[0].close_code == 1006
    assert exchange.streams.faults.pending() == 0


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012])
def test_a_connection_is_closed_with_a_code_at_a_time(exchange: ReplayExchange, code: int) -> None:
    exchange.streams.faults.add(CloseWith(code, "why"), Where(connection=2), at_ms=exchange.clock.now_ms() + 1_000)
    with spot(exchange, "/ws") as first, Client(exchange.stream_urls["spot"] + "/ws") as second:
        assert second.ask("LIST_SUBSCRIPTIONS")["result"] == []
        exchange.clock.advance(1_000)
        assert close_code(second) == code
        assert second.socket.close_reason == "why"
        assert first.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_a_silent_connection_acknowledges_and_answers_pings(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(Silence(), Where(market=Market.SPOT), times=100)
    with spot(exchange, "/ws") as client:
        assert client.ask("SUBSCRIBE", KLINE)["result"] is None
        exchange.clock.advance(60_000)
        assert client.is_silent()
        assert client.socket.ping(b"alive").wait(5)
    with Client(f"{exchange.stream_urls['um']}/market/ws/{KLINE}") as other:
        wait_for(lambda: len(exchange.streams.connections) == 2)
        exchange.clock.advance(2_000)
        assert other.read()["k"]
    assert exchange.streams.connections[0].close_code == 1000


def test_a_fault_of_connections_happens_to_each_once(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(Silence(), Where(market=Market.SPOT), times=2)
    with spot(exchange) as first, spot(exchange) as second, spot(exchange) as third:
        assert first.is_silent(0.3), "the server looks at its connections several times meanwhile"
        exchange.clock.advance(2_000)
        assert third.read()["k"]
        assert first.is_silent(0.05)
        assert second.is_silent(0.05)
    with spot(exchange) as first:
        exchange.streams.faults.add(Silence(), Where(market=Market.SPOT), times=2)
        assert first.is_silent(0.3)
        with spot(exchange) as second:
            exchange.clock.advance(2_000)
            assert second.is_silent(0.1)
    assert exchange.streams.faults.pending() == 0


def test_a_deaf_connection_answers_no_pings_either(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(Silence(pongs=False), after=1)
    with spot(exchange) as client:
        exchange.clock.advance(2_000)
        client.read()
        exchange.clock.advance(2_000)
        assert client.is_silent(0.1)
        assert not client.socket.ping(b"hello").wait(0.2)
        client.socket.close_timeout = 0.1


def test_a_half_open_connection_acknowledges_and_ignores_even_a_close(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(HalfOpen())
    client = spot(exchange, "/ws")
    client.socket.close_timeout = 0.3
    assert client.ask("SUBSCRIBE", KLINE)["result"] is None
    exchange.clock.advance(60_000)
    assert client.is_silent(0.1)
    assert not client.socket.ping(b"hello").wait(0.1)
    client.socket.close()
    assert client.socket.close_code == 1006


def test_a_shutdown_is_announced_to_who_subscribed_it(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(ShutDown(lead_ms=600_000), times=2, at_ms=exchange.clock.now_ms() + 1)
    with spot(exchange, f"/stream?streams=!serverShutdown/{KLINE}") as told, spot(exchange) as untold:
        wait_for(lambda: len(exchange.streams.connections) == 2)
        exchange.clock.advance(1)
        event = told.until(lambda message: message["stream"] == "!serverShutdown")
        assert event["data"] == {"e": "serverShutdown", "E": exchange.clock.now_ms()}
        exchange.clock.advance(300_000)
        exchange.clock.advance(299_000)
        assert not any("serverShutdown" in json.dumps(untold.read()) for _ in range(5))
        assert len(exchange.streams.open_connections) == 2
        exchange.clock.advance(1_000)
        assert (close_code(told), close_code(untold)) == (1001, 1001)


def test_a_final_is_dropped_and_the_next_comes(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(DropFrame(), FINALS, after=1)
    with spot(exchange) as client:
        assert minutes_of(closes(exchange, client, 3)) == [10, 12]


def test_a_final_comes_twice(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(DoubleFrame(), Where(stream=KLINE, finals=True))
    with spot(exchange, f"/stream?streams={OTHER}/{KLINE}") as client:
        events = closes(exchange, client, 2)
    assert [minute for event in events if event["s"] == "BTCUSDT" for minute in minutes_of([event])] == [10, 10, 11]
    assert [minute for event in events if event["s"] == "ETHUSDT" for minute in minutes_of([event])] == [10, 11]


def test_a_final_comes_late(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(LateFrame(by_ms=90_000), FINALS)
    with spot(exchange) as client:
        events = closes(exchange, client, 3)
    assert minutes_of(events) == [11, 10, 12]
    assert events[1]["E"] < BEGIN_MS + 11 * MINUTE + 2_400, "the event is the old one"


def test_a_final_says_something_else_than_rest(exchange: ReplayExchange) -> None:
    def change(event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "k": {**event["k"], "v": "0.00000001"}}

    exchange.streams.faults.add(AlterFrame(change), FINALS)
    with spot(exchange) as client:
        wrong, right = closes(exchange, client, 2)
    assert wrong["k"]["v"] == "0.00000001"
    rows = exchange.store.rows(parse_series("BTCUSDT"), BEGIN_MS + 10 * MINUTE, BEGIN_MS + 12 * MINUTE)
    assert rows[0][5] != "0.00000001"
    assert rows[1][5] == right["k"]["v"]


def test_frames_change_places(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(SwapFrame())
    with spot(exchange) as client:
        exchange.clock.advance(2_000)
        assert client.is_silent(0.1)
        exchange.clock.advance(2_000)
        newer, older = client.read(), client.read()
    assert newer["E"] - older["E"] == 2_000


@pytest.mark.parametrize("how", Damage)
def test_a_frame_is_damaged_and_the_next_is_whole(exchange: ReplayExchange, how: Damage) -> None:
    exchange.streams.faults.add(DamageFrame(how))
    with spot(exchange, f"/stream?streams={KLINE}") as client:
        exchange.clock.advance(2_000)
        damaged = client.socket.recv(timeout=5)
        exchange.clock.advance(2_000)
        whole = client.read()
    assert set(whole) == {"stream", "data"}
    if how is Damage.BINARY:
        assert isinstance(damaged, bytes)
        return
    if how in (Damage.CUT, Damage.NOT_JSON):
        with pytest.raises(json.JSONDecodeError):
            json.loads(damaged)
        return
    message = json.loads(damaged)
    assert message != whole
    if how is Damage.TYPES:
        assert isinstance(message["data"]["E"], str)
        assert isinstance(message["data"]["k"]["o"], int)
    else:
        assert "stream" not in message


def test_a_slow_connection_gets_everything_later(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(Slow(delay_ms=30_000), Where(connection=1))
    with spot(exchange) as slow, spot(exchange) as quick:
        wait_for(lambda: len(exchange.streams.connections) == 2)
        exchange.clock.advance(2_000)
        assert quick.read()["k"]
        assert slow.is_silent(0.1)
        exchange.clock.advance(30_000)
        assert slow.read()["E"] < exchange.clock.now_ms() - 29_000


def test_faults_can_be_dropped(exchange: ReplayExchange) -> None:
    exchange.streams.faults.add(Abort(), times=5)
    assert exchange.streams.faults.pending() == 5
    exchange.streams.faults.clear()
    with spot(exchange, "/ws") as client:
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_a_client_that_resets_is_an_ended_connection(exchange: ReplayExchange) -> None:
    client = spot(exchange)
    client.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.socket.close()
    wait_for(lambda: not exchange.streams.open_connections)
    assert exchange.streams.connections[0].close_code == 1006
