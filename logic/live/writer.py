"""Stores closed candles in rounds: what has come since the last round, of all series, in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import assert_never

from core.closed_round import CandleOutcome, Fate, OpenRow
from core.errors import DatabaseUnavailable
from core.seldom import Seldom
from core.series import Series, brief_list
from db.closed_candles import RoundCommit, commit_round
from db.connection import Database
from logic.live.counters import LiveCounters
from logic.live.tools import LiveTools
from logic.live.waiting_candles import WaitingCandle, WaitingCandles

_log = logging.getLogger(__name__)

_MOST_OF_A_ROUND = 3_000
_IDLE_S = 0.25
_FIRST_BUSY_MS, _LONGEST_BUSY_MS = 50, 4_000
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 1_000, 30_000


class LiveWriter:
    """The writer's work, for a thread of its own.

    `heal` is called with series that may lack candles, `stored` with each series' newest committed candle.
    """

    def __init__(
        self,
        waiting: WaitingCandles,
        tools: LiveTools,
        run_id: str,
        heal: Callable[[Collection[int]], None],
        stored: Callable[[WaitingCandle, bool], None],
        counters: LiveCounters,
    ) -> None:
        self._waiting, self._tools, self._run_id = waiting, tools, run_id
        self._heal, self._stored, self._counters = heal, stored, counters
        self._open_rows: dict[int, OpenRow] = {}
        self._busy: dict[int, int] = {}  # how long (ms) a series was last left alone, by id
        self._failing: set[Series] = set()  # said, and left to a heal
        self._away = Seldom()

    def run(self) -> None:
        """Store what comes until the queue is closed and empty, also across losses of the database."""
        pause_ms = _FIRST_PAUSE_MS
        while not self._is_done():
            try:
                with self._tools.open_database() as database:
                    while not self._is_done():
                        self._round(database)
                        pause_ms = _FIRST_PAUSE_MS
            except DatabaseUnavailable as error:
                if self._away.is_due(time.monotonic()):
                    _log.error("%d closed candles wait for the database: %s", len(self._waiting), error)
                if self._waiting.is_closed:
                    return  # they are named as not stored; the next run fetches them
                time.sleep(self._tools.seconds(pause_ms))
                pause_ms = min(2 * pause_ms, _LONGEST_PAUSE_MS)

    def _is_done(self) -> bool:
        return self._waiting.is_closed and len(self._waiting) == 0

    def _round(self, database: Database) -> None:
        candles = self._waiting.take(_MOST_OF_A_ROUND, time.monotonic())
        if not candles:
            self._waiting.wait(_IDLE_S)
            return
        commit = RoundCommit(self._run_id, self._tools.local_now_ms())
        try:
            outcomes = commit_round(database, [one.candle for one in candles], self._open_rows, commit)
        except BaseException:
            self._waiting.give_back(candles, time.monotonic())
            raise
        if self._away.ends():
            _log.warning("the database is back, closed candles are stored again")
        self._note(candles, outcomes)

    def _note(self, candles: Sequence[WaitingCandle], outcomes: Sequence[CandleOutcome]) -> None:
        committed_ns = time.monotonic_ns()
        waited = {id(one.candle): one for one in candles}
        again: list[WaitingCandle] = []
        failed: dict[Series, CandleOutcome] = {}
        lacking: set[int] = set()
        for one in outcomes:
            candle, was = one.candle, waited[id(one.candle)]
            match one.fate:
                case Fate.STORED | Fate.EQUAL:
                    self._stored(was, one.fate is Fate.STORED)
                    self._busy.pop(candle.series_id, None)
                    self._failing.discard(candle.series)
                    if one.fate is Fate.STORED:
                        self._counters.stored += 1
                        self._counters.to_commit.add((committed_ns - was.received_ns) / 1e6)
                    else:
                        self._counters.already_there += 1
                case Fate.BUSY | Fate.FAILED:
                    again.append(was)
                    if one.fate is Fate.FAILED:
                        failed[candle.series] = one
                case Fate.CONFLICT:
                    self._counters.conflicts += 1
                    _log.warning("%s: a streamed candle differs from the stored one: %s", candle.series, one.why)
                    if not one.is_covered:
                        lacking.add(candle.series_id)
                case Fate.IMPOSSIBLE | Fate.GAP:
                    self._counters.unusable[one.why or one.fate.value] += 1
                    _log.warning("%s: a streamed candle is not stored, REST is asked: %s", candle.series, one.why)
                    lacking.add(candle.series_id)
                case _:
                    assert_never(one.fate)
            if one.after_hole:
                lacking.add(candle.series_id)
        self._hold(again)
        lacking |= self._cannot_store(failed)
        if lacking:
            self._heal(lacking)

    def _cannot_store(self, failed: Mapping[Series, CandleOutcome]) -> set[int]:
        """Say which series cannot be stored for longer than a lock lasts; return their ids, for a heal.

        A heal makes a table that is gone anew, and names what is wrong with one that was changed.
        """
        lasting = {
            series: one for series, one in failed.items() if self._busy.get(one.candle.series_id, 0) >= _LONGEST_BUSY_MS
        }
        news = [series for series in lasting if series not in self._failing]
        if news:
            self._failing |= set(news)
            _log.warning("closed candles of %s wait, they cannot be stored: %s", brief_list(news), failed[news[0]].why)
        return {one.candle.series_id for one in lasting.values()}

    def _hold(self, candles: Sequence[WaitingCandle]) -> None:
        """Give candles back whose series another run is working on; it is tried again, ever more rarely."""
        by_series: dict[int, list[WaitingCandle]] = {}
        for one in candles:
            by_series.setdefault(one.series_id, []).append(one)
        now_s = time.monotonic()
        for series_id, of_series in by_series.items():
            pause_ms = min(2 * self._busy.get(series_id, _FIRST_BUSY_MS // 2), _LONGEST_BUSY_MS)
            self._busy[series_id] = pause_ms
            self._waiting.give_back(of_series, now_s + self._tools.seconds(pause_ms))
