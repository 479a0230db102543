"""Frames of Binance's streams of trades, tickers and mark prices: what is read, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.binance.kinds import offered_kinds
from core.binance.streams import BinanceStreamRules, route_of
from core.errors import UnusableFrame
from core.instrument import ExchangeName, Instrument, Market
from core.market_data import AggTrade, MarkPrice, Ticker, Trade
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from fetcher.binance.stream_messages import BinanceStreamFormat

FORMAT = BinanceStreamFormat()
RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data" / "ws"
NOW = 1_700_000_040_123
DATA = {
    StreamKind.AGG_TRADE: {"e": "aggTrade", "E": NOW, "s": "BTCUSDT", "a": 7, "p": "1.10", "q": "2.000"}
    | {"f": 11, "l": 12, "T": NOW - 1, "m": True, "M": True},
    StreamKind.TRADE: {"e": "trade", "E": NOW, "s": "BTCUSDT", "t": 7, "p": "1.10", "q": "2.000"}
    | {"T": NOW - 1, "m": False, "M": True},
    StreamKind.TICKER: {
        "e": "24hrTicker",
        "E": NOW,
        "s": "BTCUSDT",
        "p": "-28.2",
        "P": "-1.600",
        "w": "1781.1",
        "c": "1",
    }
    | {"Q": "0.5", "o": "2", "h": "3.0", "l": "0.5", "v": "4", "q": "5", "O": NOW - 86_400_000, "C": NOW}
    | {"F": 1, "L": 9, "n": 9},
    StreamKind.MARK_PRICE: {"e": "markPriceUpdate", "E": NOW, "s": "BTCUSDT", "p": "1.1", "ap": "1.2", "P": "1.3"}
    | {"i": "1.4", "r": "-0.0001", "T": NOW + 1, "st": 1},
}
READ = {
    StreamKind.AGG_TRADE: AggTrade(7, NOW - 1, "1.10", "2.000", 11, 12, True),
    StreamKind.TRADE: Trade(7, NOW - 1, "1.10", "2.000", False),
    StreamKind.TICKER: Ticker(
        *(NOW, "-28.2", "-1.600", "1781.1", "1", "0.5", "2", "3.0", "0.5", "4", "5", NOW - 86_400_000, NOW, 1, 9, 9)
    ),
    StreamKind.MARK_PRICE: MarkPrice(NOW, "1.1", "1.2", "1.4", "1.3", "-0.0001", NOW + 1),
}
KINDS = [*DATA]


def key_of(kind: StreamKind, market: Market = Market.UM, symbol: str = "BTCUSDT") -> StreamKey:
    return StreamKey(kind, Instrument(ExchangeName.BINANCE, market, symbol))


def frame(kind: StreamKind, **changed: object) -> bytes:
    return json.dumps({"stream": "btcusdt@x", "data": DATA[kind] | changed}, separators=(",", ":")).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_read_with_its_digits_as_sent(kind: StreamKind) -> None:
    assert FORMAT.read_record(key_of(kind), frame(kind)) == READ[kind]
    micros = {name: DATA[kind][name] * 1000 + 999 for name in ("E", "T", "O", "C") if name in DATA[kind]}
    assert FORMAT.read_record(key_of(kind), frame(kind, **micros, new={"a": [1]})) == READ[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_another_symbol_or_event_or_without_a_value_is_refused(kind: StreamKind) -> None:
    for changed in ({"s": "ETHUSDT"}, {"s": "btcusdt"}, {"e": "kline"}):
        with pytest.raises(UnusableFrame, match="in the stream of"):
            FORMAT.read_record(key_of(kind), frame(kind, **changed))
    optional = {"E", "M", "st", "ap", "i"} if kind is not StreamKind.TICKER else set()
    for name in DATA[kind].keys() - optional:
        lacking = {key: value for key, value in DATA[kind].items() if key != name}
        with pytest.raises(UnusableFrame):
            FORMAT.read_record(key_of(kind), json.dumps({"data": lacking}).encode())


WRONG_DECIMALS = ["", " 1", "1 ", "1\n", "+1", "1e3", "1E3", ".5", "5.", "01", "NaN", "Infinity", "0x1", "1,0", "١"]


@pytest.mark.parametrize("kind", [StreamKind.AGG_TRADE, StreamKind.TRADE])
def test_trades_have_plain_prices_above_zero_and_ids_not_below(kind: StreamKind) -> None:
    ids = ("a", "f", "l") if kind is StreamKind.AGG_TRADE else ("t",)
    wrong = [{name: value} for name in ids for value in (-1, "7", 7.5, True, None, 2**63)]
    wrong += [{name: value} for name in "pq" for value in [*WRONG_DECIMALS, "0", "0.00", "-1", 1.5, None]]
    wrong += [{"T": value} for value in (0, -NOW, NOW // 1000, NOW * 10**6, str(NOW), 1.5)]
    wrong += [{"m": value} for value in (1, "true", None)]
    for changed in wrong:
        with pytest.raises(UnusableFrame):
            FORMAT.read_record(key_of(kind), frame(kind, **changed))
    if kind is StreamKind.AGG_TRADE:
        with pytest.raises(UnusableFrame, match="before its first"):
            FORMAT.read_record(key_of(kind), frame(kind, f=13))


def test_tickers_and_mark_prices_have_plain_values() -> None:
    for kind, names in ((StreamKind.TICKER, "pPwcQohlvq"), (StreamKind.MARK_PRICE, ["p", "ap", "P", "i", "r"])):
        for name in names:
            for value in [one for one in WRONG_DECIMALS if one or name != "r"]:
                with pytest.raises(UnusableFrame):
                    FORMAT.read_record(key_of(kind), frame(kind, **{name: value}))
    with pytest.raises(UnusableFrame):
        FORMAT.read_record(key_of(StreamKind.MARK_PRICE), frame(StreamKind.MARK_PRICE, p="0.0"))


def test_what_the_exchange_does_not_say_stays_unsaid() -> None:
    delivery = FORMAT.read_record(key_of(StreamKind.MARK_PRICE), frame(StreamKind.MARK_PRICE, r="", T=0))
    assert delivery == READ[StreamKind.MARK_PRICE]._replace(funding_rate=None, next_funding_ms=None)
    older = {name: value for name, value in DATA[StreamKind.MARK_PRICE].items() if name not in ("ap", "i")}
    read = FORMAT.read_record(key_of(StreamKind.MARK_PRICE), json.dumps({"data": older}).encode())
    assert read == READ[StreamKind.MARK_PRICE]._replace(average_mark_price=None, index_price=None)
    idle = {"c": "0.00000000", "F": -1, "L": -1, "n": 0}
    assert FORMAT.read_record(key_of(StreamKind.TICKER), frame(StreamKind.TICKER, **idle))


def damaged(whole: bytes, draw: st.DrawFn) -> bytes:
    how = draw(st.sampled_from(["cut", "doubled", "swapped", "retyped", "bytes"]))
    at, end = sorted((draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))))
    match how:
        case "cut":
            return whole[:at] + whole[end:]
        case "doubled":
            return whole[:end] + whole[at:]
        case "swapped":
            return whole[end:] + whole[at:end] + whole[:at]
        case "retyped":
            document = json.loads(whole)
            name = draw(st.sampled_from(sorted(document["data"])))
            document["data"][name] = draw(st.sampled_from([None, [], {}, "x", -1, 1.5, True, 10**30, "1" * 400]))
            return json.dumps(document).encode()
        case _:
            return whole[:at] + draw(st.binary(max_size=6)) + whole[at:]


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_frame_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    text = data.draw(st.composite(lambda draw: damaged(frame(kind), draw))())
    try:
        record = FORMAT.read_record(key_of(kind), text)
    except UnusableFrame:
        return
    assert type(record) is type(READ[kind])


def test_names_and_routes() -> None:
    for market in Market:
        rules = BinanceStreamRules(market, route_of(key_of(StreamKind.TICKER, market)))
        assert rules.route == ("/market" if market is Market.UM else "")
        assert rules.name(key_of(StreamKind.AGG_TRADE, market)) == "btcusdt@aggTrade"
        assert rules.name(key_of(StreamKind.TICKER, market)) == "btcusdt@ticker"
        assert rules.name(key_of(StreamKind.MARK_PRICE, market)) == "btcusdt@markPrice@1s"
        assert (StreamKind.TRADE in offered_kinds(market)) is (market is Market.SPOT)
        assert (StreamKind.MARK_PRICE in offered_kinds(market)) is (market is not Market.SPOT)


RECORDED_KINDS = {"aggTrade": StreamKind.AGG_TRADE, "trade": StreamKind.TRADE, "24hrTicker": StreamKind.TICKER} | {
    "markPriceUpdate": StreamKind.MARK_PRICE
}


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs recorded sessions, which are not part of the project")
@pytest.mark.parametrize(
    ("recording", "most"),
    [
        ("cryptofeed.BINANCE.ws.1.0.txt.gz", None),
        ("cryptofeed.BINANCE_FUTURES.ws.1.0.txt.gz", None),
        ("hftbacktest.spot.btcusdt_20240808.gz", 3_000),
        ("crypto-msg-parser.binance.raw_messages.jsonl", None),
    ],
)
def test_every_recorded_frame_is_read(recording: str, most: int | None) -> None:
    path, read = RECORDED / recording, 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            if "{" not in line:
                continue
            text = line[line.index("{") :].strip()
            sent = json.loads(text).get("data", {})
            kind = RECORDED_KINDS.get(sent.get("e", "")) if isinstance(sent, dict) else None
            if kind is None:
                continue
            record = FORMAT.read_record(key_of(kind, symbol=sent["s"]), text.encode())
            if isinstance(record, AggTrade | Trade):
                assert (record.price, record.quantity, record.time_ms) == (sent["p"], sent["q"], sent["T"])
            read += 1
            if read == most:
                break
    assert read > 0
