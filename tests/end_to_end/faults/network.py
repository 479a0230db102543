"""What can be wrong with the network, the host and its clock."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

from program import Program

from core.times import MS_PER_HOUR, MS_PER_MINUTE
from demo.clock import ReplayClock
from demo.faults import AlterBody, AlterRows, Answer, CutBody, Reset, Stall
from demo.server import ReplayExchange
from faults.pages import LACKED_MS, always_later_by, without
from faults.stage import (
    ALWAYS,
    DONE,
    HTML,
    IMPATIENT,
    RATE_LIMIT,
    REST_NOW_MS,
    Case,
    Prepare,
    Stage,
    at_start,
    both,
    check_names_the_gap,
    everywhere,
    fault,
    hosts_at,
    settings,
    the_next_run_stores_all,
)


def machine_clock_off_by(ms: int) -> Prepare:
    """Set the machine's clock to the exchange's and then wrong by `ms`."""
    now_ns = (REST_NOW_MS + ms) * 1_000_000
    return at_start(
        "import time\nbegan, clock = time.time_ns(), time.time_ns\n"
        f"time.time_ns = lambda: {now_ns} + clock() - began\ntime.time = lambda: time.time_ns() / 1e9\n"
    )


def exchange_clock_steps(program: Program, exchange: ReplayExchange) -> None:
    """Every request finds the exchange's clock five hours before or after where the last one found it."""
    answer, turn = exchange.handle, threading.Lock()
    state = {"early": False}

    def handle(target: str) -> Any:
        with turn:
            state["early"] = not state["early"]
            exchange.clock.set(REST_NOW_MS - (5 * MS_PER_HOUR if state["early"] else 0))
            try:
                return answer(target)
            finally:
                exchange.clock.set(REST_NOW_MS)

    exchange.handle = handle


def the_ban_is_bounded(stage: Stage) -> None:
    a_second_run_sends_nothing(stage)
    [ban] = json.loads((stage.program.folder / "state" / "exchange_bans.json").read_text()).values()
    assert ban["for_ms"] == 73 * MS_PER_HOUR


def with_negative_volume(rows: list[Any]) -> list[Any]:
    return [[*row[:5], "-7.5", *row[6:]] if row[0] == LACKED_MS else row for row in rows]


def check_shows_it_off_the_grid(stage: Stage) -> None:
    """The exchange insists: two answers that differ in window and limit have the same row."""
    assert {row[0] for row in stage.stored} ^ {row[0] for row in stage.truth} == {LACKED_MS, LACKED_MS + 1}
    [series] = json.loads(stage.run("check", "--json").stdout)["series"]
    assert series["off_grid"] == 1


def check_shows_the_unusable_row(stage: Stage) -> None:
    """All else is stored; the slot is an explained gap that holds the row, and the next run has nothing to do."""
    assert set(stage.stored) == {row for row in stage.truth if row[0] != LACKED_MS}
    [series] = json.loads(stage.run("check", "--json").stdout)["series"]
    [gap] = series["gaps"]
    assert (series["missing"], gap["status"], gap["reason"]) == (0, "not_at_exchange", "unusable")
    [evidence] = gap["evidence"]
    assert (evidence["answer"], json.loads(evidence["row"])[5]) == ("unusable candle", "-7.5")
    assert stage.run("check").returncode == 0
    assert "7.5" in stage.run("check", "--gaps").stdout
    assert stage.run("verify").returncode == 0
    stage.exchange.faults.clear()
    stage.exchange.clock.advance(25 * MS_PER_HOUR)  # its recheck
    assert stage.backfill().returncode == 0
    assert LACKED_MS in {row[0] for row in stage.stored}


def time_is_ahead_by(ms: int) -> Prepare:
    """`/time` alone is wrong; the Date of every answer is right."""

    def change(body: bytes) -> bytes:
        return json.dumps({"serverTime": json.loads(body)["serverTime"] + ms}).encode()

    return fault("/time", AlterBody(change), ALWAYS)


def exchange_clock_falls_back(program: Program, exchange: ReplayExchange) -> None:
    """`/time` and its Date are half an hour ahead; every later request finds the true clock."""
    answer = exchange.handle

    def handle(target: str) -> Any:
        exchange.clock.set(REST_NOW_MS + (30 * MS_PER_MINUTE if "/time" in target else 0))
        try:
            return answer(target)
        finally:
            exchange.clock.set(REST_NOW_MS)

    exchange.handle = handle


def connections_reset(program: Program, exchange: ReplayExchange) -> None:
    """Answer every request with a reset (RST) instead of an orderly end."""
    answer = exchange.handle

    def handle(target: str) -> Any:
        assert exchange._server is not None
        for connection in list(exchange._server._open):
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(connection.detach())
        return answer(target)[0], Reset()

    exchange.handle = handle


def wrong_content_type(program: Program, exchange: ReplayExchange) -> None:
    answer = exchange.handle

    def handle(target: str) -> Any:
        reply, action = answer(target)
        return replace(reply, content_type="text/html"), action

    exchange.handle = handle


# --- What is wrong with the network, the host or its clock --------------------------------------------------------


def waited_before_going_on(stage: Stage) -> None:
    """The requests after the 429 came when its second was over, not before."""
    requests = stage.exchange.requests
    refused = next(i for i, record in enumerate(requests) if record.status == 429)
    after = [record.at_ms - requests[refused].at_ms for record in requests[refused + 1 :]]
    # Where a series begins is asked for twice at once: the twin of what was refused was on its way.
    assert len([ms for ms in after if ms < 1000]) <= 1
    assert any(ms >= 1000 for ms in after)


def a_second_run_sends_nothing(stage: Stage) -> None:
    stage.exchange.clear_requests()
    again = stage.backfill()
    assert (again.returncode, stage.exchange.requests) == (5, [])
    assert "no request was sent. Run again after that" in again.stderr


def verify_names_the_wrong_price(stage: Stage) -> None:
    assert len(set(stage.stored) - set(stage.truth)) == 1
    stage.exchange.faults.clear()
    told = stage.run("verify")
    assert told.returncode == 3
    assert "different: high" in told.stdout
    assert stage.run("verify", "--repair").returncode == 0
    assert stage.stored == stage.truth


def all_that_had_closed_by_the_earlier_clock(stage: Stage) -> None:
    """Nothing that was still open, no hole before the end; the next run takes the rest."""
    stored = stage.stored
    assert stored == stage.truth[: len(stored)]
    assert len(stage.truth) - len(stored) == 5 * 60
    del stage.exchange.handle  # the clock stands still from here on
    stage.exchange.clock.set(REST_NOW_MS)
    the_next_run_stores_all(stage)


def moving_clock(program: Program, exchange: ReplayExchange) -> None:
    exchange.clock = exchange._routes._clock = ReplayClock(REST_NOW_MS, speed=1.0)


HIGHER = AlterRows(lambda rows: [[*r[:2], "99999999.00000000", *r[3:]] if r[0] == LACKED_MS else r for r in rows])
NETWORK = [
    Case("connection refused", 5, "Connection refused; check the network", "none", hosts_at("http://127.0.0.1:9")),
    Case("connection closed without an answer, once", 0, DONE, "all", fault("klines", Reset(), times=1)),
    Case(
        "connection closed without an answer, for ever",
        5,
        "no whole answer from",
        "none",
        everywhere(Reset()),
        after=the_next_run_stores_all,
    ),
    Case("connection reset, for ever", 5, "Connection reset by peer; check the network", "none", connections_reset),
    Case("connection closed in mid-body, once", 0, DONE, "all", fault("klines", CutBody(), times=1)),
    Case("connection closed in mid-body, for ever", 5, "no whole answer from", "none", everywhere(CutBody())),
    Case(
        "connection closed in the second chunk, for ever",
        3,
        "no whole answer from",
        "part",
        fault("klines", Reset(), after=2),
        after=the_next_run_stores_all,
    ),
    Case("stalled, once", 0, DONE, "all", both(IMPATIENT, fault("klines", Stall(60), times=1))),
    Case(
        "stalled, for ever",
        5,
        "ReadTimeout: timed out; check the network",
        "none",
        both(IMPATIENT, everywhere(Stall(60))),
    ),
    Case("slow", 0, DONE, "all", everywhere(Stall(0.3))),
    Case("host name unknown", 5, "check the network and the address", "none", hosts_at("http://exchange.invalid")),
    Case(
        "429 with Retry-After, once",
        0,
        DONE,
        "all",
        both(moving_clock, fault("klines", Answer(429, RATE_LIMIT, {"Retry-After": "1"}), times=1)),
        after=waited_before_going_on,
    ),
    Case(
        "429, for ever",
        5,
        "answers 429, too many requests (given up after 6 attempts",
        "none",
        everywhere(Answer(429, RATE_LIMIT, {"Retry-After": "0"})),
    ),
    Case(
        "429 with a Retry-After of hours",
        5,
        "has banned this address until",
        "none",
        everywhere(Answer(429, RATE_LIMIT, {"Retry-After": "7200"})),
        after=a_second_run_sends_nothing,
    ),
    Case(
        "418 with Retry-After",
        5,
        "has banned this address until",
        "part",
        fault("klines", Answer(418, RATE_LIMIT, {"Retry-After": "3600"}), after=2),
        after=a_second_run_sends_nothing,
    ),
    Case(
        "418 without a word",
        5,
        "has banned this address until",
        "none",
        everywhere(Answer(418, "")),
        after=a_second_run_sends_nothing,
    ),
    Case(
        "418 with a Retry-After of years",
        5,
        "has banned this address until",
        "none",
        everywhere(Answer(418, RATE_LIMIT, {"Retry-After": "999999999"})),
        after=the_ban_is_bounded,
    ),
    Case(
        "451",
        5,
        "The exchange does not serve this location",
        "none",
        everywhere(Answer(451, {"code": 0, "msg": "Service unavailable from a restricted location"})),
    ),
    Case("403 with HTML", 5, "The exchange's firewall refuses this address", "none", everywhere(Answer(403, HTML))),
    Case("404 with HTML", 5, "Check the address in BINANCE_API_URL", "none", everywhere(Answer(404, HTML))),
    Case(
        "redirect to a web page",
        5,
        "Check the address in BINANCE_API_URL",
        "none",
        everywhere(Answer(302, HTML, {"Location": "http://127.0.0.1:9/"})),
    ),
    Case(
        "400 with an unknown code",
        3,
        "(code -1100)",
        "none",
        fault("klines", Answer(400, {"code": -1100, "msg": "Illegal characters found."})),
    ),
    Case("5xx burst that ends", 0, DONE, "all", fault("klines", Answer(502, HTML), times=4)),
    Case(
        "5xx, for ever",
        5,
        "answers 503: Welcome to the hotel. Please log in. (given up",
        "none",
        everywhere(Answer(503, HTML)),
    ),
    Case(
        "5xx for one symbol, for ever",
        3,
        "market spot answers, but not for BTCUSDT",
        "none",
        fault("klines", Answer(503, HTML)),
        after=the_next_run_stores_all,
    ),
    Case("200 with HTML from the whole host", 5, "begins '<html><body>Welcome", "none", everywhere(Answer(200, HTML))),
    Case("content type wrong, JSON right", 0, DONE, "all", wrong_content_type),
    Case(
        "the same candle missing from every answer",
        3,
        "no candle in 2024-02-01T07:00Z .. 2024-02-01T07:01Z, too young to be proven",
        "part",
        fault("klines", without(LACKED_MS)),
        after=check_names_the_gap,
    ),
    Case(
        "the same candle a millisecond late in every answer",
        0,
        DONE,
        "other",
        fault("klines", always_later_by(1, LACKED_MS)),
        after=check_shows_it_off_the_grid,
    ),
    Case(
        "the same candle impossible in every answer",
        0,
        "left out",
        "other",
        fault("klines", AlterRows(with_negative_volume)),
        after=check_shows_the_unusable_row,
    ),
    Case(
        "every page empty",
        3,
        "has no candle of it by REST; try again later",
        "none",
        fault("klines", AlterRows(lambda rows: [])),
    ),
    Case("a possible but wrong price", 0, DONE, "other", fault("klines", HIGHER), after=verify_names_the_wrong_price),
    Case(
        "symbol list without symbols",
        3,
        "exchangeInfo lists no symbols",
        "none",
        fault("exchangeInfo", Answer(200, {"rateLimits": [], "symbols": []})),
    ),
    Case("machine clock five hours ahead", 0, DONE, "all", machine_clock_off_by(5 * MS_PER_HOUR)),
    Case("machine clock five hours behind", 0, DONE, "all", machine_clock_off_by(-5 * MS_PER_HOUR)),
    Case("machine clock years ahead", 0, DONE, "all", settings()),
    Case(
        "exchange clock that steps to and fro",
        0,
        "BTCUSDT/1m: ok",
        "other",
        exchange_clock_steps,
        after=all_that_had_closed_by_the_earlier_clock,
    ),
    Case("exchange clock 40 seconds ahead", 0, "the earlier one is used", "all", time_is_ahead_by(40_000)),
    Case("exchange clock three hours ahead", 0, "the earlier one is used", "all", time_is_ahead_by(3 * MS_PER_HOUR)),
    Case(
        "exchange clock that falls back after it was asked",
        3,
        "it is not finished, and the exchange's clock was ahead",
        "part",
        exchange_clock_falls_back,
    ),
    Case("exchange clock without a time", 5, "expected serverTime", "none", fault("/time", Answer(200, {"now": 1}))),
    Case(
        "exchange clock at 1970",
        5,
        "expected serverTime",
        "none",
        fault("/time", AlterBody(lambda body: b'{"serverTime":0}')),
    ),
]
