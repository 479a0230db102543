"""One backfill under way: its parts, its options, and the series in it."""

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
from logic.series_session import SeriesSession


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """What the operator decides about a backfill."""

    run_id: str
    policy: FetchPolicy
    workers: int
    heal_gaps: bool
    replaces_catalog: bool  # the wanted series came from a symbols.yml, which the catalog follows
    timescale: bool
    compress_after_days: int
    state_dir: Path


class Observer:
    """What a run tells whoever watches it. Does nothing; a display overrides it."""

    def planned(self, total: Estimate) -> None:
        """All plans are made; `total` is what they will fetch."""

    def committed(self, series: Series, rows_planned: int) -> None:
        """A chunk is in the database; `rows_planned` is its share of the estimate."""


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
        """The series that are not over."""
        return [task for task in self.tasks if not task.is_over]

    def session(self, task: SeriesTask) -> SeriesSession:
        """Return what the steps about one series need."""
        series = task.wanted.series
        return SeriesSession(
            self.database, self.exchange, series, task.row.id, self.options.run_id, self.local_now_ms()
        )

    def failing_alone(self, task: SeriesTask) -> AbstractContextManager[None]:
        """Let an error of one series end that series, and an unusable market end the series of that market."""

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
