"""Keeps the state files of streamed series current, each at most once a minute."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from core.seldom import Seldom
from core.times import MS_PER_MINUTE
from logic.live.tools import LiveSeries
from logic.state_files import SeriesState, load_state, save_state

_log = logging.getLogger(__name__)


class StateKeeper:
    """Notes what was stored and writes it to the state files later. Thread-safe."""

    def __init__(self, folder: Path, run_id: str, now_ms: Callable[[], int], steady_ms: Callable[[], int]) -> None:
        self._series: Mapping[int, LiveSeries] = {}
        self._folder, self._run_id = folder, run_id
        self._now_ms, self._steady_ms = now_ms, steady_ms
        self._failing = Seldom()
        self._lock = threading.Lock()
        self._newest: dict[int, int] = {}  # open time by series id, not written yet
        self._next_ms = steady_ms() + MS_PER_MINUTE

    def add(self, series: Mapping[int, LiveSeries]) -> None:
        """Know more series, by id. From any thread."""
        self._series = {**self._series, **series}

    def stored(self, series_id: int, open_ms: int) -> None:
        """Note that the candle of `open_ms` is committed."""
        with self._lock:
            self._newest[series_id] = max(open_ms, self._newest.get(series_id, open_ms))

    def write_due(self) -> None:
        """Write the files when a minute has passed."""
        if self._steady_ms() >= self._next_ms:
            self._next_ms = self._steady_ms() + MS_PER_MINUTE
            self.write()

    def write(self) -> None:
        """Write the files of all series with news. A file that cannot be written is only logged."""
        with self._lock:
            newest, self._newest = self._newest, {}
        failures: list[OSError] = []
        for series_id, open_ms in newest.items():
            series = self._series[series_id].wanted.series
            known = load_state(self._folder, series) or SeriesState()
            state = dataclasses.replace(
                known,
                covered_until_ms=max(series.interval.add(open_ms, 1), known.covered_until_ms or 0),
                last_candle_ms=max(open_ms, known.last_candle_ms or 0),
                last_run_id=self._run_id,
                last_run_ms=self._now_ms(),
                last_result="live",
            )
            try:
                save_state(self._folder, series, state)
            except OSError as error:
                failures.append(error)
        if not failures:
            self._failing.ends()
        elif self._failing.is_due(self._steady_ms() / 1000):
            told = "%d state files cannot be written, the database has it all: %s"
            _log.warning(told, len(failures), failures[0])
