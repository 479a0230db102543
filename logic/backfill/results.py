"""What a run did, series by series, and the exit code that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.exit_codes import EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_LOCKED, EXIT_OK, worst
from core.ranges import Span
from core.series import Series
from db.operations import SaveResult


@dataclass(slots=True)
class SeriesResult:
    """What became of one series in this run."""

    series: Series
    saved: SaveResult = field(default_factory=SaveResult)
    rows_by_source: dict[str, int] = field(default_factory=dict)
    chunks: int = 0
    covered_until_ms: int | None = None  # exclusive
    open_gaps: list[Span] = field(default_factory=list)  # not there, not explained yet
    healed: int = 0  # candles of known gaps that came in after all
    not_at_exchange: int = 0  # slots in the range that are not at the exchange, with evidence
    unexplained: int = 0  # slots in `open_gaps`
    error: str | None = None
    locked: bool = False
    is_fault: bool = False  # `error` is a fault of this program

    @property
    def outcome(self) -> str:
        """One word for tables and state files."""
        if self.locked:
            return "locked"
        if self.error is not None:
            return "failed"
        if self.open_gaps or self.saved.conflicts:
            return "incomplete"
        return "ok"

    @property
    def exit_code(self) -> int:
        """What this series alone would end the run with."""
        if self.is_fault:
            return EXIT_FAULT
        return {"ok": EXIT_OK, "locked": EXIT_LOCKED}.get(self.outcome, EXIT_INCOMPLETE)


@dataclass(slots=True)
class RunSummary:
    """The whole run."""

    run_id: str
    results: list[SeriesResult]
    unusable_markets: dict[str, str] = field(default_factory=dict)  # market: why
    seconds: float = 0.0
    weight_used: int = 0

    @property
    def exit_code(self) -> int:
        """The number for cron."""
        unusable = [EXIT_EXCHANGE] if self.unusable_markets else []
        return worst([*unusable, *(result.exit_code for result in self.results)])
