"""Gives subscribers what the live service hears and stores; costs next to nothing while nobody is subscribed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bus.event_bus import InMemoryEventBus, Subscription
from core import events
from core.closed_round import ClosedCandle
from core.columns import VALUE_NAMES
from core.events import Event
from core.instrument import Market
from core.market_data import AggTrade, BookTop, MarkPrice, Record, Ticker, Trade
from core.series import Series
from core.streams import (
    CandleUpdate,
    ConnectionClosed,
    ConnectionOpened,
    MarketUnusable,
    Seam,
    StreamEvent,
    StreamKey,
    StreamLive,
    StreamSilent,
)

# Includes the types that callers need for annotations.
__all__ = ["InMemoryEventBus", "LivePublisher", "Subscription"]

_TOPICS: dict[type, str] = {
    AggTrade: events.TRADE,
    Trade: events.TRADE,
    Ticker: events.TICKER,
    MarkPrice: events.MARK_PRICE,
    BookTop: events.DEPTH,
}
_NS_PER_MS = 1_000_000


class LivePublisher:
    """Publishes to `bus`. Called in the threads of sockets and writers: it never waits for a subscriber."""

    def __init__(self, bus: InMemoryEventBus, market_now_ms: Callable[[Market], int]) -> None:
        self.bus = bus
        self._market_now_ms = market_now_ms
        self._lock = threading.Lock()
        self._newest: dict[int, int] = {}  # open time of the newest published candle by series id

    def candle(self, update: CandleUpdate, received_ns: int) -> None:
        """Publish a candle as it came, open or closed."""
        if self.bus.wants(events.KLINE_UPDATE):
            data = _candle(update.open_ms, update.values) | {"is_closed": update.is_closed}
            self._publish(events.KLINE_UPDATE, update.series, data, update.event_ms, received_ns)

    def stored(self, candle: ClosedCandle, event_ms: int, received_ns: int, is_new: bool) -> None:
        """Publish a closed candle that is committed; one that was there already only when it is newer than all."""
        with self._lock:
            newest_ms = self._newest.get(candle.series_id, -1)
            if not is_new and candle.open_ms <= newest_ms:
                return
            self._newest[candle.series_id] = max(newest_ms, candle.open_ms)
        if self.bus.wants(events.KLINE):
            data = _candle(candle.open_ms, candle.values) | {"is_closed": True}
            self._publish(events.KLINE, candle.series, data, event_ms, received_ns)

    def record(self, key: StreamKey, record: Record, received_ns: int) -> None:
        """Publish a record of another kind, and the price that it says."""
        topic = _TOPICS.get(type(record))
        if topic is not None and self.bus.wants(topic):
            self._publish(topic, key, record, record.time_ms, received_ns)
        if self.bus.wants(events.PRICE) and (price := _price(record)) is not None:
            self._publish(events.PRICE, key, {"price": price, "of": key.kind.value}, record.time_ms, received_ns)

    def event(self, event: StreamEvent) -> None:
        """Publish what happened to streams and connections."""
        match event:
            case Seam(keys, _):
                if self.bus.wants(events.GAP):
                    for key in keys:
                        self._publish(events.GAP, key, event, None, None)
            case StreamLive(key) | StreamSilent(key, _):
                self._publish(events.CONNECTION, key, event, None, None)
            case ConnectionOpened(market, _) | ConnectionClosed(market, _, _, _) | MarketUnusable(market, _):
                self.bus.publish(Event(events.CONNECTION, market.value, "", None, event, None, None), may_wait=False)

    def _publish(
        self, topic: str, of: StreamKey | Series, data: object, event_ms: int | None, received_ns: int | None
    ) -> None:
        received_ms = None
        if received_ns is not None:
            received_ms = self._market_now_ms(of.market) - (time.monotonic_ns() - received_ns) // _NS_PER_MS
        interval = None if of.interval is None else of.interval.code
        event = Event(topic, of.market.value, of.instrument.symbol, interval, data, event_ms, received_ms)
        self.bus.publish(event, may_wait=False)


def _candle(open_ms: int, values: tuple[str | int, ...]) -> dict[str, object]:
    return {"open_time": open_ms, **dict(zip(VALUE_NAMES, values, strict=True))}


def _price(record: Record) -> str | None:
    match record:
        case AggTrade() | Trade():
            return record.price
        case Ticker():
            return record.last_price
        case MarkPrice():
            return record.mark_price
        case _:
            return None
