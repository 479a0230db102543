"""The progress bar that a person sees while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from core.plan import Estimate
from core.series import Series
from logic.backfill.ohlcv_handler import Observer


class ProgressDisplay(Observer):
    """One bar for the whole run: candles, rate, request weight used, time left."""

    def __init__(self, console: Console, weight_used: Callable[[], int]) -> None:
        self._weight_used = weight_used
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} candles"),
            TextColumn("{task.fields[rate]}/s"),
            TextColumn("weight {task.fields[weight]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, total: Estimate) -> None:
        """Start the bar."""
        self._task = self._progress.add_task("planned", total=total.rows, rate="-", weight=0)

    def committed(self, series: Series, rows_planned: int) -> None:
        """Move the bar."""
        if self._task is None:
            return
        self._progress.update(self._task, advance=rows_planned)
        speed = next((task.speed for task in self._progress.tasks if task.id == self._task), None)
        self._progress.update(
            self._task,
            description=str(series),
            rate=f"{speed:,.0f}" if speed else "-",
            weight=f"{self._weight_used():,}",
        )
