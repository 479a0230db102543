"""Frames of Binance's streams of order books and its snapshots: what is read, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.binance.kinds import OFFERED_DEPTHS, offered_kinds
from core.binance.streams import BinanceStreamRules, route_of
from core.errors import UnusableAnswer, UnusableFrame
from core.instrument import ExchangeName, Instrument, Market
from core.market_data import BookChange, BookSnapshot, BookTop
from core.stream_kinds import BOOKS, StreamKind
from core.streams import StreamKey
from fetcher.binance.stream_books import read_book, read_snapshot

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data" / "ws"
NOW, READ_AT = 1_700_000_040_123, 1_700_000_040_200
BIDS, ASKS = [("1.10", "2.000"), ("1.0", "3")], [("1.20", "0.5")]
TOP = {"lastUpdateId": 7, "bids": BIDS, "asks": ASKS}
CHANGE = {"e": "depthUpdate", "E": NOW, "s": "BTCUSDT", "U": 5, "u": 7, "b": BIDS, "a": [("1.20", "0.000")]}


def key(kind: StreamKind, market: Market = Market.SPOT, symbol: str = "BTCUSDT", levels: int = 5) -> StreamKey:
    return StreamKey(kind, Instrument(ExchangeName.BINANCE, market, symbol), levels=levels)


def frame(data: object) -> bytes:
    return json.dumps({"stream": "btcusdt@depth5@100ms", "data": data}).encode()


def test_the_best_levels_of_spot_have_no_time_but_that_of_reading() -> None:
    book = read_book(key(StreamKind.DEPTH), frame(TOP), READ_AT)
    assert book == BookTop(None, READ_AT, 7, 5, BIDS, ASKS)
    assert book.time_ms == READ_AT


@pytest.mark.parametrize("previous", [4, -1])
def test_the_best_levels_of_futures_have_the_exchanges_time(previous: int) -> None:
    data = CHANGE | {"a": ASKS, "pu": previous, "T": NOW - 5, "st": 1}
    book = read_book(key(StreamKind.DEPTH, Market.UM), frame(data), READ_AT)
    assert book == BookTop(NOW, READ_AT, 7, 5, BIDS, ASKS)
    assert book.time_ms == NOW


def test_a_change_is_read_with_its_ids_and_digits() -> None:
    whole = StreamKind.DEPTH_FULL
    assert read_book(key(whole), frame(CHANGE), 0) == BookChange(NOW, 5, 7, None, BIDS, [("1.20", "0.000")])
    micros = CHANGE | {"E": NOW * 1000 + 9}
    assert read_book(key(whole), frame(micros), 0) == BookChange(NOW, 5, 7, None, BIDS, [("1.20", "0.000")])
    futures = read_book(key(whole, Market.CM), frame(CHANGE | {"pu": 4}), 0)
    assert futures == BookChange(NOW, 5, 7, 4, BIDS, [("1.20", "0.000")])


@pytest.mark.parametrize(
    "changed",
    [
        {"s": "ETHUSDT"},
        {"e": "trade"},
        {"E": 0},
        {"U": 8},
        {"u": "7"},
        {"pu": 4},  # not on spot
        {"b": [("0", "1")]},
        {"b": [("1e2", "1")]},
        {"b": [("-1", "1")]},
        {"b": [("1", "NaN")]},
        {"b": [("1", "-1")]},
        {"b": [("1",)]},
        {"b": [(1.5, "1")]},
        {"b": None},
    ],
)
def test_a_change_that_is_not_one_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(UnusableFrame):
        read_book(key(StreamKind.DEPTH_FULL), frame(CHANGE | changed), 0)


def test_a_change_of_futures_must_name_the_one_before() -> None:
    with pytest.raises(UnusableFrame, match="update ids"):
        read_book(key(StreamKind.DEPTH_FULL, Market.UM), frame(CHANGE), 0)


IMPOSSIBLE = {
    "more than 5 levels": {"bids": [(str(9 - one), "1") for one in range(6)]},
    "bids are not in order": {"bids": [("1.0", "1"), ("1.1", "1")]},
    "asks are not in order": {"asks": [("1.2", "1"), ("1.20", "1")]},
    "best bid is not below": {"bids": [("1.20", "1")]},
}


@pytest.mark.parametrize("why", list(IMPOSSIBLE))
def test_best_levels_that_cannot_be_are_refused_of_streams_and_of_rest(why: str) -> None:
    book = TOP | IMPOSSIBLE[why]
    with pytest.raises(UnusableFrame, match=why):
        read_book(key(StreamKind.DEPTH), frame(book), 0)
    with pytest.raises(UnusableAnswer, match=why):
        read_snapshot(book, 5)


def test_a_level_without_a_quantity_is_no_level_of_a_book() -> None:
    data = CHANGE | {"pu": 4}
    with pytest.raises(UnusableFrame, match="without a quantity"):
        read_book(key(StreamKind.DEPTH, Market.UM), frame(data), 0)


def test_a_snapshot_of_rest() -> None:
    assert read_snapshot(TOP | {"E": NOW}, 5) == BookSnapshot(7, 5, BIDS, ASKS)
    for wrong in (None, [], {}, TOP | {"bids": [["1", 1]]}, TOP | {"lastUpdateId": -1}, TOP | {"bids": [("1", "0")]}):
        with pytest.raises(UnusableAnswer, match="not an order book"):
            read_snapshot(wrong, 5)


@given(st.data())
def test_a_damaged_frame_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    whole = frame(data.draw(st.sampled_from([TOP, CHANGE, CHANGE | {"pu": 4}])))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.sampled_from([whole[:at], whole[:at] + whole[at + 1 :], whole[:at] + b"9" + whole[at:]]))
    for kind in BOOKS:
        for market in Market:
            try:
                book = read_book(key(kind, market), damaged, READ_AT)
            except UnusableFrame:
                continue
            assert isinstance(book, BookTop | BookChange)


def test_names_and_routes() -> None:
    for market in Market:
        rules = BinanceStreamRules(market, route_of(key(StreamKind.DEPTH, market)))
        assert rules.route == ("/public" if market is Market.UM else "")
        assert [rules.name(key(StreamKind.DEPTH, market, levels=one)) for one in OFFERED_DEPTHS] == [
            "btcusdt@depth5@100ms",
            "btcusdt@depth10@100ms",
            "btcusdt@depth20@100ms",
        ]
        assert rules.name(key(StreamKind.DEPTH_FULL, market)) == "btcusdt@depth@100ms"
        assert set(BOOKS) <= set(offered_kinds(market))
        assert route_of(rules.busy) == rules.route, "what shows that a connection lives is delivered on its route"


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs recorded sessions, which are not part of the project")
@pytest.mark.parametrize(
    ("recording", "market", "most"),
    [
        ("cryptofeed.BINANCE.ws.1.0.txt.gz", Market.SPOT, None),
        ("cryptofeed.BINANCE.ws.1.0.older-17klines.txt.gz", Market.SPOT, None),
        ("cryptofeed.BINANCE_FUTURES.ws.1.0.txt.gz", Market.UM, None),
        ("hftbacktest.spot.btcusdt_20240808.gz", Market.SPOT, 1_000),
        ("crypto-msg-parser.binance.raw_messages.jsonl", None, None),
    ],
)
def test_every_recorded_frame_is_read(recording: str, market: Market | None, most: int | None) -> None:
    path, read = RECORDED / recording, 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            if "@depth" not in line or "{" not in line:
                continue
            text = line[line.index("{") :].strip()
            whole = json.loads(text)
            name, sent = whole["stream"], whole["data"]
            symbol, _, rest = name.partition("@depth")
            kind = StreamKind.DEPTH if rest[:1].isdigit() else StreamKind.DEPTH_FULL
            of = market or (Market.UM if "pu" in sent else Market.SPOT)
            levels = 20 if kind is StreamKind.DEPTH else 1
            book = read_book(key(kind, of, symbol.upper(), levels), text.encode(), READ_AT)
            if isinstance(book, BookChange):
                assert [list(level) for level in book.bids] == sent["b"]
                assert (book.first_id, book.last_id, book.previous_id) == (sent["U"], sent["u"], sent.get("pu"))
            read += 1
            if read == most:
                break
    assert read > 0
