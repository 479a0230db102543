"""What a live service is given to work with, and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from core.streams import StreamKey
from core.wanted import WantedSeries
from db.connection import Database
from fetcher.source import ExchangeSource, LiveStreams, StreamSink
from logic.backfill.run import BackfillOptions
from logic.live.market_clocks import MarketClocks


def seconds_of(ms: int) -> float:
    """Return how many seconds `ms` are."""
    return ms / 1000


@dataclass(frozen=True, slots=True)
class LiveTools:
    """How the service reaches database, exchange and clock. Each thread opens connections of its own."""

    open_database: Callable[[], AbstractContextManager[Database]]
    open_exchange: Callable[[], AbstractContextManager[ExchangeSource]]  # fresh: nothing it has given up stays so
    open_streams: Callable[[StreamSink], LiveStreams]
    local_now_ms: Callable[[], int]  # this machine's date, for stamps
    steady_ms: Callable[[], int]  # since some moment; goes on as time does, whatever happens to the date
    clocks: MarketClocks
    seconds: Callable[[int], float]  # real seconds for so many ms; fewer where a test lets time run faster


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Which kinds are wanted of which instruments, and how often prices are stored."""

    keys: tuple[StreamKey, ...] = ()
    ticker_ms: int = 60_000
    mark_price_ms: int = 1_000
    depth_ms: int = 1_000  # of order books; 100: each
    left_out: Mapping[StreamKey, str] = field(default_factory=dict)  # wanted and not streamed, with why
    may_come: bool = False  # keys may be wanted later


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """The operator's options for a live service."""

    run_id: str
    backfill: BackfillOptions  # of the heals
    audit_ms: int  # how often streamed candles are held against REST; 0: not while it runs
    records: RecordOptions = field(default_factory=RecordOptions)  # of the other kinds


@dataclass(frozen=True, slots=True)
class LiveSeries:
    """A series that is streamed, with its id in the catalog."""

    id: int
    wanted: WantedSeries
