"""The order book: changes of the streams and snapshots of REST are one book, by each market's rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from stream_sessions import events_of

from core.instrument import Market
from core.ranges import Span
from core.series import make_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.depth_rules import answer_depth
from demo.generated_market import generate_series
from demo.market_data import MarketData
from demo.server import ReplayExchange
from demo.stream_channels import Channels
from demo.stream_names import read_name

Live = Callable[..., ReplayExchange]
BEGIN_MS, MINUTE = parse_time("2024-03-01"), 60_000
HALT = Span(BEGIN_MS + 3 * MINUTE, BEGIN_MS + 5 * MINUTE)
SYMBOLS = {Market.SPOT: "BTCUSDT", Market.UM: "BTCUSDT", Market.CM: "BTCUSD_PERP"}
PATHS = {Market.SPOT: "/api/v3/", Market.UM: "/fapi/v1/", Market.CM: "/dapi/v1/"}
Book = dict[str, dict[str, str]]


@pytest.fixture(scope="module", params=Market)
def market(request: pytest.FixtureRequest) -> Market:
    chosen: Market = request.param
    return chosen


@pytest.fixture(scope="module")
def data(market: Market) -> MarketData:
    store, series = CandleStore(), make_series(market, SYMBOLS[market], "1m")
    store.add(series, generate_series(series, Span(BEGIN_MS, BEGIN_MS + 7 * MINUTE), halts=[HALT]))
    return MarketData(store)


def frames(data: MarketData, market: Market, kind: str, start_ms: int, end_ms: int) -> list[tuple[int, dict[str, Any]]]:
    """Return the events by when they were sent; the server looks every 5 to 130 ms."""
    name = read_name(market, f"{SYMBOLS[market].lower()}@{kind}")
    assert name is not None
    channel, random, now_ms, events = Channels(data)(market, name), Random(3), start_ms, []
    channel.restart(start_ms)
    while now_ms < end_ms:
        now_ms += random.randint(5, 130)
        events += [(now_ms, json.loads(frame.payload)) for frame in channel.due(now_ms)]
    return events


def snapshot(data: MarketData, market: Market, now_ms: int, limit: int = 1000) -> dict[str, Any]:
    asked = {"symbol": SYMBOLS[market], "limit": str(limit)}
    answer: dict[str, Any] = json.loads(answer_depth(data.store, data.books, market, asked, now_ms).body)
    return answer


def book_of(answer: dict[str, Any]) -> Book:
    return {"b": dict(answer["bids"]), "a": dict(answer["asks"])}


def apply(book: Book, event: dict[str, Any]) -> None:
    for side in "ba":
        for price, quantity in event[side]:
            if float(quantity) == 0:
                book[side].pop(price, None)
            else:
                book[side][price] = quantity


@pytest.mark.parametrize("speed", ["depth@100ms", "depth"])
def test_a_kept_book_is_the_snapshot_at_its_update_id(data: MarketData, market: Market, speed: str) -> None:
    events = [event for _, event in frames(data, market, speed, BEGIN_MS + 55_000, BEGIN_MS + 63_000)]
    answer = snapshot(data, market, BEGIN_MS + 57_030)
    book, last = book_of(answer), answer["lastUpdateId"]
    kept = [event for event in events if event["u"] > last] if market is Market.SPOT else [
        event for event in events if event["u"] >= last
    ]  # fmt: skip
    first = kept[0]
    assert first["U"] <= last + 1 <= first["u"] + 1
    for event in kept:
        apply(book, event)
        at_ms = next(
            ms for ms in range(event["E"] - 120, event["E"] + 1, 10) if _last_id(data, market, ms) == event["u"]
        )
        assert book == book_of(snapshot(data, market, at_ms))


def _last_id(data: MarketData, market: Market, ms: int) -> int:
    answered: int = snapshot(data, market, ms, 5)["lastUpdateId"]
    return answered


def test_a_snapshot_lies_now_between_and_now_within_events(data: MarketData, market: Market) -> None:
    events = [event for _, event in frames(data, market, "depth@100ms", BEGIN_MS, BEGIN_MS + 1_500)]
    ids = [_last_id(data, market, BEGIN_MS + ms) for ms in range(300, 1_200, 50)]
    assert any(event["U"] <= last < event["u"] for last in ids for event in events)
    assert any(last == event["u"] for last in ids for event in events)


def test_ids_follow_each_other_by_the_market_s_rule(data: MarketData, market: Market) -> None:
    events = [event for _, event in frames(data, market, "depth@100ms", HALT.start_ms - 5_000, HALT.end_ms + 5_000)]
    assert not any(HALT.start_ms + 200 < event["E"] < HALT.end_ms for event in events)
    assert any(event["E"] > HALT.end_ms for event in events)
    for earlier, later in pairwise(events):
        if market is Market.SPOT:
            assert later["U"] == earlier["u"] + 1
        else:
            assert later["pu"] == earlier["u"] < later["U"] <= later["u"]


def test_the_book_is_around_the_price_and_never_crossed(data: MarketData, market: Market) -> None:
    for ms in range(0, 6 * MINUTE, 7_777):
        answer = snapshot(data, market, BEGIN_MS + ms)
        bids, asks = ([float(price) for price, _ in answer[side]] for side in ("bids", "asks"))
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]
        assert len(bids) == len(asks) == 400
        assert abs(bids[0] - 30_000) < 300


@pytest.mark.parametrize("levels", [5, 10, 20])
def test_partial_books_are_the_top_of_the_book(data: MarketData, market: Market, levels: int) -> None:
    events = [event for _, event in frames(data, market, f"depth{levels}@100ms", BEGIN_MS, BEGIN_MS + 1_000)]
    assert len(events) > 6
    ends = {}
    for ms in range(0, 1_001, 50):
        answer = snapshot(data, market, BEGIN_MS + ms, levels)
        ends[answer["lastUpdateId"]] = answer
    for event in events:
        if market is Market.SPOT:
            assert list(event) == ["lastUpdateId", "bids", "asks"]
            assert event == ends[event["lastUpdateId"]]
        else:
            assert (event["b"], event["a"]) == (ends[event["u"]]["bids"], ends[event["u"]]["asks"])


def test_the_best_bid_and_ask_come_when_they_change(data: MarketData, market: Market) -> None:
    events = [event for _, event in frames(data, market, "bookTicker", BEGIN_MS + 60_000, BEGIN_MS + 80_000)]
    assert len(events) > 10
    sides = [[event[key] for key in "bBaA"] for event in events]
    assert all(earlier != later for earlier, later in pairwise(sides))
    assert [event["u"] for event in events] == sorted({event["u"] for event in events})


@pytest.mark.parametrize(
    ("name", "limit", "weight"),
    [("spot", None, 5), ("spot", 100, 5), ("spot", 101, 25), ("spot", 1000, 50), ("spot", 5000, 250),
     ("spot", 9000, 250), ("um", 5, 2), ("um", 50, 2), ("um", 100, 5), ("um", None, 10), ("um", 1000, 20)],
)  # fmt: skip
def test_weights_and_limits(live: Live, http: requests.Session, name: str, limit: int | None, weight: int) -> None:
    market = Market(name)
    store, series = CandleStore(), make_series(market, SYMBOLS[market], "1m")
    store.add(series, generate_series(series, Span(BEGIN_MS, BEGIN_MS + MINUTE)))
    exchange = live(store, "2024-03-01T00:00:30")
    asked = {"symbol": "BTCUSDT", **({} if limit is None else {"limit": str(limit)})}
    reply = http.get(exchange.url + PATHS[market] + "depth", params=asked)
    assert reply.status_code == 200
    assert reply.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    assert http.get(exchange.url + "/fapi/v1/depth", params={"symbol": "BTCUSDT", "limit": "7"}).json()["code"] == -4021
    assert http.get(exchange.url + PATHS[market] + "depth", params={"symbol": "NIX"}).json()["code"] == -1121


def test_keys_are_those_of_recorded_books(recorded_folder: Path, data: MarketData, market: Market) -> None:
    made = frames(data, market, "depth@100ms", BEGIN_MS, BEGIN_MS + 1_000)[0][1]
    best = frames(data, market, "bookTicker", BEGIN_MS, BEGIN_MS + 1_000)[0][1]
    recorded = list(events_of(recorded_folder / "ws"))
    updates = [event for event in recorded if event.get("e") == "depthUpdate"]
    own = [event for event in updates if ("pu" not in event) == (market is Market.SPOT)]
    own = [event for event in own if ("ps" in event) == (market is Market.CM)]
    assert len(own) > 3
    added = {"st", "ps"}  # since these were recorded
    for event in own:
        assert [key for key in event if key not in added] == [key for key in made if key not in added]
    assert {tuple(sorted(event)) for event in recorded if event.keys() >= {"u", "s", "B"} and "e" not in event} == {
        ("A", "B", "a", "b", "s", "u")
    }
    assert {"u", "s", "b", "B", "a", "A"} <= set(best)
