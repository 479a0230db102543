"""The kinds of live data other than candles: what is wanted, and the threads that store and heal it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from core.stream_kinds import BOOKS, StreamKind
from core.streams import StreamKey
from core.times import MS_PER_SECOND
from db.connection import Database
from logic.live.books import LiveBooks
from logic.live.counters import LiveCounters
from logic.live.record_healer import RecordHealer
from logic.live.record_writer import RecordWriter
from logic.live.tools import LiveTools, RecordOptions
from logic.live.waiting_records import WaitingRecords

_EVERY_FRAME_MS = 100  # as often as the exchange sends order books


def _each(ms: int) -> int:
    """Return how often prices are stored: every second means each one, however they are spread over seconds."""
    return 1 if ms <= MS_PER_SECOND else ms


class LiveRecords:
    """Stores records of `options.keys`. `stopping` is set when the service ends."""

    def __init__(
        self, options: RecordOptions, tools: LiveTools, counters: LiveCounters, stopping: threading.Event
    ) -> None:
        every_ms = {StreamKind.TICKER: _each(options.ticker_ms), StreamKind.MARK_PRICE: _each(options.mark_price_ms)}
        every_ms |= dict.fromkeys(BOOKS, 1 if options.depth_ms <= _EVERY_FRAME_MS else options.depth_ms)
        self.streamed = [key for key in options.keys if key.kind is not StreamKind.FUNDING_RATE]
        self.waiting = WaitingRecords(every_ms)
        self.writer = RecordWriter(self.streamed, self.waiting, tools, counters)
        self.books = LiveBooks(self.streamed, tools, counters, stopping)
        self.healer = RecordHealer(options.keys, tools, counters, stopping)
        self.keys, self.left_out = options.keys, options.left_out
        self._is_wanted = bool(options.keys) or options.may_come

    def want(self, keys: Sequence[StreamKey]) -> None:
        """Store records of these streams from now on. From any thread."""
        self.keys = tuple(keys)
        self.streamed = [key for key in keys if key.kind is not StreamKind.FUNDING_RATE]
        self.books.want(self.streamed)
        self.writer.want(self.streamed)
        self.healer.want(keys)

    @property
    def threads(self) -> Mapping[str, Callable[[], None]]:
        """The work of each thread by name; nothing where no records are wanted."""
        if not self._is_wanted:
            return {}
        return {"records": self.writer.run, "record healer": self.healer.run, "books": self.books.run}

    def were_cut(self, keys: Iterable[StreamKey]) -> None:
        """Note that streams may have lost frames. Lost trades are found by their ids."""
        self.books.were_cut(keys)
        self.waiting.forget_books(keys)

    def finish(self, database: Database) -> None:
        """After the end: heal once more. Raises DatabaseUnavailable and Interrupted."""
        if self._is_wanted:
            self.healer.finish(database)
