"""Fetches by REST and archives what streams did not deliver: each heal is one ordinary backfill of those series."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from core.closing import closed_end
from core.errors import DatabaseUnavailable, FetcherError, Interrupted
from core.heal_queue import HealQueue
from core.series import Series, brief_list
from db.connection import Database
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import RunSummary, SeriesResult
from logic.backfill.run import Observer
from logic.live.counters import LiveCounters
from logic.live.tools import LiveOptions, LiveSeries, LiveTools

_log = logging.getLogger(__name__)

_REASONS_SHOWN = 3  # of one heal

# Series of one heal: those that wait behind it, and the streamed candles of its own, must not wait long.
_MOST_AT_ONCE = 100


class Healer:
    """Heals series one group at a time. `want` may be called from any thread; the rest from one."""

    def __init__(self, tools: LiveTools, options: LiveOptions, counters: LiveCounters) -> None:
        self._series: Mapping[int, LiveSeries] = {}
        self._tools = tools
        self._counters = counters
        # Witnesses and known gaps are for the runs of cron; a heal only closes holes.
        self._options = dataclasses.replace(
            options.backfill, is_heal=True, heal_gaps=False, witness=False, replaces_catalog=False, patience=None
        )
        self._queue = HealQueue()
        self._lock = threading.Lock()
        self._heals: Counter[int] = Counter()  # by series id

    def add(self, series: Mapping[int, LiveSeries]) -> None:
        """Know more series, by id; one that is known already gets its new range. From any thread."""
        self._series = {**self._series, **series}

    def want(self, series_ids: Collection[int]) -> None:
        """Have series healed soon."""
        with self._lock:
            self._queue.want([one for one in series_ids if one in self._series], self._tools.steady_ms())

    @property
    def waiting(self) -> int:
        """How many series wait for their heal or are being healed."""
        with self._lock:
            return len(self._queue)

    @property
    def series_ids(self) -> set[int]:
        """The series that wait for their heal or are being healed."""
        with self._lock:
            return self._queue.series_ids

    def heals_of(self, series_id: int) -> int:
        """Return how often a series was healed."""
        return self._heals[series_id]

    def heal_due(self, database: Database) -> None:
        """Heal what is due now, at most one group. Raises DatabaseUnavailable and Interrupted."""
        with self._lock:
            ids = self._queue.take(self._tools.steady_ms(), _MOST_AT_ONCE)
        if ids:
            self.heal(database, ids)

    def heal(self, database: Database, ids: Sequence[int]) -> None:
        """Heal the series `ids` now. Raises DatabaseUnavailable and Interrupted; they are then wanted again."""
        whole: set[int] = set()
        with self._lock:
            self._queue.begin(ids)
        try:
            whole = self._backfill(database, [self._series[one] for one in ids])
        except (DatabaseUnavailable, Interrupted):
            raise
        except FetcherError as error:
            _log.error("the holes of %d series cannot be healed now, they are tried again: %s", len(ids), error)
        finally:
            with self._lock:
                self._heals.update(ids)
                for one in ids:
                    self._queue.done(one, one in whole, self._tools.steady_ms())

    def _backfill(self, database: Database, series: Sequence[LiveSeries]) -> set[int]:
        """Run the backfill; return the ids of the series that lack nothing now."""
        with self._tools.open_exchange() as exchange:
            summary = run_ohlcv_backfill(
                database,
                exchange,
                [one.wanted for one in series],
                self._options,
                Observer(),
                self._tools.local_now_ms,
            )
            self._tools.clocks.take(exchange)
            now_ms = {one.wanted.series.market: exchange.now_ms(one.wanted.series.market) for one in series}
        ids = {one.wanted.series: one.id for one in series}
        self._count(summary)
        self._say_failed(summary)
        return {ids[result.series] for result in summary.results if _is_whole(result, now_ms[result.series.market])}

    def _count(self, summary: RunSummary) -> None:
        inserted = sum(result.saved.inserted for result in summary.results)
        self._counters.heals += 1
        self._counters.healed += inserted
        if inserted:
            names = [str(result.series) for result in summary.results if result.saved.inserted]
            _log.info("%d candles healed in %d series: %s", inserted, len(names), ", ".join(names[:5]))

    def _say_failed(self, summary: RunSummary) -> None:
        """Say which series were not healed, those of one reason in one line: hundreds may fail at once."""
        by_reason: dict[str, list[Series]] = {}
        for result in summary.results:
            if result.error is not None:
                by_reason.setdefault(result.error, []).append(result.series)
        for number, (why, series) in enumerate(by_reason.items()):
            if number == _REASONS_SHOWN:
                _log.error("... and %d reasons more for other series", len(by_reason) - number)
                return
            _log.error("%s: not healed now, it is tried again: %s", brief_list(series), why)


def _is_whole(result: SeriesResult, now_ms: int) -> bool:
    """Whether everything up to the last closed candle is there or known not to be at the exchange."""
    end_ms = closed_end(result.series.interval, now_ms)
    return result.outcome == "ok" and result.covered_until_ms is not None and result.covered_until_ms >= end_ms
