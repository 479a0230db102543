"""Ledger rows of streamed candles: provisional until they were held against REST, folded once they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from core.candles import CandleBatch, content_hash
from core.folding import FOLDED_ROWS, spans_to_fold
from core.ranges import Span
from core.sources import Source
from core.times import from_datetime, to_datetime
from db.connection import Transaction, named_rows
from db.ledger import ServerSnapshot, snapshot_of
from db.stored_candles import load_candles

PROVISIONAL = f"source = '{Source.STREAM}' and verified_at is null"
"""The condition on rows of `public.ohlcv_ledger`; the view `public.ohlcv_provisional` has it too."""
# Of the audited rows of a series the newest: an audit an hour leaves 24 a day, restarts and holes some more.
_FOLD_AMONG = 64


class _StreamedRow(NamedTuple):
    """A ledger row of streamed candles that nothing speaks against."""

    id: int
    span_start: datetime
    span_end: datetime
    rows: int
    content_hash: str
    verified_at: datetime | None

    @property
    def span(self) -> Span:
        return Span(from_datetime(self.span_start), from_datetime(self.span_end))


def find_provisional(tx: Transaction, series_ids: Sequence[int]) -> dict[int, list[tuple[Span, int]]]:
    """Return the provisional spans with the number of their candles by series id; series without one are left out."""
    tx.cursor.execute(
        f"select series_id, span_start, span_end, rows from public.ohlcv_ledger"
        f" where series_id = any(%s) and {PROVISIONAL} order by series_id, span_start",
        ([*series_ids],),
    )
    found: dict[int, list[tuple[Span, int]]] = {}
    for series_id, start, end, rows in tx.cursor.fetchall():
        found.setdefault(series_id, []).append((Span(from_datetime(start), from_datetime(end)), rows))
    return found


def split_provisional(tx: Transaction, series_id: int, table: str, at_ms: int) -> None:
    """Cut the provisional row that reaches over `at_ms` (epoch ms, an open time) in two, so that its part before can be
    audited while a stream goes on. A row whose candles are not as committed stays whole, as evidence.
    """
    seen = snapshot_of(tx)
    tx.cursor.execute(
        f"""
        select id, span_start, span_end, rows, content_hash, verified_at from public.ohlcv_ledger
        where series_id = %(series)s and {PROVISIONAL} and content_hash is not null
          and span_start < %(at)s and span_end > %(at)s
        """,
        {"series": series_id, "at": to_datetime(at_ms)},
    )
    for row in map(_StreamedRow._make, tx.cursor.fetchall()):
        stored = load_candles(tx, table, row.span)
        if not _is_as_recorded(stored, row):
            continue
        before, after = (stored.within(part) for part in (Span(row.span.start_ms, at_ms), Span(at_ms, row.span.end_ms)))
        tx.cursor.execute(
            "update public.ohlcv_ledger set span_end = %s, rows = %s, content_hash = %s, hash_checked_at = %s,"
            " hash_checked_before = %s::xid8, witnessed_at = null, witnessed_by = null where id = %s",
            (to_datetime(at_ms), before.rows, content_hash(before), seen.at, seen.xmin, row.id),
        )
        tx.cursor.execute(
            """
            insert into public.ohlcv_ledger (series_id, span_start, span_end, source, rows, content_hash, fetched_at,
                                             run_id, hash_checked_at, hash_checked_before)
            select series_id, %s, %s, source, %s, %s, fetched_at, run_id, hash_checked_at, hash_checked_before
            from public.ohlcv_ledger where id = %s
            """,
            (to_datetime(at_ms), row.span_end, after.rows, content_hash(after), row.id),
        )


def fold_streamed(tx: Transaction, series_id: int, table: str) -> None:
    """Fold the newest rows of streamed candles that stand side by side, as far as they are as committed.

    Audited rows are folded when they are due (core/folding.py) and keep the oldest of their verifications; provisional
    ones at once, so that an audit asks for one page.
    """
    seen = snapshot_of(tx)
    newest_first = named_rows(
        tx,
        "select id, span_start, span_end, rows, content_hash, verified_at from public.ohlcv_ledger"
        " where series_id = %(series)s and source = %(source)s and contradicted = 0 and content_hash is not null"
        " order by span_start desc limit %(audited)s + ("
        f"select count(*) from public.ohlcv_ledger where series_id = %(series)s and {PROVISIONAL})",
        {"series": series_id, "source": Source.STREAM.value, "audited": _FOLD_AMONG},
    )
    for run in _runs([_StreamedRow._make(row) for row in newest_first]):
        count = len(run) if run[0].verified_at is None else spans_to_fold([(row.span, row.rows) for row in run])
        if count > 1:
            _fold(tx, table, run[:count], seen)


def _runs(newest_first: Sequence[_StreamedRow]) -> Iterator[list[_StreamedRow]]:
    """Yield rows that stand side by side, all audited or all provisional, and that together are not too long."""
    run: list[_StreamedRow] = []
    candles = 0
    for row in newest_first:
        fits = run and (
            row.span_end == run[-1].span_start
            and (row.verified_at is None) == (run[0].verified_at is None)
            and candles + row.rows <= FOLDED_ROWS
        )
        if run and not fits:
            yield run
            run, candles = [], 0
        run.append(row)
        candles += row.rows
    if run:
        yield run


def _fold(tx: Transaction, table: str, newest_first: Sequence[_StreamedRow], seen: ServerSnapshot) -> None:
    newest, oldest = newest_first[0], newest_first[-1]
    stored = load_candles(tx, table, Span(oldest.span.start_ms, newest.span.end_ms))
    if not all(_is_as_recorded(stored.within(row.span), row) for row in newest_first):
        return  # the evidence stays
    verified = [row.verified_at for row in newest_first if row.verified_at is not None]
    tx.cursor.execute("delete from public.ohlcv_ledger where id = any(%s)", ([row.id for row in newest_first[:-1]],))
    tx.cursor.execute(
        "update public.ohlcv_ledger set span_end = %s, rows = %s, content_hash = %s, verified_at = %s,"
        " hash_checked_at = %s, hash_checked_before = %s::xid8, witnessed_at = null, witnessed_by = null where id = %s",
        (
            newest.span_end,
            stored.rows,
            content_hash(stored),
            min(verified, default=None),
            seen.at,
            seen.xmin,
            oldest.id,
        ),
    )


def _is_as_recorded(stored: CandleBatch, row: _StreamedRow) -> bool:
    return (stored.rows, content_hash(stored)) == (row.rows, row.content_hash)
