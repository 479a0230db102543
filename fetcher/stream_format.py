"""What an exchange's frames look like. Each exchange has one such class in `fetcher/<exchange>/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.market_data import BookChange, BookTop, Record
from core.stream_rules import StreamRules
from core.streams import CandleUpdate, StreamKey


@dataclass(frozen=True, slots=True)
class OfStream:
    """A frame of a stream."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a message with this number; `error` is empty when it was accepted."""

    number: int
    error: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The exchange announces the end of the connection."""


class StreamFormat(Protocol):
    """The frames of one exchange."""

    @property
    def head(self) -> bytes:
        """How a frame of data usually begins; the name of its stream follows, up to the next quotation mark."""

    @property
    def open_mark(self) -> bytes:
        """What only a frame of a candle that has not closed contains. A hint: others may be such frames too."""

    def rules_of(self, key: StreamKey) -> StreamRules:
        """Return the rules of the stream's market and route: equal, with equal hash, for streams that can share one."""

    def read_other(self, frame: bytes) -> OfStream | Answer | Shutdown:
        """Return what a frame is. Raises UnusableFrame."""

    def read_candle(self, key: StreamKey, frame: bytes) -> CandleUpdate:
        """Return what a frame of a stream of candles says. Raises UnusableFrame."""

    def read_record(self, key: StreamKey, frame: bytes) -> Record:
        """Return what a frame of a stream of trades or prices says. Raises UnusableFrame."""

    def read_book(self, key: StreamKey, frame: bytes, received_ms: int) -> BookTop | BookChange:
        """Return what a frame of a stream of an order book says. Raises UnusableFrame."""
