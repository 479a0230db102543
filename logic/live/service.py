"""The live service: sockets, writer and healer, each in a thread of its own, from `start` to `stop`."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from core.errors import DatabaseUnavailable, Interrupted
from core.events import KLINE_UPDATE
from core.instrument import Market
from core.seldom import Seldom
from core.series import Series
from core.streams import StreamKey
from core.times import MS_PER_MINUTE
from db.connection import Database
from logic.live.auditing import Auditor
from logic.live.counters import LiveCounters
from logic.live.healer import Healer
from logic.live.publishing import InMemoryEventBus, LivePublisher
from logic.live.records import LiveRecords
from logic.live.reporter import Reporter
from logic.live.sink import LiveSink
from logic.live.state_keeper import StateKeeper
from logic.live.statistics import LiveStatistics, Statistics, Watched
from logic.live.tools import LiveOptions, LiveSeries, LiveTools
from logic.live.waiting_candles import WaitingCandle, WaitingCandles
from logic.live.writer import LiveWriter

_log = logging.getLogger(__name__)

_TICK_MS = 1_000
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 1_000, 60_000


class LiveService:
    """Keeps `series` current by streams. Not reusable."""

    def __init__(
        self,
        series: Sequence[LiveSeries],
        tools: LiveTools,
        options: LiveOptions,
        bus: InMemoryEventBus | None = None,
    ) -> None:
        self.counters = LiveCounters()
        self._series, self._tools = tuple(series), tools
        self._stopping = threading.Event()
        self.healer = Healer(tools, options, self.counters)
        self.waiting = WaitingCandles(self._dropped)
        self.records = LiveRecords(options.records, tools, self.counters, self._stopping)
        self._publisher = None if bus is None else LivePublisher(bus, tools.clocks.now_ms)
        self.sink = LiveSink(
            self.waiting, self.records, self.healer.want, tools.clocks.now_ms, self.counters, self._publisher
        )
        self._states = StateKeeper(options.backfill.state_dir, options.run_id, tools.local_now_ms, tools.steady_ms)
        self.auditor = Auditor(tools, options, self.counters)
        self._writer = LiveWriter(self.waiting, tools, options.run_id, self.healer.want, self._stored, self.counters)
        self._streams = tools.open_streams(self.sink)
        self._statistics = Statistics(
            Watched(
                self._wanted,
                self._streams.activity,
                self.sink.states,
                self.healer,
                self.counters,
                lambda: len(self.waiting),
                tools.local_now_ms,
                tools.clocks.now_ms,
                lambda: self.records.books.syncing,
            )
        )
        session = {"audit_minutes": options.audit_ms // MS_PER_MINUTE}
        self._reporter = Reporter(options.run_id, session, self._statistics, tools, self.reconnect)
        self._loop = asyncio.new_event_loop()
        work = {"writer": self._writer.run, "healer": self._heal, "reporter": self._reporter.run}
        self._threads = {"streams": threading.Thread(target=self._run_streams, name="streams", daemon=True)}
        for name, run in (work | dict(self.records.threads)).items():
            self._threads[name] = threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True)
        self._tell_series()
        if bus is not None:
            bus.when_changed(self._want_soon)

    def want(self, series: Sequence[LiveSeries], keys: Sequence[StreamKey]) -> None:
        """Stream these series, and other kinds as `keys`, from now on; what was streamed before stays untouched.

        The history of a series that is new is healed. May be called from any thread.
        """
        known = {one.id for one in self._series}
        self._series = tuple(series)
        self._tell_series()
        self.records.want(keys)
        self._want_soon()
        self.healer.want([one.id for one in series if one.id not in known])

    def reconnect(self, market: Market | None = None) -> None:
        """Have all connections replaced, of one market or of all, without a hole. From any thread."""
        self._in_loop(lambda: self._streams.reconnect(market))

    def start(self) -> None:
        """Begin to receive and to store. A series that is being backfilled takes its candles when it is done."""
        for thread in self._threads.values():
            thread.start()

    def stop(self, longest_s: float) -> bool:
        """Close the sockets, store what was received, end the threads; return whether all was stored in time."""
        ends_s = time.monotonic() + longest_s
        self._stopping.set()
        self._in_loop(self._streams.stop)
        self._join("streams", ends_s)
        if not self._threads["streams"].is_alive():
            self._loop.close()
        self.waiting.close()
        self.records.waiting.close()
        for name in ("writer", "healer", *self.records.threads):
            self._join(name, ends_s)
        self._states.write()
        self._reporter.stop()
        self._join("reporter", ends_s)
        return len(self.waiting) == 0 and self.records.writer.unsaved == 0 and not self._threads["writer"].is_alive()

    @property
    def keys(self) -> Sequence[StreamKey]:
        """The streams, those of candles first."""
        return tuple(self._wanted())

    @property
    def streamed(self) -> int:
        """How many series are streamed."""
        return len(self._series)

    def heal(self, series: Collection[Series]) -> None:
        """Have those of `series` that are streamed healed soon."""
        wanted = set(series)
        self.healer.want([one.id for one in self._series if one.wanted.series in wanted])

    @property
    def statistics(self) -> LiveStatistics:
        """The newest figures, at most ten seconds old."""
        return self._statistics.newest

    def finish(self) -> None:
        """After `stop`: heal and audit all series once more. Raises Interrupted."""
        ids = [one.id for one in self._series]
        try:
            with self._tools.open_database() as database:
                if ids:
                    self.healer.heal(database, ids)
                self.auditor.audit_all(database)
                self.records.finish(database)
        except DatabaseUnavailable as error:
            _log.error("the last heal and audit were not made, the next run makes them: %s", error)
            self.healer.want(ids)

    def _join(self, name: str, ends_s: float) -> None:
        self._threads[name].join(max(0.1, ends_s - time.monotonic()))

    def _dropped(self, series_ids: Sequence[int]) -> None:
        self.counters.dropped += len(series_ids)
        self.healer.want(series_ids)

    def _stored(self, one: WaitingCandle, is_new: bool) -> None:
        """Take note of a candle that is committed."""
        self._states.stored(one.series_id, one.candle.open_ms)
        if self._publisher is not None:
            self._publisher.stored(one.candle, one.event_ms, one.received_ns, is_new)

    def _tell_series(self) -> None:
        by_id = {one.id: one for one in self._series}
        for part in (self.healer, self.auditor, self._states):
            part.add(by_id)
        self.sink.want(self._series)

    def _wanted(self) -> dict[StreamKey, int | None]:
        """Return the wanted streams, those of candles with the id of their series."""
        candles: dict[StreamKey, int | None] = {StreamKey.candles_of(one.wanted.series): one.id for one in self._series}
        return candles | dict.fromkeys(self.records.streamed)

    def _run_streams(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._want_now()
        self._guarded(lambda: self._loop.run_until_complete(self._streams.run()))

    def _want_now(self) -> None:
        wanted = self._wanted()
        has_updates = self._publisher is not None and self._publisher.bus.wants(KLINE_UPDATE)
        self._streams.want(wanted)
        self._streams.want_updates([key for key, series_id in wanted.items() if has_updates and series_id is not None])

    def _want_soon(self) -> None:
        self._in_loop(self._want_now)

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._threads["streams"].is_alive():
            self._loop.call_soon_threadsafe(call)

    def _guarded(self, run: Callable[[], None]) -> None:
        """Run a thread's work; a fault of this program is counted and said, and ends the service."""
        try:
            run()
        except Interrupted:
            pass
        except Exception:
            self.counters.faults += 1
            _log.exception("unexpected fault, please report it; the live service ends")
            self._stopping.set()

    @property
    def has_failed(self) -> bool:
        """Whether a thread has ended by a fault of this program."""
        return self.counters.faults > 0

    def _heal(self) -> None:
        """Heal, audit and write state files until stopped, also across losses of the database."""
        pause_ms = _FIRST_PAUSE_MS
        away = Seldom()
        while not self._stopping.is_set():
            try:
                with self._tools.open_database() as database:
                    while not self._stopping.is_set():
                        self._heal_once(database)
                        if away.ends():
                            _log.warning("the database is back, holes are healed again")
                        pause_ms = _FIRST_PAUSE_MS
                        self._stopping.wait(self._tools.seconds(_TICK_MS))
            except DatabaseUnavailable as error:
                if away.is_due(time.monotonic()):
                    _log.error("healing waits for the database: %s", error)
                self._stopping.wait(self._tools.seconds(pause_ms))
                pause_ms = min(2 * pause_ms, _LONGEST_PAUSE_MS)

    def _heal_once(self, database: Database) -> None:
        self.sink.say_silent()
        if late := self.sink.late():
            self.healer.want(late)
        self.healer.heal_due(database)
        self.auditor.audit_due(database)
        self._states.write_due()
