"""Records of streams between the sockets and the database: trades in a bounded queue, prices sampled. Thread-safe.

The sockets are always read. When the database is too slow, trades are left out instrument by instrument: the ids of
what is stored afterwards jump, and that is a gap to be healed. Of tickers and mark prices the newest sample waits; of
samples of order books the newest few thousand.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from core.market_data import SEQUENCED, BookTop, Record
from core.stream_kinds import StreamKind
from core.streams import StreamKey

MOST = 200_000
MOST_BOOKS = 5_000


class WaitingRecords:
    """The queue. `every_ms` says of which kinds only the first record in each so many ms is kept."""

    def __init__(self, every_ms: Mapping[StreamKind, int], most: int = MOST) -> None:
        self._every_ms = every_ms
        self._most = most
        self._changed = threading.Condition()
        self._trades: deque[tuple[StreamKey, Record]] = deque()
        self._left_out: set[StreamKey] = set()  # that take part again when the queue is half empty
        self._samples: dict[StreamKey, Record] = {}
        self._books: deque[tuple[StreamKey, Record]] = deque(maxlen=MOST_BOOKS)
        self._newest_books: dict[StreamKey, BookTop] = {}
        self._sampled: dict[StreamKey, int] = {}  # number of the last sample
        self._wanted = 0  # so many trades wake who waits
        self._is_closed = False
        self.dropped: Counter[StreamKey] = Counter()  # trades and order books

    def __len__(self) -> int:
        return len(self._trades) + len(self._samples) + len(self._books)

    def put(self, key: StreamKey, record: Record) -> None:
        """Add a record. Returns at once."""
        if isinstance(record, SEQUENCED):
            self._put_trade(key, record)
            return
        number = record.time_ms // self._every_ms[key.kind]
        if number > self._sampled.get(key, -1):
            if isinstance(record, BookTop):
                self._put_book(key, record, number)
                return
            with self._changed:
                self._sampled[key] = number
                self._samples[key] = record

    def _put_book(self, key: StreamKey, book: BookTop, number: int) -> None:
        """Add a sample of an order book when it is newer than the last one and differs."""
        last = self._newest_books.get(key)
        if last is not None and (book.last_id <= last.last_id or (book.bids, book.asks) == (last.bids, last.asks)):
            return
        with self._changed:
            self._sampled[key] = number
            self._newest_books[key] = book
            if len(self._books) == MOST_BOOKS:
                self.dropped[self._books[0][0]] += 1
            self._books.append((key, book))

    def forget_books(self, keys: Iterable[StreamKey]) -> None:
        """Take the next order books of these streams whatever their update ids are: they may begin anew."""
        for key in keys:
            self._newest_books.pop(key, None)

    def _put_trade(self, key: StreamKey, record: Record) -> None:
        with self._changed:
            waiting = len(self._trades)
            if key in self._left_out and waiting <= self._most // 2:
                self._left_out.discard(key)
            if key in self._left_out or waiting >= self._most:
                self._left_out.add(key)
                self.dropped[key] += 1
                return
            self._trades.append((key, record))
            if 0 < self._wanted <= waiting + 1:
                self._changed.notify()

    def take(self, most: int) -> list[tuple[StreamKey, Record]]:
        """Take up to `most` trades in the order in which they came, and all samples and order books that wait."""
        with self._changed:
            taken = [self._trades.popleft() for _ in range(min(most, len(self._trades)))]
            taken += self._samples.items()
            self._samples.clear()
            taken += self._books
            self._books.clear()
        return taken

    def wait(self, trades: int, longest_s: float) -> None:
        """Wait until so many trades wait or the queue is closed, at most `longest_s`."""
        with self._changed:
            if not self._is_closed and len(self._trades) < trades:
                self._wanted = trades
                self._changed.wait(longest_s)
                self._wanted = 0

    def close(self) -> None:
        """Wake whoever waits: no more records will come."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether no more records will come."""
        return self._is_closed
