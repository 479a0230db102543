"""Live streams: what can be wanted, what a stream delivers, and what happens to it. Pure values.

Times are epoch ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.instrument import Instrument, Market
from core.intervals import Interval
from core.series import Series
from core.stream_kinds import StreamKind


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One live stream: a kind of data of one instrument; candles have an interval, order books levels to be stored."""

    kind: StreamKind
    instrument: Instrument
    interval: Interval | None = None
    levels: int | None = None

    @classmethod
    def candles_of(cls, series: Series) -> StreamKey:
        """Return the stream of the candles of `series`."""
        return cls(StreamKind.KLINE, series.instrument, series.interval)

    @property
    def market(self) -> Market:
        """The instrument's market."""
        return self.instrument.market

    @property
    def series(self) -> Series:
        """The series of a stream of candles."""
        assert self.interval is not None, "only a stream of candles has a series"  # noqa: S101 - a fault of the caller
        return Series(self.instrument, self.interval)

    def __str__(self) -> str:
        what = f"{self.kind} {self.interval.code}" if self.interval is not None else str(self.kind)
        return f"{self.instrument} {what}"


@dataclass(frozen=True, slots=True)
class CandleUpdate:
    """One frame of a stream of candles. Its form is checked; whether its values are possible is not."""

    series: Series
    open_ms: int
    values: tuple[str | int, ...]  # in the order of core.columns.VALUE_COLUMNS, digits as sent; the trades are an int
    is_closed: bool
    event_ms: int  # when the exchange sent it, by its own clock


class SeamReason(StrEnum):
    """Why frames may have been lost."""

    CUT = "cut"  # the connection ended
    SILENT = "silent"  # it stayed open and delivered nothing
    SHUTDOWN = "shutdown"  # the exchange announced its end, and it came before the next connection had taken over
    TURNOVER = "turnover"  # it had reached its age, and ended before the next connection had taken over
    ASKED = "asked"  # the operator asked for new connections


@dataclass(frozen=True, slots=True)
class StreamLive:
    """A stream has delivered its first frame on a connection; an acknowledgement alone is no proof."""

    key: StreamKey


@dataclass(frozen=True, slots=True)
class StreamSilent:
    """A stream delivers nothing although it was subscribed to again and on a new connection. The others go on."""

    key: StreamKey
    why: str


@dataclass(frozen=True, slots=True)
class Seam:
    """Streams may have lost frames: the time from the last frame to now was not, or not surely, delivered.

    StreamLive names each of them again when it delivers: at once where it does on the next connection already.
    """

    keys: tuple[StreamKey, ...]
    reason: SeamReason
    from_ms: int  # the last frame, of the stream among them that was silent longest
    to_ms: int  # when its end was noticed


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A connection was made and its handshake accepted."""

    market: Market
    connection: str  # short name for messages: market, route and number


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A connection has ended, for whatever reason; `is_planned` when another one had taken over before."""

    market: Market
    connection: str
    why: str
    is_planned: bool


@dataclass(frozen=True, slots=True)
class MarketUnusable:
    """A market's streams cannot be had from here: refused (403, 451) or accepted and silent again and again."""

    market: Market
    why: str


StreamEvent = StreamLive | StreamSilent | Seam | ConnectionOpened | ConnectionClosed | MarketUnusable
