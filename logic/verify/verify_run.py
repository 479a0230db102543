"""One run of `verify`: chooses ledger spans, locks series, opens markets, handles failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from core.errors import SeriesError
from core.exit_codes import EXIT_EXCHANGE, worst
from core.ranges import Span, TimeRange, subtract
from core.sources import AllowedSources
from core.subset import Candidate, Part, choose_longest_waiting, choose_part
from core.times import END_OF_TIME_MS, format_ms
from db.catalog import CatalogRow
from db.connection import Database
from db.ledger import LedgerEntry, load_entries
from db.locks import try_lock_series, unlock_series
from db.schema import table_exists
from fetcher.source import ExchangeSource
from logic.clocks import keep_clocks
from logic.failures import SeriesEnd, failing_alone
from logic.series_locks import Patience, left_to_another_run
from logic.series_session import SeriesSession
from logic.verify.verification import SeriesVerification, VerifyObserver
from logic.verify.verifier import Verifier

_log = logging.getLogger(__name__)

_ALL_TIME = Span(0, END_OF_TIME_MS)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The operator's options for a verification."""

    run_id: str
    against: AllowedSources
    repair: bool
    part: Part | None
    share: Fraction | None
    times: TimeRange
    patience: Patience | None = None  # for series that another run is working on; None: they are left out at once

    @property
    def takes_everything(self) -> bool:
        """Whether each series is verified as a whole, including rows that no run has fetched."""
        return self.part is None and self.share is None and self.times.is_unbounded


@dataclass(slots=True)
class VerifySummary:
    """The results of a whole run."""

    run_id: str
    results: list[SeriesVerification]
    unusable_markets: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code of the run (docs/commands.md)."""
        unusable = [EXIT_EXCHANGE] if self.unusable_markets else []
        return worst([*unusable, *(result.exit_code for result in self.results)])


def run_verify(
    database: Database,
    exchange: ExchangeSource,
    rows: Sequence[CatalogRow],
    options: VerifyOptions,
    local_now_ms: Callable[[], int],
    observer: VerifyObserver,
) -> VerifySummary:
    """Verify the chosen ledger spans of `rows`, one series after the other, and return the results.

    A series that fails does not stop the others. Raises DatabaseUnavailable and Interrupted.
    """
    chosen = _choose(database, rows, options)
    observer.chosen(sum(len(entries) for _, entries in chosen))
    results = [SeriesVerification(row) for row, _ in chosen]
    to_do = list(zip(results, chosen, strict=True))
    while to_do:
        for result, (row, entries) in to_do:
            session = SeriesSession(database, exchange, row.series, row.id, options.run_id, local_now_ms())
            verifier = Verifier(session, result, options.against, options.repair, observer)
            _verify_one(verifier, entries, options.takes_everything)
        to_do = [one for one in to_do if one[0].is_locked]
        if not to_do or options.patience is None:
            break
        observer.waiting(len(to_do))
        if not options.patience.wait():
            break
    if to_do:
        _log.info(left_to_another_run([result.series for result, _ in to_do]))
    failures = {market.value: str(why) for market, why in exchange.failures().items()}
    return VerifySummary(options.run_id, results, failures)


def _choose(
    database: Database, rows: Sequence[CatalogRow], options: VerifyOptions
) -> list[tuple[CatalogRow, list[LedgerEntry]]]:
    """Return the ledger entries to verify by series; series without any are left out."""
    found: list[tuple[CatalogRow, LedgerEntry]] = []
    with database.transaction("read the ledger") as tx:
        for row in rows:
            found += [
                (row, entry)
                for entry in load_entries(tx, row.id, row.series.table_name)
                if (options.times.start_ms is None or entry.span.end_ms > options.times.start_ms)
                and (options.times.end_ms is None or entry.span.start_ms < options.times.end_ms)
            ]
    candidates = [
        Candidate(
            f"{row.series}/{format_ms(entry.span.start_ms)}",
            entry.rows,
            max(ms for ms in (entry.fetched_ms, entry.verified_ms, entry.attempted_ms) if ms is not None),
        )
        for row, entry in found
    ]
    positions: Sequence[int] = range(len(found))
    if options.part is not None:
        positions = choose_part(candidates, options.part)
    elif options.share is not None:
        positions = choose_longest_waiting(candidates, options.share)
    by_series: dict[int, tuple[CatalogRow, list[LedgerEntry]]] = {}
    for position in positions:
        row, entry = found[position]
        by_series.setdefault(row.id, (row, []))[1].append(entry)
    return list(by_series.values())


def _verify_one(verifier: Verifier, entries: Sequence[LedgerEntry], takes_everything: bool) -> None:
    result, database, series = verifier.result, verifier.session.database, verifier.session.series

    def end(why: SeriesEnd) -> None:
        result.error, result.is_fault = why.error, why.is_fault

    with database.transaction(f"lock {series}") as tx:
        result.is_locked = not try_lock_series(tx, [result.row.id])
    if result.is_locked:
        result.spans = len(entries)
        return
    result.spans = 0  # an earlier try may have found it locked
    try:
        with failing_alone(series, end):
            _verify_locked(verifier, entries, takes_everything)
    finally:
        with database.transaction(f"unlock {series}") as tx:
            unlock_series(tx, [result.row.id])
    _log.info(
        "%s: %d of %d spans are what the exchange has, %d candles differ, %d repaired",
        series,
        result.verified,
        result.spans,
        result.differing,
        result.repaired,
    )


def _verify_locked(verifier: Verifier, entries: Sequence[LedgerEntry], takes_everything: bool) -> None:
    session, row = verifier.session, verifier.result.row
    with session.database.transaction(f"look for table {session.table}") as tx:
        if not table_exists(tx, session.table):
            raise SeriesError(f"table public.{session.table} does not exist; run a backfill")
    if verifier.against.rest and not row.listing.is_unlisted:
        session.exchange.open_market(session.series.market, {session.series.symbol})
        keep_clocks(session.database, session.exchange, [(session.series.exchange, session.series.market)])
    with session.database.transaction(f"read the ledger of {session.series}") as tx:
        # The entries were chosen before the lock was taken: another run may have changed some since.
        now = load_entries(tx, row.id, session.table)
    chosen = [entry.span for entry in entries]
    if takes_everything:
        verifier.verify_outside(subtract([_ALL_TIME], [entry.span for entry in now]))
    verifier.verify([entry for entry in now if any(entry.span.intersect(span) for span in chosen)])
