"""Reads the frames of Binance's streams of trades, tickers and mark prices (docs/binance.md, Streams).

The types say what each value must be; a frame that differs is unusable as a whole. Unknown keys are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from core.errors import UnusableFrame
from core.market_data import AggTrade, MarkPrice, Record, Ticker, Trade
from core.stream_kinds import StreamKind
from core.streams import StreamKey

# Plain decimals within the bounds of core/validation.py, as the exchange writes them.
_DIGITS = r"(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?\Z"
_Above0 = Annotated[str, msgspec.Meta(pattern=r"\A(?=[0-9.]*[1-9])" + _DIGITS)]
_From0 = Annotated[str, msgspec.Meta(pattern=r"\A" + _DIGITS)]
_Signed = Annotated[str, msgspec.Meta(pattern=r"\A-?" + _DIGITS)]
_SignedOrNone = Annotated[str, msgspec.Meta(pattern=r"\A(\Z|-?" + _DIGITS + ")")]
_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_IdOrNone = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]  # -1: no trade in the last 24 hours
_LEAST_MICROSECONDS = 10**14  # as milliseconds it would be the year 5138
_Time = Annotated[int, msgspec.Meta(ge=10**12, lt=4_102_444_800_000_000)]  # 2001 to 2100, in ms or microseconds
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _AggTrade(msgspec.Struct):
    e: str
    s: str
    a: _Id
    p: _Above0
    q: _Above0
    f: _Id
    l: _Id  # noqa: E741 - the exchange's name
    T: _Time
    m: bool


class _AggTradeFrame(msgspec.Struct):
    data: _AggTrade


class _Trade(msgspec.Struct):
    e: str
    s: str
    t: _Id
    p: _Above0
    q: _Above0
    T: _Time
    m: bool


class _TradeFrame(msgspec.Struct):
    data: _Trade


class _Ticker(msgspec.Struct):
    e: str
    E: _Time
    s: str
    p: _Signed
    P: _Signed
    w: _From0
    c: _From0
    Q: _From0
    o: _From0
    h: _From0
    l: _From0  # noqa: E741 - the exchange's name
    v: _From0
    q: _From0
    O: _Time  # noqa: E741 - the exchange's name
    C: _Time
    F: _IdOrNone
    L: _IdOrNone
    n: _Id


class _TickerFrame(msgspec.Struct):
    data: _Ticker


class _MarkPrice(msgspec.Struct):
    e: str
    E: _Time
    s: str
    p: _Above0
    P: _From0
    r: _SignedOrNone
    T: Annotated[int, msgspec.Meta(ge=0, lt=4_102_444_800_000_000)]
    ap: _Above0 | None = None  # older frames lack it
    i: _From0 | None = None  # older frames of COIN-M lack it


class _MarkPriceFrame(msgspec.Struct):
    data: _MarkPrice


_agg_trades = msgspec.json.Decoder(_AggTradeFrame)
_trades = msgspec.json.Decoder(_TradeFrame)
_tickers = msgspec.json.Decoder(_TickerFrame)
_mark_prices = msgspec.json.Decoder(_MarkPriceFrame)


def read_record(key: StreamKey, frame: bytes) -> Record:
    """Return what a frame of the stream `key` says; times as epoch ms, microseconds below are cut off.

    Raises UnusableFrame.
    """
    try:
        return _READERS[key.kind](key, frame)
    except _UNREADABLE as error:
        raise UnusableFrame(f"not a frame of {key.kind}: {error}") from error


def _agg_trade(key: StreamKey, frame: bytes) -> AggTrade:
    data = _agg_trades.decode(frame).data
    if data.e != "aggTrade" or data.s != key.instrument.symbol:
        raise _foreign(key, data.e, data.s)
    if data.l < data.f:
        raise UnusableFrame("its last trade comes before its first")
    return AggTrade(data.a, _ms(data.T), data.p, data.q, data.f, data.l, data.m)


def _trade(key: StreamKey, frame: bytes) -> Trade:
    data = _trades.decode(frame).data
    if data.e != "trade" or data.s != key.instrument.symbol:
        raise _foreign(key, data.e, data.s)
    return Trade(data.t, _ms(data.T), data.p, data.q, data.m)


def _ticker(key: StreamKey, frame: bytes) -> Ticker:
    read = _tickers.decode(frame).data
    if read.e != "24hrTicker" or read.s != key.instrument.symbol:
        raise _foreign(key, read.e, read.s)
    prices = (read.p, read.P, read.w, read.c, read.Q, read.o, read.h, read.l, read.v, read.q)
    return Ticker(_ms(read.E), *prices, _ms(read.O), _ms(read.C), read.F, read.L, read.n)


def _mark_price(key: StreamKey, frame: bytes) -> MarkPrice:
    data = _mark_prices.decode(frame).data
    if data.e != "markPriceUpdate" or data.s != key.instrument.symbol:
        raise _foreign(key, data.e, data.s)
    return MarkPrice(_ms(data.E), data.p, data.ap, data.i, data.P, data.r or None, _ms(data.T) or None)


_READERS: dict[StreamKind, Callable[[StreamKey, bytes], Record]] = {
    StreamKind.AGG_TRADE: _agg_trade,
    StreamKind.TRADE: _trade,
    StreamKind.TICKER: _ticker,
    StreamKind.MARK_PRICE: _mark_price,
}


def _foreign(key: StreamKey, event: str, symbol: str) -> UnusableFrame:
    return UnusableFrame(f"{event} of {symbol} in the stream of {key}")


def _ms(time: int) -> int:
    return time // 1000 if time >= _LEAST_MICROSECONDS else time
