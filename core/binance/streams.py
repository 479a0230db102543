"""Binance's live streams: names, routes, cadences and limits (docs/binance.md, Streams)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from core.instrument import ExchangeName, Instrument, Market
from core.intervals import INTERVALS
from core.stream_kinds import BOOKS, StreamKind
from core.streams import StreamKey
from core.times import MS_PER_MINUTE, MS_PER_SECOND

CANDLE_EVENT = "kline"
SHUTDOWN_EVENT = "serverShutdown"

# The exchange closes a connection with 1008 above 5 (spot) or 10 (futures) messages a second. On spot pongs count.
_MESSAGES_PER_SECOND = {Market.SPOT: 2, Market.UM: 5, Market.CM: 5}
_MOST_STREAMS = 1024
_NAMES_PER_MESSAGE = 100
# A quiet symbol sends no frame before its candle closes, and that one up to a few seconds late.
_LATE_MS = 10 * MS_PER_SECOND
# Nothing tells a symbol without trades or orders from a stream that is silent; most have some within so long.
_TRADE_PATIENCE_MS = 10 * MS_PER_MINUTE
# Frames come every second (spot, mark prices) or every two (tickers of futures).
_PRICE_PATIENCE_MS = 2 * 2 * MS_PER_SECOND + _LATE_MS
# 1s candles are sent every second and exist on spot only; on futures any candle is sent every 250 ms.
_BUSY = {Market.SPOT: ("BTCUSDT", "1s"), Market.UM: ("BTCUSDT", "1m"), Market.CM: ("BTCUSD_PERP", "1m")}


_PUBLIC = "/public"  # the route of order books on USD-M
_FEWEST_LEVELS = 5


def route_of(key: StreamKey) -> str:
    """Return the route of a stream: on USD-M an address without it connects and delivers no candles."""
    if key.market is not Market.UM:
        return ""
    return _PUBLIC if key.kind in BOOKS else "/market"


@dataclass(frozen=True, slots=True)
class BinanceStreamRules:
    """The streams of one market and route (core.stream_rules.StreamRules)."""

    market: Market
    route: str

    path = "/stream"  # the combined form: each frame carries the name of its stream
    most_streams = _MOST_STREAMS
    names_per_message = _NAMES_PER_MESSAGE

    @property
    def messages_per_second(self) -> int:
        """Fewer than the exchange allows."""
        return _MESSAGES_PER_SECOND[self.market]

    @property
    def notices(self) -> tuple[str, ...]:
        """On spot the end of the server; it may come unasked too, the documents do not say."""
        return ("!serverShutdown",) if self.market is Market.SPOT else ()

    @property
    def busy(self) -> StreamKey:
        """Candles of the busiest symbol, or its order book where the route has no candles."""
        symbol, interval = _BUSY[self.market]
        instrument = Instrument(ExchangeName.BINANCE, self.market, symbol)
        if self.route == _PUBLIC:
            return StreamKey(StreamKind.DEPTH, instrument, levels=_FEWEST_LEVELS)
        return StreamKey(StreamKind.KLINE, instrument, INTERVALS[interval])

    def name(self, key: StreamKey) -> str:
        """Return the name; only the symbol is in lower case: 1m is a minute, 1M a month."""
        symbol = key.instrument.symbol.lower()
        match key.kind:
            case StreamKind.KLINE:
                return f"{symbol}@kline_{key.series.interval.code}"
            case StreamKind.AGG_TRADE:
                return f"{symbol}@aggTrade"
            case StreamKind.TRADE:
                return f"{symbol}@trade"
            case StreamKind.TICKER:
                return f"{symbol}@ticker"
            case StreamKind.MARK_PRICE:
                return f"{symbol}@markPrice@1s"
            case StreamKind.DEPTH:
                return f"{symbol}@depth{key.levels}@100ms"
            case StreamKind.DEPTH_FULL:
                return f"{symbol}@depth@100ms"
            case StreamKind.FUNDING_RATE:
                raise ValueError("no stream has settled funding rates")
            case _:
                assert_never(key.kind)

    def patience_ms(self, key: StreamKey) -> int:
        """Return how long: of candles the interval and ten seconds."""
        match key.kind:
            case StreamKind.KLINE:
                return key.series.interval.typical_ms + _LATE_MS
            case StreamKind.AGG_TRADE | StreamKind.TRADE | StreamKind.DEPTH | StreamKind.DEPTH_FULL:
                return _TRADE_PATIENCE_MS
            case StreamKind.TICKER | StreamKind.MARK_PRICE | StreamKind.FUNDING_RATE:
                return _PRICE_PATIENCE_MS
            case _:
                assert_never(key.kind)

    def request(self, wanted: bool, names: Iterable[str], number: int) -> str:
        """Return the text that subscribes to `names`, or ends their subscriptions."""
        method = "SUBSCRIBE" if wanted else "UNSUBSCRIBE"
        params = ",".join(f'"{name}"' for name in names)
        return f'{{"method":"{method}","params":[{params}],"id":{number}}}'
