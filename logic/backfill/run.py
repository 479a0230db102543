"""A running backfill: its database and exchange, its options, and its series."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from core.instrument import Market
from core.plan import Estimate
from core.series import Series
from db.connection import Database
from fetcher.source import ExchangeSource
from logic.backfill.series_task import SeriesTask
from logic.failures import SeriesEnd, failing_alone
from logic.planning.series_plan import FetchPolicy
from logic.series_locks import Patience
from logic.series_session import SeriesSession


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """The operator's options for a backfill."""

    run_id: str
    policy: FetchPolicy
    workers: int
    heal_gaps: bool
    witness: bool  # hold new candles against longer ones from another source
    replaces_catalog: bool  # they are all of symbols.yml or public.symbols: sync the catalog with it
    timescale: bool
    compress_after_days: int
    state_dir: Path
    is_heal: bool = False  # one of a live service, which sums up itself what went well
    patience: Patience | None = None  # for series that another run is working on; None: they are left to it at once


class Observer:
    """Gets notified of a run's progress. Does nothing; a display overrides its methods."""

    def waiting(self, series: int) -> None:
        """Called when the run waits for so many series that another run is working on."""

    def planned(self, total: Estimate) -> None:
        """Called when all series are planned; `total` is the expected cost of all chunks."""

    def committed(self, series: Series, rows_planned: int) -> None:
        """Called when a chunk is committed; `rows_planned` is its part of the estimated rows."""


@dataclass(frozen=True, slots=True)
class BackfillRun:
    """What every step of a backfill needs."""

    database: Database
    exchange: ExchangeSource
    options: BackfillOptions
    observer: Observer
    local_now_ms: Callable[[], int]
    tasks: list[SeriesTask] = field(default_factory=list)

    @property
    def open_tasks(self) -> list[SeriesTask]:
        """The series that have not ended."""
        return [task for task in self.tasks if not task.is_over]

    def session(self, task: SeriesTask) -> SeriesSession:
        """Return what every step needs to work on the series of `task`."""
        series = task.wanted.series
        return SeriesSession(
            self.database, self.exchange, series, task.row.id, self.options.run_id, self.local_now_ms()
        )

    def failing_alone(self, task: SeriesTask) -> AbstractContextManager[None]:
        """Return a context in which an error ends only this series, and an unusable market all of its series."""

        def end(why: SeriesEnd) -> None:
            if why.is_market:
                self.fail_market(task.wanted.series.market)
            else:
                task.end(why.error, why.is_fault)

        return failing_alone(task.wanted.series, end)

    def fail_market(self, market: Market) -> None:
        """End all series of a market that cannot be used."""
        for task in self.open_tasks:
            if task.wanted.series.market is market:
                task.end(f"market {market} cannot be used")
