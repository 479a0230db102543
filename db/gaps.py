"""`public.ohlcv_gaps`: every gap that was ever found, with its status, history and evidence (docs/gaps.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg2.extras import Json

from core.gaps import Answer, Event, EventKind, Gap, GapStatus, Reason
from core.ranges import Span
from core.sources import Source
from core.times import from_datetime, iso_ms, parse_time, to_datetime
from db.connection import Transaction, fetch_one, named_rows

_COLUMNS = (
    "gap_start, gap_end, status, status_since, found_at, was_committed, reason, reason_note, rechecks, next_recheck,"
    " evidence, history"
)


def load_open_gaps(tx: Transaction, series_id: int, span: Span | None = None) -> list[Gap]:
    """Return the gaps of a series that are not healed, all or those that overlap `span`, in order."""
    bounds = (None, None) if span is None else (to_datetime(span.start_ms), to_datetime(span.end_ms))
    rows = named_rows(
        tx,
        f"select id, {_COLUMNS} from public.ohlcv_gaps where series_id = %s and status <> 'healed'"
        " and (%s::timestamptz is null or (gap_end > %s and gap_start < %s)) order by gap_start",
        (series_id, bounds[0], *bounds),
    )
    return [_gap(row) for row in rows]


def load_all_open_gaps(tx: Transaction, series_ids: Sequence[int]) -> dict[int, list[Gap]]:
    """Return the gaps that are not healed by series id, in order; series without any are left out."""
    rows = named_rows(
        tx,
        f"select series_id, id, {_COLUMNS} from public.ohlcv_gaps where series_id = any(%s) and status <> 'healed'"
        " order by series_id, gap_start",
        (list(series_ids),),
    )
    found: dict[int, list[Gap]] = {}
    for row in rows:
        found.setdefault(row.series_id, []).append(_gap(row))
    return found


def count_judged_halts(tx: Transaction, series_id: int, span: Span, noted: str) -> int:
    """Return how many other series of the same market and interval have exactly this gap, judged a halt.

    Only those are counted whose note has the word `noted` in it.
    """
    tx.cursor.execute(
        "select count(*) from public.ohlcv_gaps as gap join public.ohlcv_series as other on other.id = gap.series_id"
        " join public.ohlcv_series as own on own.id = %s and other.market = own.market"
        ' and other."interval" = own."interval" and other.id <> own.id'
        " where gap.gap_start = %s and gap.gap_end = %s and gap.status = 'not_at_exchange' and gap.reason = 'halt'"
        " and position(%s in gap.reason_note) > 0",
        (series_id, to_datetime(span.start_ms), to_datetime(span.end_ms), noted),
    )
    return int(fetch_one(tx)[0])


def save_gaps(tx: Transaction, series_id: int, before: Sequence[Gap], after: Sequence[Gap]) -> None:
    """Replace the rows of the gaps `before` by `after`: update changed ones, insert new ones, delete merged ones."""
    kept = {gap.id for gap in after}
    known = {gap.id: gap for gap in before}
    gone = [gap.id for gap in before if gap.id not in kept]
    if gone:
        tx.cursor.execute("delete from public.ohlcv_gaps where id = any(%s)", (gone,))
    for gap in after:
        if gap.id is None:
            tx.cursor.execute(
                f"insert into public.ohlcv_gaps (series_id, {_COLUMNS})"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (series_id, *_values(gap)),
            )
        elif known.get(gap.id) != gap:
            tx.cursor.execute(
                f"update public.ohlcv_gaps set ({_COLUMNS}) = (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " where id = %s",
                (*_values(gap), gap.id),
            )


def update_gaps(tx: Transaction, series_id: int, span: Span, change: Callable[[list[Gap]], Sequence[Gap]]) -> None:
    """Replace the gaps that overlap `span` and are not healed by what `change` returns for them."""
    known = load_open_gaps(tx, series_id, span)
    save_gaps(tx, series_id, known, change(known))


def load_empty_answers(tx: Transaction, entry_id: int) -> list[Answer]:
    """Return the answers, kept with a ledger entry, that the exchange has no candle where one is stored."""
    tx.cursor.execute("select coalesce(empty_answers, '[]') from public.ohlcv_ledger where id = %s", (entry_id,))
    return list(map(_answer, fetch_one(tx)[0]))


def save_empty_answers(tx: Transaction, entry_id: int, answers: Sequence[Answer]) -> None:
    """Keep these answers with a ledger entry, in place of those of before."""
    documents = Json([answer.document() for answer in answers]) if answers else None
    tx.cursor.execute("update public.ohlcv_ledger set empty_answers = %s where id = %s", (documents, entry_id))


def _values(gap: Gap) -> tuple[object, ...]:
    return (
        to_datetime(gap.span.start_ms),
        to_datetime(gap.span.end_ms),
        gap.status.value,
        to_datetime(gap.since_ms),
        to_datetime(gap.found_ms),
        gap.was_committed,
        None if gap.reason is None else gap.reason.value,
        gap.reason_note,
        gap.rechecks,
        None if gap.next_recheck_ms is None else to_datetime(gap.next_recheck_ms),
        Json([answer.document() for answer in gap.answers]),
        Json([{"at": iso_ms(event.at_ms), "kind": event.kind.value, "event": event.text} for event in gap.history]),
    )


def _answer(one: Any) -> Answer:
    return Answer(
        Source(one["source"]),
        Span(parse_time(one["start"]), parse_time(one["end"])),
        parse_time(one["first_asked"]),
        parse_time(one["last_asked"]),
        one["times"],
        one["archive_checksum"],
        one.get("row"),
    )


def _gap(row: Any) -> Gap:
    return Gap(
        span=Span(from_datetime(row.gap_start), from_datetime(row.gap_end)),
        found_ms=from_datetime(row.found_at),
        since_ms=from_datetime(row.status_since),
        status=GapStatus(row.status),
        answers=tuple(map(_answer, row.evidence)),
        history=tuple(Event(parse_time(one["at"]), EventKind(one["kind"]), one["event"]) for one in row.history),
        next_recheck_ms=None if row.next_recheck is None else from_datetime(row.next_recheck),
        rechecks=row.rechecks,
        reason=None if row.reason is None else Reason(row.reason),
        reason_note=row.reason_note,
        was_committed=row.was_committed,
        id=row.id,
    )
