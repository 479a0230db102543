"""The names of streams, on which route they are served and how often (docs/binance.md, Streams).

Stated here, not taken from `core`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from core.instrument import Market
from demo.grids import GRIDS

SHUTDOWN_STREAM = "!serverShutdown"


class Kind(StrEnum):
    """What a stream brings; as names write it."""

    KLINE = "kline"
    AGG_TRADE = "aggTrade"
    TRADE = "trade"
    DEPTH = "depth"
    BOOK_TICKER = "bookTicker"
    TICKER = "ticker"
    MINI_TICKER = "miniTicker"
    CONTINUOUS_KLINE = "continuousKline"
    MARK_PRICE = "markPrice"


class Route(StrEnum):
    """The first part of a USD-M path. The other hosts have none."""

    PUBLIC = "/public"
    MARKET = "/market"


@dataclass(frozen=True, slots=True)
class StreamName:
    """One stream that exists, read from its name."""

    text: str
    symbol: str  # lower case, as the name has it
    kind: Kind
    every_ms: int  # the cadence; 0 for real time
    interval: str = ""  # klines
    levels: int = 0  # partial books: 5, 10 or 20; 0 for diffs


_NAME = re.compile(rf"(?P<symbol>[^@A-Z]+)@(?P<kind>{'|'.join(Kind)})(?P<rest>.*)")
_DEPTH = re.compile(r"(?P<levels>5|10|20)?(@(?P<speed>100|250|500)ms)?")
_SPOT_ONLY = (Kind.TRADE,)  # on futures it is not documented
_FUTURES_ONLY = (Kind.MARK_PRICE, Kind.CONTINUOUS_KLINE)
_KLINES = (Kind.KLINE, Kind.CONTINUOUS_KLINE)
_TICKERS = (Kind.TICKER, Kind.MINI_TICKER)
_ON_PUBLIC = (Kind.DEPTH, Kind.BOOK_TICKER)
_SPOT_DEPTH_MS = {None: 1000, "100": 100}
_FUTURES_DEPTH_MS = {None: 250, "100": 100, "500": 500}
_MARK_PRICE_MS = {"": 3000, "@1s": 1000}


def read_name(market: Market, text: str) -> StreamName | None:
    """Return the stream that `text` names on `market`, or None: it is acknowledged and stays silent."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    symbol, kind, rest = match["symbol"], Kind(match["kind"]), match["rest"]
    if kind in (_FUTURES_ONLY if market is Market.SPOT else _SPOT_ONLY):
        return None
    if kind in _KLINES:
        return _kline(market, text, symbol, rest)
    if kind is Kind.DEPTH:
        return _depth(market, text, symbol, rest)
    if kind is Kind.MARK_PRICE:
        return StreamName(text, symbol, kind, _MARK_PRICE_MS[rest]) if rest in _MARK_PRICE_MS else None
    if rest:
        return None
    ticker_ms = 1000 if market is Market.SPOT else 2000
    return StreamName(text, symbol, kind, ticker_ms if kind in _TICKERS else 0)


def is_served(market: Market, route: Route | None, kind: Kind) -> bool:
    """Whether a connection with this route brings streams of `kind`; without one USD-M has public streams only."""
    if market is not Market.UM:
        return route is None
    return (kind in _ON_PUBLIC) == (route is not Route.MARKET)


def _kline(market: Market, text: str, symbol: str, rest: str) -> StreamName | None:
    code = rest.removeprefix("_")
    if code == rest or code not in GRIDS or (code == "1s" and market is not Market.SPOT):
        return None
    spot_ms = 1000 if code == "1s" else 2000
    every_ms, kind = spot_ms if market is Market.SPOT else 250, Kind.KLINE
    if text.partition("@")[2].startswith(Kind.CONTINUOUS_KLINE):
        pair, _, contract = symbol.rpartition("_")
        if contract != "perpetual":
            return None
        symbol, kind = pair if market is Market.UM else f"{pair}_perp", Kind.CONTINUOUS_KLINE
    return StreamName(text, symbol, kind, every_ms, interval=code)


def _depth(market: Market, text: str, symbol: str, rest: str) -> StreamName | None:
    match = _DEPTH.fullmatch(rest)
    speeds = _SPOT_DEPTH_MS if market is Market.SPOT else _FUTURES_DEPTH_MS
    if match is None or match["speed"] not in speeds:
        return None
    return StreamName(text, symbol, Kind.DEPTH, speeds[match["speed"]], levels=int(match["levels"] or 0))
