"""Trades of REST and streams: they add up to the candles, have no holes, and say the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from stream_sessions import events_of

from core.instrument import Market
from core.ranges import Span
from core.series import Series, make_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from demo.market_data import MarketData
from demo.recordings import read_rows
from demo.server import ReplayExchange
from demo.stream_channels import Channels
from demo.stream_names import read_name

Live = Callable[..., ReplayExchange]
BEGIN_MS, MINUTE, HOUR = parse_time("2024-03-01"), 60_000, 3_600_000
SYMBOLS = {Market.SPOT: "BTCUSDT", Market.UM: "BTCUSDT", Market.CM: "BTCUSD_PERP"}
PATHS = {Market.SPOT: "/api/v3/", Market.UM: "/fapi/v1/", Market.CM: "/dapi/v1/"}


def data_of(market: Market, seed: int = 0, minutes: int = 6, **options: Any) -> tuple[MarketData, Series]:
    series, store = make_series(market, SYMBOLS[market], "1m"), CandleStore()
    store.add(series, generate_series(series, Span(BEGIN_MS, BEGIN_MS + minutes * MINUTE), seed, **options))
    return MarketData(store), series


def frames(data: MarketData, series: Series, kind: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    name = read_name(series.market, f"{series.symbol.lower()}@{kind}")
    assert name is not None
    channel, random, now_ms = Channels(data)(series.market, name), Random(kind), start_ms
    channel.restart(start_ms)
    events = []
    while now_ms < end_ms:
        now_ms += random.randint(1, 3_000)
        for frame in channel.due(now_ms):
            event = json.loads(frame.payload)
            assert event["E"] <= now_ms
            events.append(event)
    return events


def sums_of(trades: list[dict[str, Any]]) -> dict[str, Decimal]:
    """Return what a candle of these trades would say."""
    prices = [Decimal(trade["p"]) for trade in trades]
    sizes = [Decimal(trade["q"]) for trade in trades]
    values = [price * size for price, size in zip(prices, sizes, strict=True)]
    bought = [number for number, trade in enumerate(trades) if not trade["m"]]
    return {
        "o": prices[0], "h": max(prices), "l": min(prices), "c": prices[-1], "v": sum(sizes), "q": sum(values),
        "n": sum((Decimal(trade["l"] - trade["f"] + 1) for trade in trades), Decimal()),
        "V": sum((sizes[number] for number in bought), Decimal()),
        "Q": sum((values[number] for number in bought), Decimal()),
    }  # fmt: skip


def said_by(row: list[Any]) -> dict[str, Decimal]:
    places = {"o": 1, "h": 2, "l": 3, "c": 4, "v": 5, "q": 7, "n": 8, "V": 9, "Q": 10}
    return {key: Decimal(row[place]) for key, place in places.items()}


def check_sums(market: Market, rows: list[list[Any]], trades: list[dict[str, Any]], length: int = MINUTE) -> None:
    for row in rows:
        own = [trade for trade in trades if row[0] <= trade["T"] < row[0] + length]
        if row[8] == 0:
            assert own == []
            continue
        made, said = sums_of(own), said_by(row)
        assert all(Decimal(trade["q"]) > 0 for trade in own)
        if market is Market.CM:  # its quote volume is rounded trade by trade
            for key in ("q", "Q"):
                del made[key], said[key]
        assert made == said


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("seed", range(2))
def test_aggregate_trades_add_up_to_the_candles_exactly(market: Market, seed: int) -> None:
    data, series = data_of(market, seed, quiet_share=0.2)
    trades = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + 7 * MINUTE)
    check_sums(market, data.store.rows(series), trades)
    assert all(later["a"] == earlier["a"] + 1 for earlier, later in pairwise(trades))
    assert all(later["f"] == earlier["l"] + 1 for earlier, later in pairwise(trades))
    assert any(trade["l"] > trade["f"] for trade in trades)
    assert [trade["T"] for trade in trades] == sorted(trade["T"] for trade in trades)


def test_prices_of_trades_follow_the_candle_in_progress() -> None:
    data, series = data_of(Market.SPOT, 2, minutes=3)
    trades = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + 4 * MINUTE)
    klines = [
        event for event in frames(data, series, "kline_1m", BEGIN_MS, BEGIN_MS + 4 * MINUTE) if not event["k"]["x"]
    ]
    for event in klines[::5]:
        before = [trade for trade in trades if trade["T"] < event["E"]][-1]
        final = data.store.rows(series, event["k"]["t"], event["k"]["t"] + 1)[0]
        width = Decimal(final[2]) - Decimal(final[3])
        assert abs(Decimal(before["p"]) - Decimal(event["k"]["c"])) <= width / 2


def test_a_recorded_minute_can_be_made_of_trades(recorded_folder: Path) -> None:
    series, store = make_series(Market.SPOT, "BTCUSDT", "1m"), CandleStore()
    path = recorded_folder / "archives/spot/1m/BTCUSDT-2023"
    rows = list(read_rows(sorted(path.glob("*.zip"))[40]))[600:601]
    store.add(series, rows)
    data = MarketData(store)
    trades = frames(data, series, "aggTrade", rows[0][0], rows[0][0] + MINUTE + 3_000)
    check_sums(Market.SPOT, rows, trades)


def test_single_trades_are_the_parts_of_aggregates_and_the_ids_of_candles() -> None:
    data, series = data_of(Market.SPOT, 4, minutes=2)
    singles = frames(data, series, "trade", BEGIN_MS, BEGIN_MS + 7 * MINUTE)
    aggregates = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + 7 * MINUTE)
    by_id = {one["t"]: one for one in singles}
    for aggregate in aggregates:
        parts = [by_id[number] for number in range(aggregate["f"], aggregate["l"] + 1)]
        assert sum(Decimal(one["q"]) for one in parts) == Decimal(aggregate["q"])
        assert {(one["p"], one["T"], one["m"]) for one in parts} == {(aggregate["p"], aggregate["T"], aggregate["m"])}
    assert len(by_id) == len(singles) == aggregates[-1]["l"] - aggregates[0]["f"] + 1
    klines = [event["k"] for event in frames(data, series, "kline_1m", BEGIN_MS, BEGIN_MS + 7 * MINUTE)]
    for kline in klines:
        if kline["x"] and kline["n"]:
            own = [one["t"] for one in singles if kline["t"] <= one["T"] <= kline["T"]]
            assert (kline["f"], kline["L"], kline["n"]) == (own[0], own[-1], len(own))


def test_a_stream_that_begins_later_goes_on_where_time_stands() -> None:
    data, series = data_of(Market.UM, 4)
    whole = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + 7 * MINUTE)
    part = frames(data, series, "aggTrade", BEGIN_MS + 2 * MINUTE, BEGIN_MS + 7 * MINUTE)
    assert [trade["a"] for trade in part] == [trade["a"] for trade in whole if trade["T"] >= BEGIN_MS + 2 * MINUTE]


@pytest.mark.parametrize("market", Market)
def test_rest_says_what_the_stream_said(live: Live, http: requests.Session, market: Market) -> None:
    data, series = data_of(market, 6)
    exchange = live(data.store, "2024-03-01T00:05:30")
    seen = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + 7 * MINUTE)
    url = exchange.url + PATHS[market] + "aggTrades"

    def ask(**params: Any) -> Any:
        return http.get(url, params={"symbol": series.symbol, **params}).json()

    now_ms = exchange.clock.now_ms()
    known = [trade for trade in seen if trade["T"] < now_ms]
    keys = [*"apqflTm", *("M" if market is Market.SPOT else ""), *(["nq"] if market is Market.UM else [])]
    whole = [{key: trade[key] for key in keys} for trade in known]
    assert ask(fromId=known[5]["a"], limit=7) == whole[5:12]
    assert ask(limit=4) == whole[-4:]
    start_ms, end_ms = known[20]["T"], known[40]["T"]
    assert ask(startTime=start_ms, endTime=end_ms) == whole[20:41]
    assert ask(startTime=start_ms, limit=3) == whole[20:23]
    assert ask(fromId=known[-1]["a"] + 1) == []
    following, paged = known[0]["a"], []
    while page := ask(fromId=following, limit=1000):
        paged += page
        following = page[-1]["a"] + 1
    assert paged == whole


@pytest.mark.parametrize(
    ("market", "params", "code"),
    [
        (Market.SPOT, {}, -1102),
        (Market.SPOT, {"symbol": "NIX"}, -1121),
        (Market.SPOT, {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
        (Market.UM, {"symbol": "BTCUSDT", "limit": 1001}, -1130),
        (Market.UM, {"symbol": "BTCUSDT", "startTime": "x"}, -1100),
        (Market.UM, {"symbol": "BTCUSDT", "startTime": BEGIN_MS, "endTime": BEGIN_MS + HOUR}, -1127),
        (Market.UM, {"symbol": "BTCUSDT", "startTime": BEGIN_MS - 48 * HOUR}, -4166),
        (Market.CM, {"symbol": "BTCUSD_PERP", "startTime": BEGIN_MS - 24 * HOUR}, -4166),
    ],
)
def test_refusals_and_their_weight(
    live: Live, http: requests.Session, market: Market, params: dict[str, Any], code: int
) -> None:
    data, _ = data_of(market)
    reply = http.get(live(data.store, "2024-03-01T00:05:30").url + PATHS[market] + "aggTrades", params=params)
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert reply.headers["X-MBX-USED-WEIGHT-1M"] == ("4" if market is Market.SPOT else "20")


def test_old_trades_are_not_found_by_their_ids_on_futures(live: Live, http: requests.Session) -> None:
    data, series = data_of(Market.UM)
    first = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + MINUTE)[0]["a"]
    exchange = live(data.store, "2024-03-03T00:00:30")
    asked = {"symbol": "BTCUSDT", "fromId": str(first)}
    assert http.get(exchange.url + "/fapi/v1/aggTrades", params=asked).json()["code"] == -4166


def test_keys_are_those_of_recorded_trades(recorded_folder: Path) -> None:
    recorded = [event for event in events_of(recorded_folder / "ws") if event.get("e") in ("aggTrade", "trade")]
    made = {}
    for market in Market:
        data, series = data_of(market)
        made[market] = frames(data, series, "aggTrade", BEGIN_MS, BEGIN_MS + 2_000)[0]
    data, series = data_of(Market.SPOT)
    single = frames(data, series, "trade", BEGIN_MS, BEGIN_MS + 2_000)[0]
    assert len(recorded) > 500
    added = {"nq", "st"}  # since these were recorded
    for event in recorded:
        if event["e"] == "trade":
            assert list(event) == list(single)
        elif "M" in event:
            assert list(event) == list(made[Market.SPOT])
        else:
            assert list(event) == [key for key in made[Market.UM] if key not in added]
            assert list(made[Market.CM]) == list(made[Market.UM])
