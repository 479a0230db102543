"""What a verification writes to the database: verified spans, repairs, reopened gaps."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from core.candles import CandleBatch, content_hash
from core.compare import Difference, Kind
from core.errors import SeriesError
from core.fetched import SpanRecord
from core.gaps import Gap, GapStatus, Hole, apply_answers, reopened
from core.ranges import Span, subtract
from db.checks import count_doubles
from db.connection import Transaction
from db.corrections import correct_candles, restore_key
from db.gaps import update_gaps
from db.ledger import (
    LedgerEntry,
    ServerSnapshot,
    delete_entry,
    hash_stored,
    insert_entry,
    set_attempted,
    set_verified,
    snapshot_of,
)
from db.schema import has_key
from logic.fetching.reference import Reference
from logic.series_session import SeriesSession

_log = logging.getLogger(__name__)


def keep_verified(session: SeriesSession, span: Span, against: str, seen: ServerSnapshot) -> None:
    """Record that the stored candles in `span`, read after `seen`, equal the reference."""
    with session.database.transaction(f"record the verification of {session.series} {span}") as tx:
        set_verified(tx, session.series_id, span, session.now_ms, against, seen)


def keep_attempted(session: SeriesSession, entry: LedgerEntry) -> None:
    """Record a verification of the entry that did not succeed."""
    with session.database.transaction(f"record the verification of {session.series} {entry.span}") as tx:
        set_attempted(tx, entry.id, session.now_ms)


def keep_equal(
    session: SeriesSession, entry: LedgerEntry, reference: Reference, is_intact: bool, seen: ServerSnapshot
) -> None:
    """Record that the stored candles equal the reference; replace a ledger entry with another hash or checksum."""
    now_published = {one.archive_checksum for one in reference.spans if one.source is entry.source}

    def answered(known: list[Gap]) -> list[Gap]:
        # Only known gaps get the answers as evidence: with a new hole the span would not be equal.
        holes = [hole for hole in reference.holes if any(gap.span.intersect(hole.span) for gap in known)]
        return apply_answers(known, [], holes, session.rules, session.exchange_now_ms(), f"verify {session.run_id}")

    with session.database.transaction(f"record the verification of {session.series} {entry.span}") as tx:
        if not is_intact or now_published - {entry.archive_checksum}:
            _replace_entry(tx, session, entry, reference)
        set_verified(tx, session.series_id, entry.span, session.now_ms, reference.label, seen)
        update_gaps(tx, session.series_id, entry.span, answered)


def repair(session: SeriesSession, entry: LedgerEntry, reference: Reference, differences: Sequence[Difference]) -> None:
    """Replace the differing candles by those of the reference; old ones are kept as corrections. Raises SeriesError."""
    lacking = reference.batch.missing(session.series.interval, entry.span)
    holes = [*reference.holes, *map(Hole, subtract(lacking, [hole.span for hole in reference.holes]))]

    def updated(known: list[Gap]) -> list[Gap]:
        return apply_answers(
            known, [entry.span], holes, session.rules, session.exchange_now_ms(), f"repair {session.run_id}"
        )

    with session.database.transaction(f"repair {session.series} {entry.span}") as tx:
        for one in reference.spans:
            times = [d.time_ms for d in differences if one.span.start_ms <= d.time_ms < one.span.end_ms]
            if times:
                correct_candles(tx, session.commit, times, one.batch.at(times), one.source.value)
        seen = snapshot_of(tx)
        expected = (reference.batch.rows, content_hash(reference.batch))
        if hash_stored(tx, session.table, entry.span) != expected:
            raise SeriesError(
                f"{session.series}: {entry.span} is not what the exchange has after its repair; nothing of it was "
                "committed. Look for triggers and rules on the table"
            )
        _replace_entry(tx, session, entry, reference)
        set_verified(tx, session.series_id, entry.span, session.now_ms, reference.label, seen)
        update_gaps(tx, session.series_id, entry.span, updated)


def take_out(session: SeriesSession, differences: Sequence[Difference], tx: Transaction) -> None:
    """Delete candles that no run has fetched; they are kept as corrections."""
    times = [difference.time_ms for difference in differences]
    correct_candles(tx, session.commit, times, CandleBatch.empty(), "never fetched")


def reopen_gaps(session: SeriesSession, entry: LedgerEntry, differences: Sequence[Difference]) -> None:
    """Set gaps to missing where the exchange has candles now, so that the next run fetches them."""
    come = [session.series.interval.slot_of(d.time_ms) for d in differences if d.kind is Kind.MISSING]
    if not come:
        return
    now_ms = session.exchange_now_ms()

    def reopened_if_wrong(gap: Gap) -> Gap:
        is_wrong = gap.status is GapStatus.NOT_AT_EXCHANGE and any(gap.span.intersect(slot) for slot in come)
        return reopened(gap, now_ms, f"verify {session.run_id} got candles there") if is_wrong else gap

    with session.database.transaction(f"keep the gaps of {session.series}") as tx:
        update_gaps(tx, session.series_id, entry.span, lambda known: list(map(reopened_if_wrong, known)))


def restore_lost_key(session: SeriesSession) -> None:
    """Add the primary key again to a table that has lost it, when no candle is stored twice."""
    with session.database.transaction(f"restore the key of {session.table}") as tx:
        if not has_key(tx, session.table) and count_doubles(tx, session.table) == 0:
            restore_key(tx, session.table)
            _log.warning("%s: table public.%s got its primary key back", session.series, session.table)


def _replace_entry(tx: Transaction, session: SeriesSession, entry: LedgerEntry, reference: Reference) -> None:
    delete_entry(tx, entry.id)
    for one in reference.spans:
        insert_entry(tx, session.commit, SpanRecord.of(one), is_stored=True)
