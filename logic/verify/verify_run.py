"""One run of `verify`: chooses ledger spans, locks series, opens markets, handles failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from core.closing import closed_end
from core.errors import SeriesError
from core.exit_codes import EXIT_EXCHANGE, worst
from core.ranges import Span, TimeRange, subtract
from core.sources import AllowedSources
from core.subset import Part
from core.times import END_OF_TIME_MS
from db.catalog import CatalogRow
from db.connection import Database
from db.ledger import LedgerEntry, load_entries
from db.locks import try_lock_series, unlock_series
from db.schema import table_exists
from db.verification_choice import ChosenSpans, Selection, choose_spans, load_chosen
from fetcher.source import ExchangeSource
from logic.clocks import keep_clocks
from logic.failures import SeriesEnd, failing_alone
from logic.series_locks import Patience, left_to_another_run
from logic.series_session import SeriesSession
from logic.verify.verification import SeriesVerification, VerifyObserver
from logic.verify.verifier import Verifier
from logic.verify.witnessing import WitnessVerifier

_log = logging.getLogger(__name__)

_ALL_TIME = Span(0, END_OF_TIME_MS)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The operator's options for a verification."""

    run_id: str
    against: AllowedSources
    repair: bool
    only_longer: bool  # only against longer candles of another source
    part: Part | None
    share: Fraction | None
    times: TimeRange
    patience: Patience | None = None  # for series that another run is working on; None: they are left out at once
    witness: bool = True  # without --against: also look for witnesses of what is equal
    provisional_until_ms: int | None = None  # of an audit: only provisional spans that end by then (epoch ms)

    @property
    def looks_for_witnesses(self) -> bool:
        """Whether spans are also held against longer candles of another source."""
        return self.only_longer or (self.witness and self.against is AllowedSources.AUTO)

    @property
    def takes_everything(self) -> bool:
        """Whether each series is verified as a whole, including rows that no run has fetched."""
        is_choice = self.part is not None or self.share is not None or self.provisional_until_ms is not None
        return not self.only_longer and not is_choice and self.times.is_unbounded


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
    with database.transaction("choose what to verify") as tx:
        selection = Selection(
            options.times, options.part, options.share, options.looks_for_witnesses, options.provisional_until_ms
        )
        chosen = choose_spans(tx, {row.id: str(row.series) for row in rows}, selection)
    observer.chosen(sum(chosen.counts.values()))
    results = [SeriesVerification(row, chosen.counts[row.id]) for row in rows if row.id in chosen.counts]
    to_do = results
    while to_do:
        for result in to_do:
            row = result.row
            session = SeriesSession(database, exchange, row.series, row.id, options.run_id, local_now_ms())
            verifier = Verifier(session, result, options.against, options.repair, observer)
            _verify_one(verifier, chosen, options)
        to_do = [result for result in to_do if result.is_locked]
        if not to_do or options.patience is None:
            break
        observer.waiting(len(to_do))
        if not options.patience.wait():
            break
    if to_do:
        _log.info(left_to_another_run([result.series for result in to_do]))
    failures = {market.value: str(why) for market, why in exchange.failures().items()}
    return VerifySummary(options.run_id, results, failures)


def _verify_one(verifier: Verifier, chosen: ChosenSpans, options: VerifyOptions) -> None:
    result, database, series = verifier.result, verifier.session.database, verifier.session.series

    def end(why: SeriesEnd) -> None:
        result.error, result.is_fault = why.error, why.is_fault

    with database.transaction(f"lock {series}") as tx:
        result.is_locked = not try_lock_series(tx, [result.row.id])
    if result.is_locked:
        return
    result.spans = 0  # those that were chosen; another run may have changed some since
    try:
        with failing_alone(series, end):
            _verify_locked(verifier, chosen, options)
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


def _verify_locked(verifier: Verifier, chosen: ChosenSpans, options: VerifyOptions) -> None:
    session, row = verifier.session, verifier.result.row
    with session.database.transaction(f"look for table {session.table}") as tx:
        if not table_exists(tx, session.table):
            raise SeriesError(f"table public.{session.table} does not exist; run a backfill")
    if verifier.against.rest and not row.listing.is_unlisted:
        session.exchange.open_market(session.series.market, {session.series.symbol})
        keep_clocks(session.database, session.exchange, [(session.series.exchange, session.series.market)])
    with session.database.transaction(f"read the ledger of {session.series}") as tx:
        known = load_entries(tx, row.id, session.table)
        mine = load_chosen(tx, chosen, row.id, session.table)
    if options.takes_everything:
        verifier.verify_outside(subtract([_ALL_TIME], [entry.span for entry in known]))
    if options.only_longer:
        result = verifier.result
        result.spans += len(mine)
        result.rows += sum(entry.rows for entry in mine)
        result.verified += len(mine) - _witness(verifier, mine, known)
        return
    verifier.verify([entry for entry in mine if not _may_change(session, entry)])
    if options.looks_for_witnesses:
        with session.database.transaction(f"read the ledger of {session.series}") as tx:
            now = load_entries(tx, row.id, session.table)
        verified = [entry for entry in now if entry.verified_ms == session.now_ms and entry.witnessed_ms is None]
        verifier.result.verified -= _witness(verifier, verified, now)


def _may_change(session: SeriesSession, entry: LedgerEntry) -> bool:
    """Whether its last candle has just come by a stream: REST counts it as closed, and settled, some seconds later."""
    if not session.exchange.is_clock_set(session.series.market):
        return False
    return entry.span.end_ms > closed_end(session.series.interval, session.exchange_now_ms())


def _witness(verifier: Verifier, entries: Sequence[LedgerEntry], known: Sequence[LedgerEntry]) -> int:
    """Hold `entries` against longer candles; return how many are contradicted or in doubt."""
    if not entries:
        return 0
    allowed = AllowedSources.ARCHIVE if verifier.result.row.listing.is_unlisted else verifier.against
    return WitnessVerifier(verifier.session, verifier.result, allowed, verifier.may_repair).verify(entries, known)
