"""One run of `verify`: which spans of which series, locks, markets, failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from core.errors import ExchangeUnavailable, FetcherError, SeriesError
from core.ranges import Span, subtract
from core.subset import Candidate, Part, choose_longest_waiting, choose_part
from core.times import format_ms
from db.catalog import CatalogRow
from db.connection import Database
from db.ledger import LedgerEntry, load_entries
from db.locks import try_lock_series, unlock_series
from db.schema import table_exists
from fetcher.binance.exchange import Exchange
from logic.backfill.results import exit_code_of
from logic.planning.listing import UNLISTED
from logic.verify.verifier import Against, SeriesVerification, Verifier

_log = logging.getLogger(__name__)

_ALL_TIME = Span(0, 4_102_444_800_000)  # to 2100


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What the operator decides about a verification. Times are epoch ms; None: unbounded."""

    run_id: str
    against: Against
    repair: bool
    part: Part | None
    share: Fraction | None
    start_ms: int | None
    end_ms: int | None

    @property
    def takes_everything(self) -> bool:
        """Whether all of each series is verified, rows that no run has fetched included."""
        return self.part is None and self.share is None and self.start_ms is None and self.end_ms is None


@dataclass(slots=True)
class VerifySummary:
    """The whole run."""

    run_id: str
    results: list[SeriesVerification]
    unusable_markets: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The number for cron, as a backfill's."""
        return exit_code_of(
            is_fault=any(result.is_fault for result in self.results),
            is_exchange_unusable=bool(self.unusable_markets),
            is_locked=any(result.is_locked for result in self.results),
            is_incomplete=not all(result.is_clean for result in self.results),
        )


def run_verify(
    database: Database,
    exchange: Exchange,
    rows: Sequence[CatalogRow],
    options: VerifyOptions,
    local_now_ms: Callable[[], int],
) -> VerifySummary:
    """Verify the chosen spans of `rows`, a series at a time, and return what was found.

    One failing series does not stop the others. Raises DatabaseUnavailable and Interrupted.
    """
    chosen = _choose(database, rows, options)
    results = []
    for row, entries in chosen:
        result = SeriesVerification(row)
        results.append(result)
        verifier = Verifier(database, exchange, result, options.against, options.repair, options.run_id, local_now_ms())
        _verify_one(verifier, entries, options.takes_everything)
        _log.info(
            "%s: %d of %d chunks are what the exchange has, %d candles differ, %d repaired",
            row.series,
            result.verified,
            result.chunks,
            result.differing,
            result.repaired,
        )
    failures = {market.value: str(why) for market, why in exchange.failures().items()}
    return VerifySummary(options.run_id, results, failures)


def _choose(
    database: Database, rows: Sequence[CatalogRow], options: VerifyOptions
) -> list[tuple[CatalogRow, list[LedgerEntry]]]:
    """Return the spans to verify, by series; series without any are left out."""
    found: list[tuple[CatalogRow, LedgerEntry]] = []
    with database.transaction("read the ledger") as tx:
        for row in rows:
            found += [
                (row, entry)
                for entry in load_entries(tx, row.id, row.series.table_name)
                if (options.start_ms is None or entry.span.end_ms > options.start_ms)
                and (options.end_ms is None or entry.span.start_ms < options.end_ms)
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
    result, database, exchange = verifier.result, verifier.database, verifier.exchange
    row = result.row
    with database.transaction(f"lock {row.series}") as tx:
        result.is_locked = not try_lock_series(tx, [row.id])
    if result.is_locked:
        result.chunks = len(entries)
        _log.warning("%s: another run is working on it; left out", row.series)
        return
    try:
        with database.transaction(f"look for table {row.series.table_name}") as tx:
            if not table_exists(tx, row.series.table_name):
                raise SeriesError(f"{row.series}: table public.{row.series.table_name} does not exist; run a backfill")
        if verifier.against is not Against.ARCHIVE and row.status != UNLISTED:
            exchange.open_market(row.series.market, {row.series.symbol})
        with database.transaction(f"read the ledger of {row.series}") as tx:
            # Chosen before the lock was had: another run may have extended, cut or replaced some since.
            now = load_entries(tx, row.id, row.series.table_name)
        chosen = [entry.span for entry in entries]
        if takes_everything:
            verifier.verify_outside(subtract([_ALL_TIME], [entry.span for entry in now]))
        verifier.verify([entry for entry in now if any(entry.span.intersect(span) for span in chosen)])
    except SeriesError as error:
        _log.error("%s failed: %s", row.series, error)
        result.error = str(error)
    except ExchangeUnavailable as error:
        exchange.close_market(row.series.market, error)
        result.error = str(error)
    except FetcherError:
        raise
    except Exception as error:
        _log.exception("%s: unexpected fault, please report it", row.series)
        result.error, result.is_fault = f"unexpected fault: {type(error).__name__}: {error}", True
    finally:
        with database.transaction(f"unlock {row.series}") as tx:
            unlock_series(tx, row.id)
