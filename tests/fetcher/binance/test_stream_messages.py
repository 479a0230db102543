"""Frames of Binance's streams: what is read, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.binance.streams import BinanceStreamRules, route_of
from core.columns import VALUE_COLUMNS
from core.errors import UnusableFrame
from core.instrument import Market
from core.series import make_series
from core.streams import StreamKey
from fetcher.binance.stream_messages import BinanceStreamFormat
from fetcher.stream_format import Answer, OfStream, Shutdown

FORMAT = BinanceStreamFormat()
RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data" / "ws"
MINUTE = 1_700_000_040_000
KEY = StreamKey.candles_of(make_series("spot", "BTCUSDT", "1m"))


def frame(key: StreamKey = KEY, event: dict | None = None, **candle: object) -> bytes:
    """Return a frame of a closed candle with some values replaced."""
    symbol, interval = key.instrument.symbol, key.series.interval.code
    k = {"t": MINUTE, "T": MINUTE + 59_999, "s": symbol, "i": interval, "f": 1, "L": 3, "o": "1.10", "c": "1.30"}
    k |= {"h": "1.40", "l": "1.00", "v": "5", "n": 3, "x": True, "q": "6.5", "V": "2", "Q": "2.6", "B": "0"}
    data = {"e": "kline", "E": MINUTE + 60_020, "s": symbol, "k": k | candle} | (event or {})
    name = f"{symbol.lower()}@kline_{interval}"
    return json.dumps({"stream": name, "data": data}, separators=(",", ":")).encode()


def test_a_candle_is_read_with_its_digits_as_sent() -> None:
    update = FORMAT.read_candle(KEY, frame())
    assert (update.series, update.open_ms, update.event_ms) == (KEY.series, MINUTE, MINUTE + 60_020)
    assert update.is_closed
    named = dict(zip([column.name for column in VALUE_COLUMNS], update.values, strict=True))
    assert named == {
        "open": "1.10",
        "high": "1.40",
        "low": "1.00",
        "close": "1.30",
        "volume": "5",
        "quote_volume": "6.5",
        "trades": 3,
        "taker_buy_volume": "2",
        "taker_buy_quote_volume": "2.6",
    }


def test_microseconds_become_milliseconds() -> None:
    update = FORMAT.read_candle(KEY, frame(event={"E": (MINUTE + 60_020) * 1000 + 7}, t=MINUTE * 1000))
    assert (update.open_ms, update.event_ms) == (MINUTE, MINUTE + 60_020)


def test_unknown_keys_are_ignored_and_an_open_time_beside_the_grid_is_passed_on() -> None:
    update = FORMAT.read_candle(KEY, frame(event={"st": 1, "ps": "BTCUSDT"}, t=MINUTE + 7, later={"a": [1]}))
    assert update.open_ms == MINUTE + 7


@pytest.mark.parametrize(
    ("wrong", "event"),
    [
        ({"s": "ETHUSDT"}, {}),
        ({"i": "1M"}, {}),
        ({"t": "1700000040000"}, {}),
        ({"t": 1700000040000.5}, {}),
        ({"o": 1.1}, {}),
        ({"n": "3"}, {}),
        ({"n": True}, {}),
        ({"x": 1}, {}),
        ({"c": None}, {}),
        ({}, {"e": "trade"}),
        ({}, {"E": None}),
        ({}, {"E": MINUTE + 59_998}),
        ({}, {"k": []}),
    ],
)
def test_what_is_not_the_streams_candle_is_refused(wrong: dict, event: dict) -> None:
    with pytest.raises(UnusableFrame):
        FORMAT.read_candle(KEY, frame(event=event, **wrong))


@pytest.mark.parametrize("left_out", ["t", "s", "i", "o", "h", "l", "c", "v", "q", "n", "V", "Q", "x"])
def test_a_candle_that_lacks_a_value_is_refused(left_out: str) -> None:
    whole = json.loads(frame())
    del whole["data"]["k"][left_out]
    with pytest.raises(UnusableFrame):
        FORMAT.read_candle(KEY, json.dumps(whole).encode())


def test_a_month_closes_at_its_end_and_is_not_a_minute() -> None:
    month = StreamKey.candles_of(make_series("spot", "BTCUSDT", "1M"))
    november, december = 1_698_796_800_000, 1_701_388_800_000
    assert FORMAT.read_candle(month, frame(month, {"E": december - 1}, t=november)).is_closed
    with pytest.raises(UnusableFrame):
        FORMAT.read_candle(month, frame(month, {"E": december - 2}, t=november))
    with pytest.raises(UnusableFrame):
        FORMAT.read_candle(month, frame(month, {"E": 9 * 10**13}, t=9 * 10**13))


def test_an_open_candle_may_be_of_any_moment() -> None:
    assert not FORMAT.read_candle(KEY, frame(event={"E": MINUTE + 5}, x=False)).is_closed


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"result":null,"id":7}', Answer(7, "")),
        ('{"error":{"code":2,"msg":"Invalid request"},"id":7}', Answer(7, "Invalid request (code 2)")),
        ('{"code":2,"msg":"Invalid request","id":7}', Answer(7, "Invalid request (code 2)")),
        ('{"code":0,"msg":"Unknown property"}', Answer(-1, "Unknown property (code 0)")),
        ('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', Shutdown()),
        ('{"e":"serverShutdown","E":1}', Shutdown()),
        ('{ "data": {"e":"kline"}, "stream": "btcusdt@kline_1m"}', OfStream(b"btcusdt@kline_1m")),
        ('{"stream":"\\u5e01usdt@kline_1m","data":{}}', OfStream("币usdt@kline_1m".encode())),
        ("[]", None),
        ("null", None),
        ("{", None),
        ("", None),
        ("[" * 100_000, None),
    ],
)
def test_other_frames(text: str, read: object) -> None:
    if read is None:
        with pytest.raises(UnusableFrame):
            FORMAT.read_other(text.encode())
    else:
        assert FORMAT.read_other(text.encode()) == read


@given(st.data())
def test_damaged_frames_are_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(frame())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        if data.draw(st.booleans()):
            damaged[at] = data.draw(st.integers(0, 255))
        else:
            del damaged[at : at + data.draw(st.integers(1, 40))]
    for read in (lambda text: FORMAT.read_candle(KEY, text), FORMAT.read_other):
        try:
            read(bytes(damaged))
        except UnusableFrame:
            continue


@pytest.mark.parametrize(
    ("market", "symbol", "interval", "name", "route"),
    [
        ("spot", "BTCUSDT", "1M", "btcusdt@kline_1M", ""),
        ("um", "BTCUSDT", "1m", "btcusdt@kline_1m", "/market"),
        ("cm", "BTCUSD_PERP", "1d", "btcusd_perp@kline_1d", ""),
        ("spot", "币安人生USDT", "1h", "币安人生usdt@kline_1h", ""),
    ],
)
def test_names_and_routes(market: str, symbol: str, interval: str, name: str, route: str) -> None:
    key = StreamKey.candles_of(make_series(market, symbol, interval))
    assert route_of(key) == route
    rules = BinanceStreamRules(Market(market), route)
    assert rules.name(key) == name
    assert json.loads(rules.request(True, [name], 3)) == {"method": "SUBSCRIBE", "params": [name], "id": 3}
    assert json.loads(rules.request(False, [name], 4))["method"] == "UNSUBSCRIBE"


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs recorded sessions, which are not part of the project")
@pytest.mark.parametrize(
    ("recording", "market"),
    [("cryptofeed.BINANCE.ws.1.0.txt.gz", "spot"), ("cryptofeed.BINANCE_FUTURES.ws.1.0.txt.gz", "um")],
)
def test_every_recorded_candle_is_read(recording: str, market: str) -> None:
    read = 0
    with gzip.open(RECORDED / recording, "rt") as lines:
        for line in lines:
            _, _, text = line.partition(": ")
            if '"kline"' not in text:
                continue
            sent = json.loads(text)["data"]
            key = StreamKey.candles_of(make_series(market, sent["s"], sent["k"]["i"]))
            update = FORMAT.read_candle(key, text.strip().encode())
            assert update.open_ms == sent["k"]["t"]
            assert update.is_closed is sent["k"]["x"]
            read += 1
    assert read > 0
