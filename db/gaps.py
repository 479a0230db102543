"""`public.ohlcv_gaps`: every gap that was ever found, with its life and the evidence (docs/gaps.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from core.gaps import Answer, Event, Gap, GapStatus, Reason
from core.plan import Source
from core.ranges import Span
from core.times import from_datetime, iso_ms, parse_time, to_datetime

_COLUMNS = (
    "gap_start, gap_end, status, status_since, found_at, lost, reason, reason_note, looks, next_look, evidence, history"
)


def load_open_gaps(cursor: Cursor, series_id: int, span: Span | None = None) -> list[Gap]:
    """Return the missing and absent gaps of a series, or those that touch `span`, in order."""
    bounds = (None, None) if span is None else (to_datetime(span.start_ms), to_datetime(span.end_ms))
    cursor.execute(
        f"select id, {_COLUMNS} from public.ohlcv_gaps where series_id = %s and status <> 'healed'"
        " and (%s::timestamptz is null or (gap_end > %s and gap_start < %s)) order by gap_start",
        (series_id, bounds[0], *bounds),
    )
    return [_gap(row) for row in cursor.fetchall()]


def load_all_open_gaps(cursor: Cursor, series_ids: Sequence[int]) -> dict[int, list[Gap]]:
    """Return the missing and absent gaps of these series by series id, in order; series without any are left out."""
    cursor.execute(
        f"select series_id, id, {_COLUMNS} from public.ohlcv_gaps where series_id = any(%s) and status <> 'healed'"
        " order by series_id, gap_start",
        (list(series_ids),),
    )
    found: dict[int, list[Gap]] = {}
    for series_id, *row in cursor.fetchall():
        found.setdefault(series_id, []).append(_gap(tuple(row)))
    return found


def save_gaps(cursor: Cursor, series_id: int, before: Sequence[Gap], after: Sequence[Gap]) -> None:
    """Make the rows of the gaps `before` into those of `after`: update, insert, and drop what was merged away."""
    kept = {gap.id for gap in after}
    known = {gap.id: gap for gap in before}
    gone = [gap.id for gap in before if gap.id not in kept]
    if gone:
        cursor.execute("delete from public.ohlcv_gaps where id = any(%s)", (gone,))
    for gap in after:
        if gap.id is None:
            cursor.execute(
                f"insert into public.ohlcv_gaps (series_id, {_COLUMNS})"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (series_id, *_values(gap)),
            )
        elif known.get(gap.id) != gap:
            cursor.execute(
                f"update public.ohlcv_gaps set ({_COLUMNS}) = (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " where id = %s",
                (*_values(gap), gap.id),
            )


def _values(gap: Gap) -> tuple[object, ...]:
    return (
        to_datetime(gap.span.start_ms),
        to_datetime(gap.span.end_ms),
        gap.status.value,
        to_datetime(gap.since_ms),
        to_datetime(gap.found_ms),
        gap.is_lost,
        None if gap.reason is None else gap.reason.value,
        gap.reason_note,
        gap.looks,
        None if gap.next_look_ms is None else to_datetime(gap.next_look_ms),
        Json([answer.document() for answer in gap.answers]),
        Json([{"at": iso_ms(event.at_ms), "event": event.text} for event in gap.history]),
    )


def _gap(row: tuple[Any, ...]) -> Gap:
    id_, start, end, status, since, found, lost, reason, note, looks, next_look, evidence, history = row
    return Gap(
        span=Span(from_datetime(start), from_datetime(end)),
        found_ms=from_datetime(found),
        since_ms=from_datetime(since),
        status=GapStatus(status),
        answers=tuple(
            Answer(
                Source(one["source"]),
                Span(parse_time(one["start"]), parse_time(one["end"])),
                parse_time(one["first_asked"]),
                parse_time(one["last_asked"]),
                one["times"],
                one["archive_checksum"],
            )
            for one in evidence
        ),
        history=tuple(Event(parse_time(one["at"]), one["event"]) for one in history),
        next_look_ms=None if next_look is None else from_datetime(next_look),
        looks=looks,
        reason=None if reason is None else Reason(reason),
        reason_note=note,
        is_lost=lost,
        id=id_,
    )
