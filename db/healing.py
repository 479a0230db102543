"""Stores candles that arrive after their span was committed, and keeps the ledger correct."""

from __future__ import annotations

from collections.abc import Sequence

from core.candles import CandleBatch
from core.fetched import FetchedSpan, SpanRecord
from core.ranges import Span, subtract
from db.commit import CommitContext
from db.connection import Transaction
from db.ledger import cut_entry, hash_stored, insert_entry, is_as_recorded, load_entries, set_hash_checked, snapshot_of
from db.operations import SaveResult, get_existing_timestamps, insert_candles


def save_healed(tx: Transaction, commit: CommitContext, fetched: Sequence[FetchedSpan], came_late: bool) -> SaveResult:
    """Store the candles of `fetched` that the table lacks, in the caller's transaction.

    A ledger entry whose candles had disappeared from the table stays as it is: its hash tells what was
    committed, and so whether all of it is back. Where the exchange now has more candles than then (`came_late`),
    the new span is cut out of the entry and gets an entry of its own. Parts of `fetched` that the ledger does not
    cover yet get new entries. Raises SeriesError.
    """
    if not fetched:
        return SaveResult()
    reach = Span(min(one.span.start_ms for one in fetched), max(one.span.end_ms for one in fetched))
    seen = snapshot_of(tx)
    entries = load_entries(tx, commit.series_id, commit.table, reach)
    was_intact = {entry.id: is_as_recorded(tx, commit.table, entry) for entry in entries}
    there = set(get_existing_timestamps(tx, commit.table, reach))
    fresh = [one for one in fetched if set(one.batch.open_times()) - there]
    result = insert_candles(tx, commit.table, CandleBatch.concat([one.batch for one in fetched]))
    is_stored = result.conflicts == 0
    for entry in entries:
        inside = [part for one in fresh if (part := one.span.intersect(entry.span)) is not None]
        if not inside:
            continue
        rows, content = hash_stored(tx, commit.table, entry.span)
        if (rows, content) == (entry.rows, entry.content_hash):
            set_hash_checked(tx, [entry.id], seen)
            continue
        if not came_late and rows <= entry.rows:
            continue  # other candles of the entry are still missing or changed
        cut_entry(tx, commit.series_id, commit.table, entry, inside, was_intact[entry.id])
        for one in fresh:
            if (part := one.span.intersect(entry.span)) is not None:
                insert_entry(tx, commit, SpanRecord.of(one.within(part)), is_stored)
    for one in fetched:
        for part in subtract([one.span], [entry.span for entry in entries]):
            insert_entry(tx, commit, SpanRecord.of(one.within(part)), is_stored)
    return result
