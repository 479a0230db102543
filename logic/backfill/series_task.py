"""One series on its way through a run, and its state file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from core.gaps import Gap
from core.ranges import Span
from core.times import format_ms
from core.wanted import WantedSeries
from db.catalog import CatalogRow
from logic.backfill.results import SeriesResult
from logic.planning.series_plan import SeriesPlan
from logic.state_files import SeriesState, load_state, save_state

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SeriesTask:
    """One series on its way through the run."""

    wanted: WantedSeries
    row: CatalogRow
    result: SeriesResult
    covered: list[Span]
    open_gaps: list[Gap] = field(default_factory=list)  # as the run found them
    gaps_changed: bool = False  # this run has written gaps of it: what `open_gaps` says is old
    table_exists: bool = True
    last_candle_ms: int | None = None  # open time of the newest stored candle
    plan: SeriesPlan | None = None
    state: SeriesState | None = None  # what the state file said when the run began

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done for it in this run."""
        return self.result.error is not None or self.result.locked

    def fail(self, error: Exception) -> None:
        """End it with `error`; the first error stays."""
        if self.result.error is None:
            _log.error("%s failed: %s", self.wanted.series, error)
            self.result.error = str(error)


def compare_state(task: SeriesTask, state_dir: Path) -> None:
    """Read the state file and say when it is not what the database knows. The database decides, the run rewrites it."""
    covered_until_ms = task.covered[-1].end_ms if task.covered else None
    state = task.state = load_state(state_dir, task.wanted.series)
    if state is None:
        if covered_until_ms is not None:
            _log.warning("%s: no usable state file; it is rebuilt from the database", task.wanted.series)
    elif state.covered_until_ms != covered_until_ms:
        _log.warning(
            "%s: the state file says covered to %s, the database %s; the database decides",
            task.wanted.series,
            shown(state.covered_until_ms),
            shown(covered_until_ms),
        )


def keep_state(task: SeriesTask, state_dir: Path, run_id: str, now_ms: int, outcome: str) -> None:
    """Write how far the series got into its state file; a file that cannot be written is only said."""
    life = task.plan.life if task.plan is not None else None
    state = SeriesState(
        listing_ms=life.listing_ms if life is not None and life.listing_ms is not None else task.row.listing_ms,
        covered_until_ms=task.covered[-1].end_ms if task.covered else None,
        last_candle_ms=task.last_candle_ms,
        last_run_id=run_id,
        last_run_ms=now_ms,
        last_result=outcome,
    )
    try:
        save_state(state_dir, task.wanted.series, state)
    except OSError as error:
        # The database holds the truth; a cache that cannot be written must not stop the fetching.
        _log.warning("%s: the state file cannot be written: %s", task.wanted.series, error)


def shown(ms: int | None) -> str:
    """Return a time for messages."""
    return "nothing" if ms is None else format_ms(ms)
