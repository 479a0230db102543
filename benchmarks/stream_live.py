"""The live service with a sender of frames (stream_sender.py) and a PostgreSQL of its own, for stream.py."""

from __future__ import annotations

import json
import logging
import random
import resource
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common import PROJECT

# isort: split
# The import above lets those below be found.
from candles import batch_of
from stored_series import backfill_options
from stream_sender import BEGIN_MS, STAMP, symbol_of

from bus.event_bus import InMemoryEventBus
from core.events import ALL, KLINE_UPDATE, TRADE, Event
from core.fetched import FetchedSpan
from core.instrument import ExchangeName, Instrument, Market
from core.intervals import INTERVALS
from core.latencies import Latencies
from core.market_data import Record
from core.ranges import Span
from core.series import Series
from core.sources import Source
from core.stream_kinds import StreamKind
from core.streams import CandleUpdate, StreamEvent, StreamKey
from core.times import MS_PER_MINUTE
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.commit import CommitContext
from db.connection import Database
from db.migrate import migrate
from db.operations import PreparedSpan, save_ohlcv
from db.schema import create_table_if_not_exists
from demo.generated_market import generate_series
from fetcher.addresses import ExchangeAddresses, StreamAddresses
from fetcher.binance.exchange import BinanceExchange
from fetcher.exchanges import open_live_streams
from fetcher.source import ExchangeSource, LiveStreams, StreamSink
from logic.live.market_clocks import MarketClocks
from logic.live.service import LiveService
from logic.live.tools import LiveOptions, LiveSeries, LiveTools, RecordOptions, seconds_of

_QUEUE = 1_000_000  # events that may wait for a subscriber: none is to be dropped
_TABLES_AT_ONCE = 200


def now_ms() -> int:
    """Return this machine's date."""
    return int(time.time() * 1000)


def steady_ms() -> int:
    """Return this machine's steady clock."""
    return time.monotonic_ns() // 1_000_000


class Sender:
    """The sending process."""

    def __init__(self, minutes: int) -> None:
        command = [sys.executable, str(PROJECT / "benchmarks" / "stream_sender.py"), "--minutes", str(minutes)]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.urls: Mapping[str, str] = self._answer()

    def ask(self, *command: object) -> dict[str, object]:
        """Return the answer to a command."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(" ".join(map(str, command)) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None  # noqa: S101
        return json.loads(self._process.stdout.readline())


class Every(Latencies):
    """Latencies of which each one is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.ms = array("d")

    def add(self, ms: float) -> None:
        """Count one."""
        super().add(ms)
        self.ms.append(ms)


@dataclass
class Handler:
    """A subscriber of the event bus."""

    delays_us: array[int] = field(default_factory=lambda: array("q"))  # of frames, from sending to here

    def __call__(self, event: Event) -> None:
        """Note when an event came."""
        data = event.data
        if event.topic == TRADE:
            stamp = int(data.quantity)
        elif event.topic == KLINE_UPDATE and not data["is_closed"]:
            stamp = int(data["volume"])
        else:
            return
        self.delays_us.append(time.monotonic_ns() // 1000 - stamp + STAMP)


@dataclass
class Meter:
    """Passes everything on to the service's sink. A `StreamSink`."""

    sink: StreamSink
    finals: int = 0
    events: list[tuple[int, StreamEvent]] = field(default_factory=list)  # with the microsecond

    def candle(self, update: CandleUpdate, received_ns: int) -> None:
        """A candle."""
        self.sink.candle(update, received_ns)
        if update.is_closed:
            self.finals += 1

    def record(self, key: StreamKey, record: Record, received_ns: int) -> None:
        """A trade."""
        self.sink.record(key, record, received_ns)

    def unusable(self, key: StreamKey | None, why: str, frame: bytes) -> None:
        """A frame that cannot be used: none may come."""
        raise SystemExit(f"a frame of {key} cannot be used: {why}: {frame!r}")

    def event(self, event: StreamEvent) -> None:
        """What happened to a stream or connection."""
        self.events.append((time.monotonic_ns() // 1000, event))
        self.sink.event(event)


class StoppedClocks(MarketClocks):
    """The exchange's clock stands still, so that no candle is late, however slowly or fast they come."""

    def __init__(self) -> None:
        pass

    def take(self, exchange: ExchangeSource) -> None:
        """Nothing newer."""

    def now_ms(self, market: Market) -> int:
        """Return a moment of the first minute."""
        return BEGIN_MS + 1


@dataclass
class Wanted:
    """What is streamed: 1m candles of so many symbols, aggregate trades of some of them."""

    series: int
    trades: int = 0
    market: Market = Market.SPOT
    per_connection: int = 200
    subscribers: int = 0  # of the event bus, to everything: candles that have not closed are read too

    @property
    def candles(self) -> list[Series]:
        """The series."""
        return [Series(self._instrument(number), INTERVALS["1m"]) for number in range(self.series)]

    @property
    def trade_keys(self) -> tuple[StreamKey, ...]:
        """The streams of trades."""
        return tuple(StreamKey(StreamKind.AGG_TRADE, self._instrument(number)) for number in range(self.trades))

    def _instrument(self, number: int) -> Instrument:
        return Instrument(ExchangeName.BINANCE, self.market, symbol_of(number))


@dataclass
class Live:
    """A running service, and what is measured of it."""

    service: LiveService
    meter: Meter
    to_commit: Every
    sender: Sender
    handlers: Sequence[Handler]

    def wait(self, what: str, is_there: Callable[[], bool], longest_s: float = 120.0) -> None:
        """Wait until something is there. Raises SystemExit."""
        ends_s = time.monotonic() + longest_s
        while not is_there():
            if self.service.has_failed or time.monotonic() > ends_s:
                raise SystemExit(f"{what}: not within {longest_s:.0f} s, or the service has failed")
            time.sleep(0.02)

    def check(self) -> None:
        """Raise SystemExit when the service did anything else than receive and store."""
        done = self.service.counters
        dropped = done.dropped + sum(self.service.records.waiting.dropped.values())
        if done.conflicts or dropped or done.unusable or done.id_gaps:
            raise SystemExit(f"not what was to be measured: {done}")


def prepared(url: str, wanted: Wanted) -> list[LiveSeries]:
    """Return the series with tables and the first minute in them, so that what is streamed follows it."""
    row = next(iter(generate_series(wanted.candles[0], Span(BEGIN_MS, BEGIN_MS + MS_PER_MINUTE), 1)))
    first = PreparedSpan.of(FetchedSpan(Span(BEGIN_MS, BEGIN_MS + MS_PER_MINUTE), batch_of([row]), Source.REST))
    with closing(Database.connect(url, {}, "benchmark")) as database:
        migrate(database)
        every = [WantedSeries(one, BEGIN_MS) for one in wanted.candles]
        with database.transaction("enter") as tx:
            ids = sync_symbols(tx, every, replaces_catalog=True)
        for begin in range(0, len(every), _TABLES_AT_ONCE):
            with database.transaction("create") as tx:
                for one in every[begin : begin + _TABLES_AT_ONCE]:
                    series = one.series
                    create_table_if_not_exists(tx, series, timescale=False, compress_after_days=0)
                    save_ohlcv(tx, CommitContext(ids[series].id, series.table_name, "run", BEGIN_MS), [first])
    return [LiveSeries(ids[one.series].id, one) for one in every]


@contextmanager
def running(url: str, folder: Path, wanted: Wanted, minutes: int) -> Iterator[Live]:
    """Run a service that is subscribed to everything and has heard of everything."""
    logging.disable(logging.ERROR)  # cuts are said, and nobody is there to heal them
    series = prepared(url, wanted)
    sender = Sender(minutes)
    meters: list[Meter] = []

    def streams(sink: StreamSink) -> LiveStreams:
        meters.append(Meter(sink))
        addresses = StreamAddresses(sender.urls, wanted.per_connection, 30_000)
        lots = random.Random(1)  # noqa: S311 - not a secret
        return open_live_streams(ExchangeName.BINANCE, addresses, meters[0], now_ms, seconds_of, lots.random)

    options = LiveOptions("live", backfill_options("live", folder), 0, RecordOptions(wanted.trade_keys))
    bus, handlers = InMemoryEventBus(), [Handler() for _ in range(wanted.subscribers)]
    for one in handlers:
        bus.subscribe(ALL, one, queue=_QUEUE)
    service = LiveService(series, _tools(url, folder, streams), options, bus)
    service.counters.to_commit = to_commit = Every()
    live = Live(service, meters[0], to_commit, sender, handlers)
    try:
        service.start()
        live.wait("all streams live", lambda: service.sink.live == wanted.series)
        yield live
        live.check()
        if any(one.dropped or one.errors for one in bus.subscriptions):
            raise SystemExit("a subscriber lost events")
        if not service.stop(60.0):
            raise SystemExit("not everything was stored at the end")
    finally:
        sender.stop()
        bus.close()


def _tools(url: str, folder: Path, streams: Callable[[StreamSink], LiveStreams]) -> LiveTools:
    @contextmanager
    def database() -> Iterator[Database]:
        with closing(Database.connect(url, {}, "live")) as found:
            yield found

    @contextmanager
    def no_exchange() -> Iterator[ExchangeSource]:
        nowhere = "http://127.0.0.1:9"  # nothing is healed: nothing is asked by REST
        addresses = ExchangeAddresses(
            dict.fromkeys(("spot", "um", "cm"), nowhere), nowhere, nowhere, 1.0, None, 1, folder
        )
        yield BinanceExchange(addresses, time.sleep, now_ms)

    return LiveTools(database, no_exchange, streams, now_ms, steady_ms, StoppedClocks(), seconds_of)


def percentiles(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the median, p95, p99 and the longest."""
    known = sorted(values)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    return {name: round(known[min(int(len(known) * share), len(known) - 1)], digits) for name, share in shares.items()}


def resident_mib() -> float:
    """Return the memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
