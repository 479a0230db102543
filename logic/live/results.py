"""The result of a live run, and its exit code."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.exit_codes import EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_LOCKED, EXIT_OK, worst
from core.series import Series, brief_list
from logic.backfill.results import RunSummary, SeriesResult
from logic.live.counters import LiveCounters
from logic.live.record_results import RecordSummary, summarize_records
from logic.live.service import LiveService
from logic.live.statistics import LiveStatistics


@dataclass(frozen=True, slots=True)
class LiveSummary:
    """The result of a whole live run."""

    run_id: str
    seconds: float
    counters: LiveCounters
    streamed: int  # series
    live: int  # of these, those that deliver now
    left_out: dict[Series, str]  # not streamed, with why
    silent: dict[Series, str]  # their stream delivered nothing at the end
    unusable_markets: dict[str, str]
    unsaved: int  # closed candles that were received and are not stored: the next run fetches them
    unhealed: int  # series whose holes were not healed yet
    backfill: RunSummary | None = field(default=None)  # None: it ended early
    is_backfill_interrupted: bool = False
    statistics: LiveStatistics = field(default_factory=LiveStatistics)
    records: RecordSummary = field(default_factory=RecordSummary)  # of the other kinds

    @property
    def needs(self) -> list[str]:
        """What a person should know or do; empty when all is well."""
        told = [f"streams of market {market} cannot be used: {why}" for market, why in self.unusable_markets.items()]
        by_reason: dict[str, list[Series]] = {}
        for series, why in self.silent.items():
            by_reason.setdefault(why, []).append(series)
        told += [f"{brief_list(silent)}: the stream delivers nothing: {why}" for why, silent in by_reason.items()]
        if self.unsaved:
            told.append(f"{self.unsaved:,} closed candles were received and not stored; the next run fetches them")
        if self.unhealed:
            told.append(f"{self.unhealed:,} series may lack candles; the next run fetches them")
        if self.is_backfill_interrupted:
            told.append("the backfill was not finished; the next run goes on with it")
        if self.counters.conflicts:
            told.append(
                f"{self.counters.conflicts:,} streamed candles differ from stored ones, which stayed; "
                "run verify to see which are right"
            )
        told += self.records.needs
        if self.counters.faults:
            told.append("an unexpected fault ended the run, please report it; the log has it")
        return told

    @property
    def exit_code(self) -> int:
        """The exit code of the run (docs/commands.md)."""
        found = self._codes_of_backfill()
        if self.counters.faults:
            found.append(EXIT_FAULT)
        if self.unusable_markets:
            found.append(EXIT_EXCHANGE)
        if self.records.needs:
            found.append(EXIT_INCOMPLETE)
        if self.silent or self.unsaved or self.unhealed or self.counters.conflicts or self.is_backfill_interrupted:
            found.append(EXIT_INCOMPLETE)
        return worst(found) if found else EXIT_OK

    def _codes_of_backfill(self) -> list[int]:
        """Return the exit codes of what the first backfill left undone and nobody has done since.

        A streamed series that it could not finish is healed: `unhealed` has those that still wait.
        """
        if self.backfill is None:
            return []
        codes = [
            result.exit_code
            for result in self.backfill.results
            if result.series in self.left_out or not is_left_to_heal(result)
        ]
        lasting = {series.market.value for series in self.left_out}
        if lasting & self.backfill.unusable_markets.keys():
            codes.append(EXIT_EXCHANGE)
        if self.backfill.unusable_rows:
            codes.append(EXIT_INCOMPLETE)
        return codes


def is_left_to_heal(result: SeriesResult) -> bool:
    """Whether a backfill could not finish a series, and a later try may."""
    return result.exit_code == EXIT_LOCKED or (result.error is not None and not result.is_fault)


def summarize(
    service: LiveService,
    run_id: str,
    seconds: float,
    left_out: dict[Series, str],
    backfill: RunSummary | None,
    is_backfill_interrupted: bool,
) -> LiveSummary:
    """Return the result of a service that was stopped."""
    return LiveSummary(
        run_id=run_id,
        seconds=seconds,
        counters=service.counters,
        streamed=service.streamed,
        live=service.sink.live,
        left_out=left_out,
        silent=service.sink.silent,
        unusable_markets={market.value: why for market, why in service.sink.unusable_markets.items()},
        unsaved=len(service.waiting),
        statistics=service.statistics,
        records=summarize_records(service.records, service.counters),
        unhealed=service.healer.waiting,
        backfill=backfill,
        is_backfill_interrupted=is_backfill_interrupted,
    )
