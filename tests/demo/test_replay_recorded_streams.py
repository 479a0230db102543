"""Recorded sessions are played again: every frame, as it was written, at its time."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from stream_client import Client

from core.instrument import Market
from demo.clock import ReplayClock
from demo.recorded_streams import RecordedSession
from demo.stream_names import read_name
from demo.stream_server import StreamServer

FILES = {
    "cryptofeed.BINANCE.ws.1.0.txt.gz": (Market.SPOT, "nknusdt@depth@100ms"),
    "cryptofeed.BINANCE.ws.1.0.older-17klines.txt.gz": (Market.SPOT, "ftmusdt@kline_1m"),
    "cryptofeed.BINANCE_FUTURES.ws.1.0.txt.gz": (Market.UM, "sushiusdt@kline_1m"),
    "hftbacktest.spot.btcusdt_20240808.gz": (Market.SPOT, "btcusdt@trade"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_session_has_all_its_frames_in_order(recorded_folder: Path, name: str) -> None:
    market, stream = FILES[name]
    session = RecordedSession(recorded_folder / "ws" / name, market)
    known = read_name(market, stream)
    assert known is not None
    assert all(read_name(market, one) is not None for one in session.names)
    channel = session(market, known)
    start_ms, end_ms = session.span
    channel.restart(start_ms)
    half = channel.due((start_ms + end_ms) // 2)
    rest = channel.due(end_ms)
    assert len(half) + len(rest) == session.names[stream]
    assert half and rest
    assert channel.due(end_ms + 10**9) == []


def test_a_session_is_served(recorded_folder: Path) -> None:
    path = recorded_folder / "ws" / "cryptofeed.BINANCE_FUTURES.ws.1.0.txt.gz"
    session = RecordedSession(path, Market.UM)
    clock = ReplayClock(session.span[0] - 1, speed=0)
    with StreamServer(clock, session) as server:
        url = f"{server.urls['um']}/market/stream?streams=sushiusdt@kline_1m/nix@kline_1m"
        with Client(url) as client:
            clock.set(session.span[1] + 1)
            texts = [client.socket.recv(timeout=5) for _ in range(session.names["sushiusdt@kline_1m"])]
            assert client.is_silent(0.1)

    written = gzip.decompress(path.read_bytes()).decode()
    assert all(text in written for text in texts)


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("wss://somewhere\n")
    with pytest.raises(ValueError, match="no combined frame"):
        RecordedSession(tmp_path / "empty.txt", Market.SPOT)
