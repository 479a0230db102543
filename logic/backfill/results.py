"""The results of a run for each series, and its exit code."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.exit_codes import EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_LOCKED, EXIT_OK, worst
from core.ranges import Span
from core.series import Series
from db.operations import SaveResult


@dataclass(slots=True)
class SeriesResult:
    """The result of one series in this run."""

    series: Series
    saved: SaveResult = field(default_factory=SaveResult)
    rows_by_source: dict[str, int] = field(default_factory=dict)
    chunks: int = 0
    covered_until_ms: int | None = None  # exclusive
    is_broken: bool = False  # what is covered has holes, also such as are too young to be asked for
    open_gaps: list[Span] = field(default_factory=list)  # missing, not explained yet
    too_young: list[Span] = field(default_factory=list)  # missing gaps that nobody can prove yet: halts of these days
    newly_young: list[Span] = field(default_factory=list)  # of these, found by this run
    healed: int = 0  # candles of known gaps that are stored now
    not_at_exchange: int = 0  # slots in the range that are not at the exchange, with evidence
    unexplained: int = 0  # slots in `open_gaps`
    contradicted: int = 0  # stored candles that two other sources contradict
    error: str | None = None
    locked: bool = False
    is_fault: bool = False  # `error` is a fault of this program

    @property
    def outcome(self) -> str:
        """The outcome in one word, for the printed table and state files."""
        if self.locked:
            return "locked"
        if self.error is not None:
            return "failed"
        if self.open_gaps or self.newly_young or self.saved.conflicts or self.contradicted:
            return "incomplete"
        return "ok"

    @property
    def exit_code(self) -> int:
        """The exit code that this series alone would give the run."""
        if self.is_fault:
            return EXIT_FAULT
        return {"ok": EXIT_OK, "locked": EXIT_LOCKED}.get(self.outcome, EXIT_INCOMPLETE)


@dataclass(slots=True)
class RunSummary:
    """The results of a whole run."""

    run_id: str
    results: list[SeriesResult]
    unusable_markets: dict[str, str] = field(default_factory=dict)  # market: why
    unusable_rows: tuple[str, ...] = ()  # rows of public.symbols that name no series, each with why
    seconds: float = 0.0
    weight_used: int = 0

    @property
    def exit_codes(self) -> list[int]:
        """The exit codes of its parts, of which the worst decides."""
        unusable = [EXIT_EXCHANGE] if self.unusable_markets else []
        unusable += [EXIT_INCOMPLETE] if self.unusable_rows else []
        return [*unusable, *(result.exit_code for result in self.results)]

    @property
    def exit_code(self) -> int:
        """The exit code of the run (docs/commands.md)."""
        return worst(self.exit_codes)
