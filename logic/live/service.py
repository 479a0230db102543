"""The live service: sockets, writer and healer, each in a thread of its own, from `start` to `stop`."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from core.errors import DatabaseUnavailable, Interrupted
from core.series import Series
from core.streams import StreamKey
from core.times import MS_PER_MINUTE
from db.connection import Database
from logic.live.auditing import Auditor
from logic.live.counters import LiveCounters
from logic.live.healer import Healer
from logic.live.records import LiveRecords
from logic.live.reporter import Reporter
from logic.live.sink import LiveSink
from logic.live.state_keeper import StateKeeper
from logic.live.statistics import LiveStatistics, Statistics, Watched
from logic.live.tools import LiveOptions, LiveSeries, LiveTools
from logic.live.waiting_candles import WaitingCandles
from logic.live.writer import LiveWriter

_log = logging.getLogger(__name__)

_TICK_MS = 1_000
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 1_000, 60_000


class LiveService:
    """Keeps `series` current by streams. Not reusable."""

    def __init__(self, series: Sequence[LiveSeries], tools: LiveTools, options: LiveOptions) -> None:
        by_id = {one.id: one for one in series}
        self.counters = LiveCounters()
        self._series, self._tools = series, tools
        self.healer = Healer(by_id, tools, options, self.counters)
        self.waiting = WaitingCandles(self._dropped)
        self._stopping = threading.Event()
        self.records = LiveRecords(options.records, tools, self.counters, self._stopping)
        self.sink = LiveSink(
            series, self.waiting, self.records.waiting, self.healer.want, tools.clocks.now_ms, self.counters
        )
        states = StateKeeper(by_id, options.backfill.state_dir, options.run_id, tools.local_now_ms)
        self.auditor = Auditor(by_id, tools, options, self.counters)
        self._states = states
        self._writer = LiveWriter(self.waiting, tools, options.run_id, self.healer.want, states.stored, self.counters)
        self._streams = tools.open_streams(self.sink)
        watched = Watched(
            series,
            self._streams.activity,
            self.sink.states,
            self.healer,
            self.counters,
            lambda: len(self.waiting),
            tools.local_now_ms,
            tools.clocks.now_ms,
        )
        self._statistics = Statistics(watched)
        session = {"series": len(series), "audit_minutes": options.audit_ms // MS_PER_MINUTE}
        self._reporter = Reporter(options.run_id, session, self._statistics, tools)
        self._loop = asyncio.new_event_loop()
        work = {"writer": self._writer.run, "healer": self._heal, "reporter": self._reporter.run}
        self._threads = {"streams": threading.Thread(target=self._run_streams, name="streams", daemon=True)}
        for name, run in (work | dict(self.records.threads)).items():
            self._threads[name] = threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True)

    def start(self) -> None:
        """Begin to receive and to store. A series that is being backfilled takes its candles when it is done."""
        for thread in self._threads.values():
            thread.start()

    def stop(self, longest_s: float) -> bool:
        """Close the sockets, store what was received, end the threads; return whether all was stored in time."""
        ends_s = time.monotonic() + longest_s
        self._stopping.set()
        if self._threads["streams"].is_alive():
            self._loop.call_soon_threadsafe(self._streams.stop)
        self._join("streams", ends_s)
        self.waiting.close()
        self.records.waiting.close()
        for name in ("writer", "healer", *self.records.threads):
            self._join(name, ends_s)
        self._states.write()
        self._reporter.stop()
        self._join("reporter", ends_s)
        return len(self.waiting) == 0 and self.records.writer.unsaved == 0 and not self._threads["writer"].is_alive()

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

    def _run_streams(self) -> None:
        asyncio.set_event_loop(self._loop)
        candles = [StreamKey.candles_of(one.wanted.series) for one in self._series]
        self._streams.want([*candles, *self.records.streamed])
        self._guarded(lambda: self._loop.run_until_complete(self._streams.run()))

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
        while not self._stopping.is_set():
            try:
                with self._tools.open_database() as database:
                    while not self._stopping.is_set():
                        self._heal_once(database)
                        pause_ms = _FIRST_PAUSE_MS
                        self._stopping.wait(self._tools.seconds(_TICK_MS))
            except DatabaseUnavailable as error:
                _log.error("healing waits for the database: %s", error)
                self._stopping.wait(self._tools.seconds(pause_ms))
                pause_ms = min(2 * pause_ms, _LONGEST_PAUSE_MS)

    def _heal_once(self, database: Database) -> None:
        if late := self.sink.late():
            self.healer.want(late)
        self.healer.heal_due(database)
        self.auditor.audit_due(database)
        self._states.write_due()
