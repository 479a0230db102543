"""Reads the frames of Binance's live streams (docs/binance.md, Streams). Unknown keys are ignored."""

from __future__ import annotations

import msgspec

from core.binance.streams import CANDLE_EVENT, SHUTDOWN_EVENT, BinanceStreamRules, route_of
from core.errors import UnusableFrame
from core.market_data import BookChange, BookTop, Record
from core.streams import CandleUpdate, StreamKey
from fetcher.binance.stream_books import read_book
from fetcher.binance.stream_records import read_record
from fetcher.stream_format import Answer, OfStream, Shutdown

_LEAST_MICROSECONDS = 10**14  # as milliseconds it would be the year 5138
_NO_NUMBER = -1
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Candle(msgspec.Struct):
    t: int
    s: str
    i: str
    o: str
    h: str
    l: str  # noqa: E741 - the exchange's name
    c: str
    v: str
    q: str
    n: int
    V: str
    Q: str
    x: bool


class _CandleEvent(msgspec.Struct):
    e: str
    E: int
    s: str
    k: _Candle


class _CandleFrame(msgspec.Struct):
    data: _CandleEvent


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Event(msgspec.Struct):
    e: str = ""


class _AnyFrame(msgspec.Struct):
    stream: str | None = None
    data: _Event | None = None
    id: int | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str = ""
    e: str = ""


_candle_frames = msgspec.json.Decoder(_CandleFrame)
_any_frames = msgspec.json.Decoder(_AnyFrame)


class BinanceStreamFormat:
    """Binance's frames (fetcher.stream_format.StreamFormat)."""

    head = b'{"stream":"'
    open_mark = b'"x":false'

    def rules_of(self, key: StreamKey) -> BinanceStreamRules:
        """Return the rules of the stream's market and route."""
        return BinanceStreamRules(key.market, route_of(key))

    def read_other(self, frame: bytes) -> OfStream | Answer | Shutdown:
        """Return what a frame is. Raises UnusableFrame."""
        try:
            read = _any_frames.decode(frame)
        except _UNREADABLE as error:
            raise UnusableFrame(f"neither data nor an answer: {error}") from error
        if read.e == SHUTDOWN_EVENT or (read.data is not None and read.data.e == SHUTDOWN_EVENT):
            return Shutdown()
        if read.stream is not None and read.data is not None:
            return OfStream(read.stream.encode())
        refusal = read.error or (_Error(read.code, read.msg) if read.code is not None else None)
        if refusal is not None:
            return Answer(_NO_NUMBER if read.id is None else read.id, f"{refusal.msg} (code {refusal.code})")
        if read.id is not None:
            return Answer(read.id, "")
        raise UnusableFrame("neither data nor an answer")

    def read_candle(self, key: StreamKey, frame: bytes) -> CandleUpdate:
        """Return what a frame of a stream of candles says. Raises UnusableFrame.

        Times are epoch ms, also where they were sent as microseconds. An open time beside the grid is passed on.
        """
        try:
            event = _candle_frames.decode(frame).data
        except _UNREADABLE as error:
            raise UnusableFrame(f"not a candle: {error}") from error
        candle, series = event.k, key.series
        if event.e != CANDLE_EVENT or candle.s != series.symbol or candle.i != series.interval.code:
            raise UnusableFrame(f"{event.e} of {candle.s} {candle.i} in the stream of {key}")
        open_ms, event_ms = _ms(candle.t), _ms(event.E)
        if candle.x and event_ms < _last_ms(key, open_ms):
            raise UnusableFrame(f"the candle of {open_ms} was called closed at {event_ms}, before its end")
        values = (candle.o, candle.h, candle.l, candle.c, candle.v, candle.q, candle.n, candle.V, candle.Q)
        return CandleUpdate(series, open_ms, values, candle.x, event_ms)

    def read_record(self, key: StreamKey, frame: bytes) -> Record:
        """Return what a frame of a stream of trades or prices says. Raises UnusableFrame."""
        return read_record(key, frame)

    def read_book(self, key: StreamKey, frame: bytes, received_ms: int) -> BookTop | BookChange:
        """Return what a frame of a stream of an order book says. Raises UnusableFrame."""
        return read_book(key, frame, received_ms)


def _ms(time: int) -> int:
    return time // 1000 if time >= _LEAST_MICROSECONDS else time


def _last_ms(key: StreamKey, open_ms: int) -> int:
    """Return the last millisecond of a candle."""
    interval = key.series.interval
    if interval.step_ms is not None:
        return open_ms + interval.step_ms - 1
    try:
        return interval.add(interval.floor(open_ms), 1) - 1
    except (OverflowError, ValueError) as error:
        raise UnusableFrame(f"{open_ms} is not a time") from error
