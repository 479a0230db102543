"""The gaps of `public.stream_gaps`: trades that live streams did not deliver, by their ids (both ends inclusive)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg2 import sql

from core.id_sequence import IdGap, Mark
from core.stream_kinds import StreamKind
from core.times import MS_PER_MINUTE, from_datetime, to_datetime
from db.connection import Transaction, fetch_one
from db.market_tables import ID_COLUMNS, TABLES

# A trade's time is its own: one with a lower id may be a little younger than its neighbours.
_AROUND_MS = MS_PER_MINUTE


class GapStatus(StrEnum):
    """What is known of a gap."""

    MISSING = "missing"  # not here; it may still be had
    HEALED = "healed"  # all of it came later
    LOST = "lost"  # the exchange has no such trades


@dataclass(frozen=True, slots=True)
class StoredGap:
    """A gap of one instrument."""

    instrument_id: int
    kind: StreamKind
    gap: IdGap
    found_ms: int


def insert_gaps(tx: Transaction, instrument_id: int, kind: StreamKind, gaps: Sequence[IdGap], at_ms: int) -> None:
    """Note gaps as missing, in the transaction that stores the trades behind them."""
    _insert(tx, instrument_id, kind, gaps, (GapStatus.MISSING, "", at_ms, at_ms))


def load_missing(tx: Transaction, kind: StreamKind, instrument_ids: Sequence[int]) -> list[StoredGap]:
    """Return the missing gaps of instruments, oldest first."""
    tx.cursor.execute(
        "select instrument_id, first_id, last_id, gap_start, gap_end, found_at from public.stream_gaps"
        " where kind = %s and status = 'missing' and instrument_id = any(%s) order by gap_end, first_id",
        (kind.value, [*instrument_ids]),
    )
    return [
        StoredGap(number, kind, IdGap(first, last, from_datetime(start), from_datetime(end)), from_datetime(found))
        for number, first, last, start, end, found in tx.cursor.fetchall()
    ]


def trades_within(tx: Transaction, stored: StoredGap) -> list[Mark]:
    """Return the stored trades whose ids lie in a gap."""
    column, gap = sql.Identifier(ID_COLUMNS[stored.kind]), stored.gap
    tx.cursor.execute(
        sql.SQL(
            "select {}, time from {} where instrument_id = %s and {} between %s and %s and time between %s and %s"
        ).format(column, sql.Identifier("public", TABLES[stored.kind].name), column),
        (
            stored.instrument_id,
            gap.first_id,
            gap.last_id,
            to_datetime(gap.start_ms - _AROUND_MS),
            to_datetime(gap.end_ms + _AROUND_MS),
        ),
    )
    return [Mark(number, from_datetime(time)) for number, time in tx.cursor.fetchall()]


def count_within(tx: Transaction, stored: StoredGap) -> int:
    """Return how many trades of a gap are stored; for gaps of any size."""
    column, gap = sql.Identifier(ID_COLUMNS[stored.kind]), stored.gap
    tx.cursor.execute(
        sql.SQL(
            "select count(*) from {} where instrument_id = %s and {} between %s and %s and time between %s and %s"
        ).format(sql.Identifier("public", TABLES[stored.kind].name), column),
        (
            stored.instrument_id,
            gap.first_id,
            gap.last_id,
            to_datetime(gap.start_ms - _AROUND_MS),
            to_datetime(gap.end_ms + _AROUND_MS),
        ),
    )
    return int(fetch_one(tx)[0])


def settle_gap(
    tx: Transaction, stored: StoredGap, left: Sequence[IdGap], status: GapStatus, reason: str, at_ms: int
) -> None:
    """Write down what became of a gap: `left` is still not here, with this status and reason; without it, healed."""
    key = (stored.instrument_id, stored.kind.value, stored.gap.first_id)
    if not left:
        tx.cursor.execute(
            "update public.stream_gaps set status = 'healed', reason = '', changed_at = %s"
            " where instrument_id = %s and kind = %s and first_id = %s",
            (to_datetime(at_ms), *key),
        )
        return
    tx.cursor.execute("delete from public.stream_gaps where instrument_id = %s and kind = %s and first_id = %s", key)
    _insert(tx, stored.instrument_id, stored.kind, left, (status, reason, stored.found_ms, at_ms))


def _insert(
    tx: Transaction,
    instrument_id: int,
    kind: StreamKind,
    gaps: Sequence[IdGap],
    fate: tuple[GapStatus, str, int, int],
) -> None:
    status, reason, found_ms, at_ms = fate
    tx.cursor.executemany(
        "insert into public.stream_gaps (instrument_id, kind, first_id, last_id, gap_start, gap_end, status, reason,"
        " found_at, changed_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict (instrument_id, kind, first_id) do update set last_id = greatest(stream_gaps.last_id,"
        " excluded.last_id), gap_end = greatest(stream_gaps.gap_end, excluded.gap_end), status = excluded.status,"
        " reason = excluded.reason, changed_at = excluded.changed_at",
        [
            (
                instrument_id,
                kind.value,
                gap.first_id,
                gap.last_id,
                to_datetime(gap.start_ms),
                to_datetime(gap.end_ms),
                status.value,
                reason,
                to_datetime(found_ms),
                to_datetime(at_ms),
            )
            for gap in gaps
        ],
    )
