"""The state of one series during a backfill, and its state file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.gaps import Gap
from core.plan import Chunk
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
    """One series during a backfill."""

    wanted: WantedSeries
    row: CatalogRow
    result: SeriesResult
    covered: list[Span]
    open_gaps: list[Gap] = field(default_factory=list)  # at the start of the run
    is_heal: bool = False  # of a live service, which sums up itself what failed
    gaps_changed: bool = False  # this run has written gaps, so `open_gaps` is out of date
    table_exists: bool = True
    last_candle_ms: int | None = None  # open time of the newest stored candle
    plan: SeriesPlan | None = None
    absent: list[Span] = field(default_factory=list)  # in no archive file, and REST may not be asked: noted as gaps
    state: SeriesState | None = None  # of the state file, at the start of the run

    @property
    def is_over(self) -> bool:
        """Whether the series failed or is locked by another run."""
        return self.result.error is not None or self.result.locked

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks to fetch; none without a plan."""
        return self.plan.chunks if self.plan is not None else ()

    def fail(self, error: Exception) -> None:
        """End the series with `error`, which is logged; by a heal it is summed up instead."""
        _log.log(logging.DEBUG if self.is_heal else logging.ERROR, "%s failed: %s", self.wanted.series, error)
        self.end(str(error))

    def end(self, error: str, is_fault: bool = False) -> None:
        """End the series; only the first error is kept."""
        if self.result.error is None:
            self.result.error = error
            self.result.is_fault = is_fault

    def gaps_among(self, holes: Sequence[Span], now_ms: int) -> list[Span]:
        """Return the holes that count as gaps: not an unsettled end, not the time before the first archive file."""
        edges = self.plan.edges if self.plan is not None else None
        return [hole for hole in holes if edges is None or not edges.is_edge(hole, now_ms)]


def compare_state(task: SeriesTask, state_dir: Path) -> None:
    """Read the state file; log when it claims more than the database, which is right. The run rewrites the file.

    A file that lags behind is nothing odd: a stream commits more often than it writes its state files.
    """
    covered_until_ms = task.covered[-1].end_ms if task.covered else None
    state = task.state = load_state(state_dir, task.wanted.series)
    if state is None:
        if covered_until_ms is not None:
            _log.warning("%s: no usable state file; it is rebuilt from the database", task.wanted.series)
    elif state.covered_until_ms is not None and state.covered_until_ms > (covered_until_ms or 0):
        _log.warning(
            "%s: the state file says covered to %s, the database %s; the database decides",
            task.wanted.series,
            shown(state.covered_until_ms),
            shown(covered_until_ms),
        )


def keep_state(task: SeriesTask, state_dir: Path, run_id: str, now_ms: int, outcome: str) -> None:
    """Write the state file of the series. A file that cannot be written is only logged."""
    listing = task.row.listing
    state = SeriesState(
        listing_ms=(listing if task.plan is None else listing.updated_by(task.plan.listing)).first_ms,
        covered_until_ms=task.covered[-1].end_ms if task.covered else None,
        last_candle_ms=task.last_candle_ms,
        last_run_id=run_id,
        last_run_ms=now_ms,
        last_result=outcome,
    )
    try:
        save_state(state_dir, task.wanted.series, state)
    except OSError as error:
        # The state file is only a copy of what the database knows: fetching goes on without it.
        _log.warning("%s: the state file cannot be written: %s", task.wanted.series, error)


def shown(ms: int | None) -> str:
    """Return a time (epoch ms) for messages; None is shown as "nothing"."""
    return "nothing" if ms is None else format_ms(ms)
