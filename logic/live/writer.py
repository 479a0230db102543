"""Stores closed candles in rounds: what has come since the last round, of all series, in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import assert_never

from core.closed_round import CandleOutcome, Fate, OpenRow
from core.errors import DatabaseUnavailable
from db.closed_candles import RoundCommit, commit_round
from db.connection import Database
from logic.live.counters import LiveCounters
from logic.live.tools import LiveTools
from logic.live.waiting_candles import WaitingCandle, WaitingCandles

_log = logging.getLogger(__name__)

_MOST_OF_A_ROUND = 3_000
_IDLE_S = 0.25
_FIRST_BUSY_S, _LONGEST_BUSY_S = 0.05, 4.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


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
        self._busy: dict[int, float] = {}  # how long a series was last left alone, by id

    def run(self) -> None:
        """Store what comes until the queue is closed and empty, also across losses of the database."""
        pause_s = _FIRST_PAUSE_S
        while not self._is_done():
            try:
                with self._tools.open_database() as database:
                    while not self._is_done():
                        self._round(database)
                        pause_s = _FIRST_PAUSE_S
            except DatabaseUnavailable as error:
                _log.error("%d closed candles wait for the database: %s", len(self._waiting), error)
                if self._waiting.is_closed:
                    return  # they are named as not stored; the next run fetches them
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

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
        self._note(candles, outcomes)

    def _note(self, candles: Sequence[WaitingCandle], outcomes: Sequence[CandleOutcome]) -> None:
        committed_ns = time.monotonic_ns()
        waited = {id(one.candle): one for one in candles}
        again: list[WaitingCandle] = []
        lacking: set[int] = set()
        for one in outcomes:
            candle, was = one.candle, waited[id(one.candle)]
            match one.fate:
                case Fate.STORED | Fate.EQUAL:
                    self._stored(was, one.fate is Fate.STORED)
                    self._busy.pop(candle.series_id, None)
                    if one.fate is Fate.STORED:
                        self._counters.stored += 1
                        self._counters.to_commit.add((committed_ns - was.received_ns) / 1e6)
                    else:
                        self._counters.already_there += 1
                case Fate.BUSY | Fate.FAILED:
                    again.append(was)
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
        if lacking:
            self._heal(lacking)

    def _hold(self, candles: Sequence[WaitingCandle]) -> None:
        """Give candles back whose series another run is working on; it is tried again, ever more rarely."""
        by_series: dict[int, list[WaitingCandle]] = {}
        for one in candles:
            by_series.setdefault(one.series_id, []).append(one)
        now_s = time.monotonic()
        for series_id, of_series in by_series.items():
            pause_s = self._busy[series_id] = min(2 * self._busy.get(series_id, _FIRST_BUSY_S / 2), _LONGEST_BUSY_S)
            self._waiting.give_back(of_series, now_s + pause_s)
