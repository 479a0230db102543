"""Frames of the streams of the order book: changes, its best levels, best bid and ask."""

from __future__ import annotations

from typing import Any

import orjson

from core.instrument import Market
from demo.futures_keys import pair_and_type
from demo.order_book import STEP_MS, BookChange, OrderBook, last_id
from demo.stream_frames import StreamFrame
from demo.stream_names import Kind, StreamName

_TRANSACTION_MS = 5  # how long before the event the book of a futures contract was so
_FUTURES_IDS_APART = 3  # ids on futures belong to all symbols: an event does not begin right after the last one's end


class BookChannel:
    """The book of one symbol, at the stream's cadence, when it has changed."""

    def __init__(self, name: StreamName, market: Market, symbol: str, book: OrderBook) -> None:
        self.next_ms = 0
        self._name = name
        self._market = market
        self._symbol = symbol
        self._book = book
        self._every_ms = name.every_ms or STEP_MS
        self._step: int | None = None  # what was sent last goes up to here
        self._best: list[Any] = []

    def restart(self, now_ms: int) -> None:
        """Begin with what changes after `now_ms`."""
        tick_ms = now_ms - now_ms % self._every_ms
        self._step, self._best = self._book.step_at(tick_ms), []
        self.next_ms = tick_ms + self._every_ms

    def due(self, now_ms: int) -> list[StreamFrame]:
        """Return at most one frame: all changes up to the last tick."""
        tick_ms = now_ms - now_ms % self._every_ms
        self.next_ms = tick_ms + self._every_ms
        before, after = self._step, self._book.step_at(tick_ms)
        self._step = after
        if before is None or after is None or after <= before:
            return []
        event = self._event(before, after, tick_ms)
        return [] if event is None else [StreamFrame(self._name.text, orjson.dumps(event))]

    def _event(self, before: int, after: int, at_ms: int) -> dict[str, Any] | None:
        if self._name.kind is Kind.BOOK_TICKER:
            return self._best_event(after, at_ms)
        if not self._name.levels:
            return self._update(self._book.change(before, after), at_ms)
        bids, asks = self._book.top(after, self._name.levels)
        if self._market is Market.SPOT:
            return {"lastUpdateId": last_id(after), "bids": bids, "asks": asks}
        return self._update(BookChange(before, after, bids, asks), at_ms)

    def _update(self, change: BookChange, at_ms: int) -> dict[str, Any]:
        first, last = last_id(change.before) + 1, last_id(change.after)
        sides = {"b": change.bids, "a": change.asks}
        if self._market is Market.SPOT:
            return {"e": "depthUpdate", "E": at_ms, "s": self._symbol, "U": first, "u": last, **sides}
        keys = {"e": "depthUpdate", "E": at_ms, "T": at_ms - _TRANSACTION_MS, "s": self._symbol}
        first += _FUTURES_IDS_APART
        ids = {"U": first, "u": last, "pu": last_id(change.before)}
        return {**keys, **pair_and_type(self._market, self._symbol), **ids, **sides}

    def _best_event(self, step: int, at_ms: int) -> dict[str, Any] | None:
        [bid], [ask] = self._book.top(step, 1)
        if [bid, ask] == self._best:
            return None
        self._best = [bid, ask]
        levels = {"b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
        if self._market is Market.SPOT:
            return {"u": last_id(step), "s": self._symbol, **levels}
        keys = {"e": "bookTicker", "u": last_id(step), "s": self._symbol, **pair_and_type(self._market, self._symbol)}
        return {**keys, **levels, "T": at_ms - _TRANSACTION_MS, "E": at_ms}
