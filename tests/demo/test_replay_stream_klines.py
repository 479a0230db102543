"""Frames of klines agree with the store, with REST and with recorded sessions."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from stream_sessions import events_of

from core.instrument import Market
from core.ranges import Span
from core.series import Series, make_series
from core.times import parse_time
from demo.candle_store import CandleStore, SymbolFacts
from demo.generated_market import generate_series
from demo.kline_frames import KlineChannel
from demo.kline_rules import answer_klines
from demo.stream_names import read_name
from demo.trade_ids import FIRST_TRADE_ID, TradeIds

BEGIN_MS, MINUTE = parse_time("2024-03-01"), 60_000
HALT = Span(BEGIN_MS + 23 * MINUTE, BEGIN_MS + 31 * MINUTE)
SYMBOLS = {Market.SPOT: "BTCUSDT", Market.UM: "BTCUSDT", Market.CM: "BTCUSD_PERP"}


def store_of(market: Market, seed: int, code: str = "1m", minutes: int = 40) -> tuple[CandleStore, Series]:
    series, store = make_series(market, SYMBOLS[market], code), CandleStore()
    span = Span(BEGIN_MS, BEGIN_MS + minutes * MINUTE)
    store.add(series, generate_series(series, span, seed, quiet_share=0.2, halts=[HALT]))
    return store, series


def channel_of(store: CandleStore, series: Series) -> KlineChannel:
    name = read_name(series.market, f"{series.symbol.lower()}@kline_{series.interval.code}")
    assert name is not None
    return KlineChannel(name, series, store, TradeIds(store))


def lived(channel: KlineChannel, start_ms: int, end_ms: int, seed: int) -> list[tuple[int, Any]]:
    """Return the events by when they were sent, of a server that looks at uneven times."""
    random, now_ms, events = Random(seed), start_ms, []
    channel.restart(start_ms)
    while now_ms < end_ms:
        now_ms += random.randint(1, 700)
        events += [(now_ms, json.loads(frame.payload)) for frame in channel.due(now_ms)]
    return events


def row_of(kline: dict[str, Any]) -> list[Any]:
    return [kline[key] for key in "tohlcvTqnVQ"]


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("seed", range(2))
def test_every_closed_candle_comes_once_as_it_is_stored_and_not_before_its_end(market: Market, seed: int) -> None:
    store, series = store_of(market, seed)
    events = lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 41 * MINUTE, seed)
    finals = [event for _, event in events if event["k"]["x"]]
    assert [row_of(event["k"]) for event in finals] == [row[:11] for row in store.rows(series)]
    assert all(200 <= event["E"] - (event["k"]["t"] + MINUTE) <= 2_400 for event in finals)
    assert all(sent_ms - event["E"] < 700 for sent_ms, event in events if event["k"]["x"])
    assert [event["E"] for _, event in events] == sorted({event["E"] for _, event in events})


@pytest.mark.parametrize("market", Market)
def test_an_open_candle_is_on_its_way_to_what_it_will_be(market: Market) -> None:
    store, series = store_of(market, 7)
    finals = {row[0]: row for row in store.rows(series)}
    before: dict[int, list[Decimal]] = {}
    events = [event for _, event in lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 40 * MINUTE, 3)]
    assert sum(not event["k"]["x"] for event in events) > 400
    for event in events:
        kline, final = event["k"], finals[event["k"]["t"]]
        assert kline["o"] == final[1]
        opened, high, low, close = (Decimal(kline[key]) for key in "ohlc")
        assert Decimal(final[3]) <= low <= min(opened, close) <= max(opened, close) <= high <= Decimal(final[2])
        grown = [Decimal(kline[key]) for key in "hvqnVQ"]
        assert all(new >= old for new, old in zip(grown, before.get(kline["t"], grown), strict=True))
        before[kline["t"]] = grown
        assert [Decimal(kline[key]).as_tuple().exponent for key in "ohlcvqVQ"] == [
            Decimal(final[position]).as_tuple().exponent for position in (1, 2, 3, 4, 5, 7, 9, 10)
        ]
        if not kline["x"]:
            assert kline["n"] > 0, "a candle without trades is sent once, when it has closed"
            assert kline["v"] != final[5]


@pytest.mark.parametrize("market", Market)
def test_a_frame_says_what_rest_says_at_the_same_instant(market: Market) -> None:
    store, series = store_of(market, 5)
    asked = {"symbol": series.symbol, "interval": "1m", "limit": "1"}
    events = [event for _, event in lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 20 * MINUTE, 5)]
    progress = [event for event in events if not event["k"]["x"]][::10]
    assert len(progress) > 10
    for event in progress:
        answered = json.loads(answer_klines(store, market, asked, event["E"]).body)
        assert answered[-1][:11] == row_of(event["k"])


@pytest.mark.parametrize("market", Market)
def test_ids_of_trades_have_no_holes(market: Market) -> None:
    store, series = store_of(market, 9)
    following = FIRST_TRADE_ID
    for _, event in lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 41 * MINUTE, 1):
        kline = event["k"]
        if kline["n"] == 0:
            assert (kline["f"], kline["L"]) == (-1, -1)
            continue
        assert (kline["f"], kline["L"]) == (following, following + kline["n"] - 1)
        if kline["x"]:
            following = kline["L"] + 1


def test_a_halt_and_the_end_of_the_data_bring_no_frames_and_what_is_added_later_does() -> None:
    store, series = store_of(Market.SPOT, 2)
    channel = channel_of(store, series)
    events = lived(channel, BEGIN_MS, BEGIN_MS + 60 * MINUTE, 2)
    assert not any(HALT.start_ms + 2_400 < event["E"] < HALT.end_ms for _, event in events)
    cut = next(event for _, event in events if event["k"]["t"] == HALT.start_ms - MINUTE and event["k"]["x"])
    assert cut["k"]["T"] < HALT.start_ms - 1, "it closed early"
    assert max(event["E"] for _, event in events) < BEGIN_MS + 40 * MINUTE + 2_400
    later = Span(BEGIN_MS + 61 * MINUTE, BEGIN_MS + 62 * MINUTE)
    store.add(series, generate_series(series, later, seed=11))
    frames = [json.loads(frame.payload) for frame in channel.due(BEGIN_MS + 62 * MINUTE + 5_000)]
    assert [frame["k"]["t"] for frame in frames if frame["k"]["x"]] == [later.start_ms]


def test_the_store_decides_until_the_last_moment() -> None:
    store, series = store_of(Market.UM, 3)
    channel = channel_of(store, series)
    channel.restart(BEGIN_MS)
    channel.due(BEGIN_MS + 30_000)
    corrected = store.rows(series, BEGIN_MS, BEGIN_MS + 1)[0]
    corrected[5] = "1234.500"
    store.add(series, [corrected])
    store.remove(series, Span(BEGIN_MS + MINUTE, BEGIN_MS + 2 * MINUTE))
    frames = [json.loads(frame.payload) for frame in channel.due(BEGIN_MS + 3 * MINUTE + 3_000)]
    finals = [(frame["k"]["t"], frame["k"]["v"]) for frame in frames if frame["k"]["x"]]
    assert finals[0] == (BEGIN_MS, "1234.500")
    assert [open_ms for open_ms, _ in finals] == [BEGIN_MS, BEGIN_MS + 2 * MINUTE]


def test_an_unlisted_symbol_is_silent() -> None:
    store, series = store_of(Market.UM, 3)
    store.set_facts(Market.UM, series.symbol, SymbolFacts(listed=False))
    assert lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 5 * MINUTE, 2) == []


def test_cadences_are_those_of_the_market() -> None:
    for market, every_ms in ((Market.SPOT, 2_000), (Market.UM, 250), (Market.CM, 250)):
        store, series = store_of(market, 4)
        events = [event for _, event in lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 10 * MINUTE, 4)]
        times = [event["E"] for event in events if not event["k"]["x"]]
        assert {(later - earlier) % every_ms for earlier, later in pairwise(times)} == {0}
    store, series = store_of(Market.SPOT, 4, "1s", 1)
    seconds = [event for _, event in lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 62_000, 4)]
    assert sum(event["k"]["x"] for event in seconds) == 60


def test_a_week_and_a_month_are_sent_under_their_own_names() -> None:
    series, store = make_series(Market.SPOT, "BTCUSDT", "1M"), CandleStore()
    store.add(series, generate_series(series, Span(BEGIN_MS, parse_time("2024-06-01"))))
    channel = channel_of(store, series)
    end_ms = parse_time("2024-04-01")
    channel.restart(end_ms - 10_000)
    frames = [json.loads(frame.payload) for frame in channel.due(end_ms + 3_000)]
    assert [frame["k"]["i"] for frame in frames if frame["k"]["x"]] == ["1M"]
    assert read_name(Market.SPOT, "btcusdt@kline_1w") is not None
    assert read_name(Market.SPOT, "btcusdt@kline_1W") is read_name(Market.UM, "btcusdt@kline_1s") is None


@pytest.mark.parametrize(("market", "pair"), [(Market.UM, "BTCUSDT"), (Market.CM, "BTCUSD")])
def test_a_continuous_kline_names_pair_and_contract(market: Market, pair: str) -> None:
    store, series = store_of(market, 1)
    name = read_name(market, f"{pair.lower()}_perpetual@continuousKline_1m")
    assert name is not None
    [continuous] = lived(KlineChannel(name, series, store, TradeIds(store)), BEGIN_MS, BEGIN_MS + 63_000, 1)[-1:]
    plain = lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + 63_000, 1)[-1:][0][1]
    assert list(continuous[1]) == ["e", "E", "ps", "ct", "k"]
    assert (continuous[1]["e"], continuous[1]["ps"], continuous[1]["ct"]) == ("continuous_kline", pair, "PERPETUAL")
    assert list(continuous[1]["k"]) == [key for key in plain["k"] if key != "s"]
    assert read_name(market, f"{pair.lower()}_next_quarter@continuousKline_1m") is None
    assert read_name(Market.SPOT, "btcusdt_perpetual@continuousKline_1m") is None


def test_keys_and_their_order_are_those_of_recorded_frames(recorded_folder: Path) -> None:
    recorded = [event for event in events_of(recorded_folder / "ws") if event.get("e") == "kline"]
    assert len(recorded) > 50
    store, series = store_of(Market.SPOT, 1)
    _, made = lived(channel_of(store, series), BEGIN_MS, BEGIN_MS + MINUTE, 1)[0]
    for event in recorded:
        assert list(event) == list(made)
        assert list(event["k"]) == list(made["k"])
        assert {key: type(value) for key, value in event["k"].items()} == {
            key: type(value) for key, value in made["k"].items()
        }
