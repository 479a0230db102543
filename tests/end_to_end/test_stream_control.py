"""A stream that runs takes a changed list and makes new connections when asked, without losing a candle."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from live_program import OF_A_SECOND, assert_true_to_the_end, live, output_of, running, streamed, wait_for_live
from program import Program

__all__ = ["live"]

BTC, ETH = OF_A_SECOND

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


def wait_for(what: Callable[[], object], program: Program, longest_s: float = 30.0) -> None:
    ends = time.monotonic() + longest_s
    while not what():
        assert time.monotonic() < ends, output_of(program)
        time.sleep(0.1)


def test_a_changed_list_and_new_connections_lose_no_candle_and_nonsense_changes_nothing(live: Program) -> None:
    assert live.exchange is not None
    live.symbols("symbols: [{symbol: BTCUSDT, interval: 1s}]\n")
    with running(live) as process:
        wait_for_live(live, 3, series=[BTC])
        live.symbols("symbols: [{symbol: BTCUSDT, interval: 7s}]\n")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "what is streamed stays as it was: symbols.yml" in output_of(live), live)
        live.symbols("symbols: [{symbol: BTCUSDT, interval: 1s}, {symbol: ETHUSDT, interval: 1s}]\n")
        process.send_signal(signal.SIGHUP)
        wait_for_live(live, 3)
        opened = len(live.exchange.streams.connections)
        assert live.run_json("stream", "--control", "reconnect", "--market", "um")["exit_code"] == 0  # it has none
        told = live.run("stream", "--control", "reconnect")
        assert told.returncode == 0 and "makes new connections" in told.stdout, told.stderr
        wait_for(lambda: len(live.exchange.streams.connections) > opened, live)  # type: ignore[union-attr]
        stored = streamed(live)
        wait_for_live(live, stored[str(BTC)][0] + 5)
        live.symbols("symbols: [{symbol: ETHUSDT, interval: 1s}]\n")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "gone: BTCUSDT/1s" in output_of(live), live)
        stored = streamed(live)
        wait_for_live(live, stored[str(ETH)][0] + 4, series=[ETH])
        assert streamed(live)[str(BTC)][0] <= stored[str(BTC)][0] + 2  # what was on its way
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, output_of(live)
    for series in OF_A_SECOND:
        assert_true_to_the_end(live, series)


def test_where_no_stream_runs_nobody_replies(program: Program) -> None:
    done = program.run("stream", "--control", "reconnect")
    assert done.returncode == 4 and "no stream is running" in done.stdout
    assert program.run("stream", "--market", "um").returncode == 2
