"""The frames of one connection: which stream each belongs to, and where it goes. Short, for it runs for every frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import UnusableFrame
from core.market_data import BookTop
from core.stream_activity import StreamActivity
from core.stream_clock import StreamClock
from core.stream_connection import Connection, Subscription
from core.stream_events import Answered, FirstData, SessionEvent, ShutdownNotice
from core.stream_kinds import BOOKS, StreamKind
from fetcher.source import StreamSink
from fetcher.stream_format import Answer, OfStream, Shutdown, StreamFormat


@dataclass(slots=True)
class FrameCounts:
    """How many frames came, all connections together."""

    all: int = 0
    not_read: int = 0  # of candles that have not closed, where nobody wants them
    unknown: int = 0  # of streams that are not wanted any more


@dataclass(frozen=True, slots=True)
class FeedTargets:
    """Where the frames of a route go."""

    format: StreamFormat
    clock: StreamClock
    sink: StreamSink
    tell: Callable[[SessionEvent], None]  # the session
    counts: FrameCounts
    updates: set[bytes]  # names of the streams whose candles are wanted before they close
    activity: dict[bytes, StreamActivity]  # by name, over all connections


class StreamFeed:
    """Takes the frames of one connection."""

    def __init__(self, connection: Connection, targets: FeedTargets) -> None:
        self._connection = connection
        self._to = targets
        self._head = targets.format.head
        self._open_mark = targets.format.open_mark

    def take(self, frame: bytes) -> None:
        """Hand a frame to the sink, or to the session when it changes something there."""
        received_ns = time.monotonic_ns()
        to = self._to
        to.counts.all += 1
        head = self._head
        if frame.startswith(head):
            name = frame[len(head) : frame.find(b'"', len(head))]
            stream = self._connection.by_name.get(name)
            if stream is not None:
                self._data(stream, name, frame, received_ns)
                return
        self._other(frame, received_ns)

    def _data(self, stream: Subscription, name: bytes, frame: bytes, received_ns: int) -> None:
        to = self._to
        now_ms = to.clock.at(received_ns)
        if stream.is_live:
            self._connection.beat(now_ms)
            stream.last_ms = now_ms
        else:
            to.tell(FirstData(self._connection.name, stream.key))
        if not stream.is_delivered:
            return
        heard = to.activity.get(name)
        if heard is None:
            heard = to.activity[name] = StreamActivity(stream.key)
        heard.frames += 1
        heard.bytes += len(frame)
        heard.last_ms = now_ms
        if stream.key.kind is not StreamKind.KLINE:
            self._record(heard, frame, received_ns, now_ms)
            return
        if self._open_mark in frame and name not in to.updates:
            to.counts.not_read += 1
            return
        try:
            update = to.format.read_candle(stream.key, frame)
        except UnusableFrame as error:
            to.sink.unusable(stream.key, str(error), frame)
            return
        heard.latencies.add(now_ms - update.event_ms)
        to.sink.candle(update, received_ns)

    def _record(self, heard: StreamActivity, frame: bytes, received_ns: int, now_ms: int) -> None:
        key, frames = heard.key, self._to.format
        try:
            is_book = key.kind in BOOKS
            record = frames.read_book(key, frame, now_ms) if is_book else frames.read_record(key, frame)
        except UnusableFrame as error:
            self._to.sink.unusable(heard.key, str(error), frame)
            return
        if not (isinstance(record, BookTop) and record.event_ms is None):
            heard.latencies.add(now_ms - record.time_ms)
        self._to.sink.record(heard.key, record, received_ns)

    def _other(self, frame: bytes, received_ns: int) -> None:
        to, name = self._to, self._connection.name
        try:
            read = to.format.read_other(frame)
        except UnusableFrame as error:
            to.sink.unusable(None, str(error), frame)
            return
        match read:
            case OfStream():
                stream = self._connection.by_name.get(read.name)
                if stream is None:
                    to.counts.unknown += 1
                else:
                    self._data(stream, read.name, frame, received_ns)
            case Answer():
                to.tell(Answered(name, read.number, read.error))
            case Shutdown():
                to.tell(ShutdownNotice(name))
