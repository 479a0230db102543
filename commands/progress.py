"""The progress bar that a person sees while a command works. Nothing of it in a file or a pipe."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from commands.context import CommandContext
from commands.options import OutputOptions
from core.plan import Estimate
from core.series import Series
from logic.backfill.run import Observer
from logic.verify.verification import VerifyObserver

_WIDE = 100  # columns


class ProgressBar(Observer, VerifyObserver):
    """One bar for the whole run: share done, speed, request weight used, time left."""

    def __init__(self, console: Console | None, weight_used: Callable[[], int] | None = None) -> None:
        self._weight_used = weight_used
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[told]}", markup=False),
            TimeRemainingColumn(),
            console=console or Console(quiet=True),
            transient=True,
            disable=console is None,
        )
        self._is_wide = console is not None and console.width >= _WIDE
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, total: int, doing: str) -> None:
        """Begin, or begin anew, with `total` steps to do."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(doing, total=total, told="")

    def advance(self, steps: int, doing: str) -> None:
        """Move the bar."""
        if self._task is None:
            return
        self._progress.update(self._task, advance=steps, description=doing)

    def planned(self, total: Estimate) -> None:
        """Start the bar of a backfill, which counts candles."""
        self.start(total.rows, "backfill")

    def committed(self, series: Series, rows_planned: int) -> None:
        """Move the bar of a backfill."""
        self.advance(rows_planned, str(series))
        if self._task is None:
            return
        speed = next((task.speed for task in self._progress.tasks if task.id == self._task), None)
        told = [f"{speed:,.0f} candles/s"] if speed else []
        if self._is_wide and self._weight_used is not None:
            told.append(f"weight {self._weight_used():,}")
        self._progress.update(self._task, told=", ".join(told))

    def waiting(self, series: int) -> None:
        """Show that another run is waited for."""
        self.start(1, f"waiting for another run, which has {series:,} series")

    def chosen(self, spans: int) -> None:
        """Start the bar of a verification, which counts ledger spans."""
        self.start(spans, "verify")

    def verified(self, series: Series) -> None:
        """Move the bar of a verification."""
        self.advance(1, f"verify {series}")


def progress_bar(
    context: CommandContext, output: OutputOptions, weight_used: Callable[[], int] | None = None
) -> ProgressBar:
    """Return a bar on stderr; one that shows nothing with --json or --quiet and where stderr is no terminal."""
    is_shown = context.stderr.is_terminal and not output.json and not output.is_quiet
    return ProgressBar(context.stderr if is_shown else None, weight_used)
