"""Keeps whole order books: changes come from the streams, snapshots from REST in a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.errors import FetcherError, SeriesError
from core.instrument import Market
from core.market_data import BookChange, BookSnapshot, BookTop
from core.order_book import BookFault, BookRule, OrderBook
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.times import MS_PER_MINUTE, MS_PER_SECOND
from fetcher.source import ExchangeSource
from logic.live.counters import LiveCounters
from logic.live.tools import LiveTools

_log = logging.getLogger(__name__)

_TICK_S = 0.5
_FAILED_MS = 10 * MS_PER_SECOND
_LASTING_MS = MS_PER_MINUTE  # a book that was ready for so long is asked for again at once
_MOST_DOUBLINGS = 6


@dataclass(slots=True)
class _Kept:
    """A book, and how it is getting on. Times are those of its changes."""

    book: OrderBook
    levels: int
    is_asked: bool = False
    faults: int = 0  # in a row, each soon after the one before
    ask_ms: int = 0  # no snapshot is asked for before
    ready_ms: int | None = None  # since when it is ready


class LiveBooks:
    """The books of the streams `depth_full` among `keys`.

    `take` and `were_cut` are called in the event loop's thread and never wait; `run` is the work of another thread.
    A fault of one book touches that book alone.
    """

    def __init__(
        self, keys: Sequence[StreamKey], tools: LiveTools, counters: LiveCounters, stopping: threading.Event
    ) -> None:
        self._tools, self._counters, self._stopping = tools, counters, stopping
        self._kept: dict[StreamKey, _Kept] = {}
        self.want(keys)
        self._to_ask: queue.SimpleQueue[StreamKey] = queue.SimpleQueue()
        self._arrived: dict[StreamKey, BookSnapshot] = {}  # put by the one thread, taken by the other

    def want(self, keys: Iterable[StreamKey]) -> None:
        """Keep the books of these streams from now on; those that were kept before stay. From any thread."""
        known, whole = self._kept, [key for key in keys if key.kind is StreamKind.DEPTH_FULL]
        self._kept = {key: known.get(key) or _kept_of(key) for key in whole}

    @property
    def syncing(self) -> Collection[StreamKey]:
        """The books that are not ready."""
        return [key for key, kept in self._kept.items() if not kept.book.is_ready]

    def take(self, key: StreamKey, change: BookChange, received_ms: int) -> BookTop | None:
        """Take a change; return the best levels after it where the book is ready."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        book = kept.book
        fault = book.take(change)
        if book.needs_snapshot and (snapshot := self._arrived.pop(key, None)) is not None:
            kept.is_asked = False
            fault = book.begin(snapshot)
        if fault is not None:
            self._note_fault(key, kept, fault, change.time_ms)
        if book.needs_snapshot and not kept.is_asked and change.time_ms >= kept.ask_ms:
            kept.is_asked = True
            self._to_ask.put(key)
        if not book.is_ready:
            return None
        if kept.ready_ms is None:
            kept.ready_ms = change.time_ms
            self._counters.books_synced += 1
            _log.info("%s: the book is complete from update %d on", key, book.last_id)
        return BookTop(book.time_ms, received_ms, book.last_id, kept.levels, *book.best(kept.levels))

    def were_cut(self, keys: Iterable[StreamKey]) -> None:
        """Start the books over whose changes may have been lost."""
        for key in keys:
            if (kept := self._kept.get(key)) is not None:
                kept.book.reset()
                kept.ready_ms = None

    def deliver(self, key: StreamKey, snapshot: BookSnapshot) -> None:
        """Give a book the snapshot that it asked for; it is used with the next change."""
        self._arrived[key] = snapshot

    def run(self) -> None:
        """Fetch snapshots until stopped, spaced so that candles have their share of the request weight."""
        while not self._stopping.is_set():
            waiting = list(self._waiting_keys())
            if not waiting:
                self._stopping.wait(_TICK_S)
                continue
            try:
                with self._tools.open_exchange() as exchange:
                    self._fetch_all(exchange, waiting)
            except FetcherError as error:
                _log.warning("%d snapshots of order books are asked for again: %s", len(waiting), error)
                self._stopping.wait(self._tools.seconds(_FAILED_MS))
            for key in waiting:
                self._to_ask.put(key)

    def _fetch_all(self, exchange: ExchangeSource, waiting: list[StreamKey]) -> None:
        """Fetch snapshots, and take those out of `waiting` that have come. Raises FetcherError."""
        for market in sorted({key.market for key in waiting}):
            of_market = [key for key in waiting if key.market is market]
            exchange.open_market(market, {key.instrument.symbol for key in of_market})
            for key in of_market:
                if self._stopping.is_set():
                    return
                try:
                    self.deliver(key, exchange.market_data.order_book(key.instrument))
                    waiting.remove(key)
                except SeriesError as error:
                    _log.warning("%s: no snapshot of the book, it is asked for again: %s", key, error)
                self._stopping.wait(self._tools.seconds(exchange.market_data.order_book_pause_ms(market)))

    def _waiting_keys(self) -> Iterator[StreamKey]:
        while not self._to_ask.empty():
            yield self._to_ask.get()

    def _note_fault(self, key: StreamKey, kept: _Kept, fault: BookFault, now_ms: int) -> None:
        has_lasted = kept.ready_ms is not None and now_ms - kept.ready_ms >= _LASTING_MS
        kept.faults = 1 if has_lasted else kept.faults + 1
        wait_ms = (1 << min(kept.faults - 1, _MOST_DOUBLINGS)) * MS_PER_SECOND if kept.faults > 1 else 0
        kept.ask_ms = now_ms + min(wait_ms, MS_PER_MINUTE)
        if kept.ready_ms is not None:
            self._counters.books_restarted[fault.name.lower()] += 1
            _log.info("%s: the book starts over: %s", key, fault)
        kept.ready_ms = None


def _kept_of(key: StreamKey) -> _Kept:
    rule = BookRule.SPOT if key.market is Market.SPOT else BookRule.FUTURES
    levels = key.levels or 1
    return _Kept(OrderBook(rule, levels), levels)
