"""`public.ohlcv_ledger`: which spans are committed, from which source, and a hash of their candles.

The ledger alone decides what is covered: a span that is not in it is fetched again, whatever the state files say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2 import sql

from core.columns import CANDLE_COLUMNS, ColumnKind
from core.fetched import SpanRecord
from core.folding import FOLDED_ROWS, MOST_SPANS, spans_to_fold
from core.ranges import Span, subtract
from core.sources import Source
from core.staleness import NewestCoverage
from core.times import from_datetime, to_datetime
from db.commit import CommitContext
from db.connection import Transaction, fetch_one, named_rows

# A cron job would write one ledger row at each run. Those of a source that is requested by range are folded
# (core/folding.py), so the ledger stays a thousandth of the data; not at every run, because the hash of the folded row
# is computed over all its candles. More are read than are folded at once, because folded rows are folded once more.
_FOLD_AMONG = 2 * MOST_SPANS

# SQL that writes a column of each kind into the text that is hashed (docs/storage.md).
_HASHED_AS = {
    ColumnKind.TIME: "(date_part('epoch', {}) * 1000)::bigint",
    ColumnKind.DECIMAL: "trim_scale({})",
    ColumnKind.COUNT: "{}",
}
# The same value as core.candles.content_hash, computed over stored rows.
_HASH_OF_STORED = sql.SQL(
    """
    select count(*), encode(sha256(convert_to(coalesce(string_agg(
        concat_ws(',', {values}) || E'\\n', '' order by time), ''), 'UTF8')), 'hex')
    from public.{{table}} where time >= %(start)s and time < %(end)s
    """.format(values=", ".join(_HASHED_AS[column.kind].format(column.sql_name) for column in CANDLE_COLUMNS))
)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One ledger span: a committed span of a series. Times are epoch ms."""

    id: int
    span: Span
    source: Source
    archive_checksum: str | None
    rows: int
    content_hash: str | None  # None: not known, so the stored candles cannot be checked until verified
    fetched_ms: int
    run_id: str
    verified_ms: int | None  # when it was last found equal to the reference
    attempted_ms: int | None  # when a verification of it last failed
    is_hash_checked: bool  # the stored rows had `content_hash`, and no external change came later
    witnessed_ms: int | None = None  # when a source other than its own was last found to say the same
    contradicted: int = 0  # candles of which two other sources say something else

    @property
    def is_provisional(self) -> bool:
        """Whether it holds streamed candles that were not verified yet."""
        return self.source.is_audited and self.verified_ms is None


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Coverage and number of rows of one series by the ledger."""

    covered: tuple[Span, ...]  # merged
    rows: int


def load_newest_coverage(tx: Transaction, series_ids: Sequence[int]) -> dict[int, NewestCoverage]:
    """Return the end and the source of the newest span by series id; series without a span are left out."""
    tx.cursor.execute(
        "select id, newest.span_end, newest.source from unnest(%s::integer[]) as wanted(id) cross join lateral"
        " (select span_end, source from public.ohlcv_ledger where series_id = wanted.id"
        " order by span_start desc limit 1) as newest",
        (list(series_ids),),
    )
    return {
        series_id: NewestCoverage(from_datetime(end), Source(source)) for series_id, end, source in tx.cursor.fetchall()
    }


def add_entry(tx: Transaction, commit: CommitContext, record: SpanRecord, is_stored: bool) -> None:
    """Write the ledger row of one span; fold the newest rows when they are due.

    `is_stored`: the table holds the candles exactly as fetched.
    """
    values = _values(commit, record, is_stored)
    # A whole page of REST is no small span: folding two at a time would only make a long backfill slower.
    if not record.source.is_asked_by_range or record.rows > FOLDED_ROWS // 4:
        tx.cursor.execute(_INSERT, values)
        return
    # Two statements in one round trip: these decide how long a run of many small series takes.
    newest = (commit.series_id, record.source.value, _FOLD_AMONG)
    tx.cursor.execute(f"{_INSERT}; select span_start, span_end, rows {_NEWEST}", (*values, *newest))
    if spans_to_fold([(_span(start, end), rows) for start, end, rows in tx.cursor.fetchall()]):
        _fold_newest(tx, commit, record.source)


def insert_entry(tx: Transaction, commit: CommitContext, record: SpanRecord, is_stored: bool) -> None:
    """Write the ledger row of one span. `is_stored`: the table holds its candles exactly as fetched."""
    tx.cursor.execute(_INSERT, _values(commit, record, is_stored))


_INSERT = """
    insert into public.ohlcv_ledger
        (series_id, span_start, span_end, source, archive_checksum, rows, content_hash, fetched_at, run_id,
         hash_checked_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, case when %s then clock_timestamp() end)
"""
_NEWEST = "from public.ohlcv_ledger where series_id = %s and source = %s order by span_start desc limit %s"


def _values(commit: CommitContext, record: SpanRecord, is_stored: bool) -> tuple[object, ...]:
    return (
        commit.series_id,
        to_datetime(record.span.start_ms),
        to_datetime(record.span.end_ms),
        record.source.value,
        record.archive_checksum,
        record.rows,
        record.content_hash,
        to_datetime(commit.at_ms),
        commit.run_id,
        is_stored,
    )


def _fold_newest(tx: Transaction, commit: CommitContext, source: Source) -> None:
    """Fold the newest adjacent rows of `source` into one, as far as the stored candles still match their hashes."""
    seen = snapshot_of(tx)
    newest_first = named_rows(
        tx,
        f"select id, span_start, span_end, rows, content_hash, fetched_at, run_id, contradicted {_NEWEST}",
        (commit.series_id, source.value, _FOLD_AMONG),
    )
    intact: list[tuple[Span, int]] = []
    for row in newest_first[: spans_to_fold([(_span(one.span_start, one.span_end), one.rows) for one in newest_first])]:
        span = _span(row.span_start, row.span_end)
        if row.contradicted or hash_stored(tx, commit.table, span) != (row.rows, row.content_hash):
            break  # other sources, or the table, differ from what was recorded: keep that evidence
        intact.append((span, row.rows))
    count = spans_to_fold(intact)
    if not count:
        return
    newest, oldest = newest_first[0], newest_first[count - 1]
    rows, content = hash_stored(tx, commit.table, _span(oldest.span_start, newest.span_end))
    tx.cursor.execute(
        "delete from public.ohlcv_ledger where id = any(%s)", ([one.id for one in newest_first[: count - 1]],)
    )
    tx.cursor.execute(
        "update public.ohlcv_ledger set span_end = %s, rows = %s, content_hash = %s, fetched_at = %s, run_id = %s,"
        " verified_at = null, verified_against = null, witnessed_at = null, witnessed_by = null, contradicted = 0,"
        " hash_checked_at = %s, hash_checked_before = %s::xid8"
        " where id = %s",
        (newest.span_end, rows, content, newest.fetched_at, newest.run_id, seen.at, seen.xmin, oldest.id),
    )


def load_totals(tx: Transaction, series_ids: Sequence[int]) -> dict[int, LedgerTotals]:
    """Return coverage and number of rows by series id; series without a ledger row are left out."""
    tx.cursor.execute(
        """
        select series_id, sum(rows)::bigint, lower(covered), upper(covered)
        from (select series_id, sum(rows) as rows, range_agg(tstzrange(span_start, span_end)) as ranges
              from public.ohlcv_ledger where series_id = any(%s) group by series_id) as totals,
             unnest(ranges) as covered
        group by series_id, covered order by series_id, covered
        """,
        (list(series_ids),),
    )
    spans: dict[int, list[Span]] = {}
    rows: dict[int, int] = {}
    for series_id, row_count, start, end in tx.cursor.fetchall():
        spans.setdefault(series_id, []).append(_span(start, end))
        rows[series_id] = row_count
    return {series_id: LedgerTotals(tuple(spans[series_id]), rows[series_id]) for series_id in spans}


@dataclass(frozen=True, slots=True)
class VerificationAge:
    """How long ago the ledger spans of a series were verified."""

    entries: int
    never_verified: int
    oldest_ms: int  # the earliest time that a span was verified, or fetched if it never was; epoch ms


def load_verification_ages(tx: Transaction) -> dict[int, VerificationAge]:
    """Return the ages by series id, for all series in the ledger."""
    tx.cursor.execute(
        """
        select series_id, count(*), count(*) filter (where verified_at is null), min(coalesce(verified_at, fetched_at))
        from public.ohlcv_ledger group by series_id
        """
    )
    return {
        series_id: VerificationAge(entries, never, from_datetime(oldest))
        for series_id, entries, never, oldest in tx.cursor.fetchall()
    }


def load_entries(tx: Transaction, series_id: int, table: str, span: Span | None = None) -> list[LedgerEntry]:
    """Return the ledger entries of a series, all or those that overlap `span`, in order."""
    start, end = (None, None) if span is None else (to_datetime(span.start_ms), to_datetime(span.end_ms))
    # Spans are disjoint: the last one that begins at or before `span` is the first that can overlap it. The newest
    # external change is looked up once, because most often there is none since the hash check.
    rows = named_rows(
        tx,
        """
        with newest as (
            select max(changed_at) as changed_at from public.ohlcv_external_changes where table_name = %(table)s
        ), first as (
            select max(span_start) as begins from public.ohlcv_ledger
            where series_id = %(series)s and span_start <= %(start)s
        )
        select id, span_start, span_end, source, archive_checksum, rows, content_hash, fetched_at, run_id,
               verified_at, attempted_at, witnessed_at, contradicted, hash_checked_at is not null and not coalesce(
                   newest.changed_at >= hash_checked_at - interval '1 day' and exists (
                       select from public.ohlcv_external_changes as external_change
                       where external_change.table_name = %(table)s
                         and external_change.changed_at >= hash_checked_at - interval '1 day'
                         and (external_change.changed_at >= hash_checked_at or changed_in >= hash_checked_before)
                         and coalesce(first_time < span_end and last_time >= span_start, true)), false)
                   as is_hash_checked
        from public.ohlcv_ledger, newest, first
        where series_id = %(series)s
          and (%(start)s::timestamptz is null
               or (span_start >= coalesce(first.begins, '-infinity') and span_end > %(start)s and span_start < %(end)s))
        order by span_start
        """,
        {"table": table, "series": series_id, "start": start, "end": end},
    )
    return [_entry(row) for row in rows]


def _entry(row: Any) -> LedgerEntry:
    return LedgerEntry(
        row.id,
        _span(row.span_start, row.span_end),
        Source(row.source),
        row.archive_checksum,
        row.rows,
        row.content_hash,
        from_datetime(row.fetched_at),
        row.run_id,
        _ms(row.verified_at),
        _ms(row.attempted_at),
        row.is_hash_checked,
        _ms(row.witnessed_at),
        row.contradicted,
    )


def hash_stored(tx: Transaction, table: str, span: Span) -> tuple[int, str]:
    """Return how many candles `table` holds in `span` and the content hash over them (docs/storage.md)."""
    bounds = {"start": to_datetime(span.start_ms), "end": to_datetime(span.end_ms)}
    tx.cursor.execute(_HASH_OF_STORED.format(table=sql.Identifier(table)), bounds)
    rows, content = fetch_one(tx)
    return int(rows), str(content)


def is_as_recorded(tx: Transaction, table: str, entry: LedgerEntry) -> bool:
    """Whether the stored candles of the entry's span are those that were committed: same number, same hash."""
    return hash_stored(tx, table, entry.span) == (entry.rows, entry.content_hash)


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """A point in time at the database server; changes made later, or not committed by then, were not seen."""

    at: datetime  # the server's clock
    xmin: str  # transactions with this id or a higher one may not have been committed


def snapshot_of(tx: Transaction) -> ServerSnapshot:
    """Return the present snapshot. Take it before reading candles whose hash is to be recorded as checked."""
    tx.cursor.execute("select clock_timestamp(), pg_snapshot_xmin(pg_current_snapshot())::text")
    return ServerSnapshot(*fetch_one(tx))


def set_hash_checked(tx: Transaction, entry_ids: Sequence[int], seen: ServerSnapshot) -> None:
    """Record that the stored candles of these entries, read after `seen`, matched their hashes."""
    tx.cursor.execute(
        "update public.ohlcv_ledger set hash_checked_at = %s, hash_checked_before = %s::xid8 where id = any(%s)",
        (seen.at, seen.xmin, [*entry_ids]),
    )


def set_verified(tx: Transaction, series_id: int, span: Span, at_ms: int, against: str, seen: ServerSnapshot) -> None:
    """Record that the stored candles of all entries inside `span`, read after `seen`, equal the reference."""
    tx.cursor.execute(
        "update public.ohlcv_ledger"
        " set verified_at = %s, verified_against = %s, hash_checked_at = %s, hash_checked_before = %s::xid8,"
        " empty_answers = null"
        " where series_id = %s and span_start >= %s and span_start < %s and span_end <= %s",
        (
            to_datetime(at_ms),
            against,
            seen.at,
            seen.xmin,
            series_id,
            to_datetime(span.start_ms),
            to_datetime(span.end_ms),
            to_datetime(span.end_ms),
        ),
    )


def set_attempted(tx: Transaction, entry_id: int, at_ms: int) -> None:
    """Record a verification of the entry that did not succeed, so that other entries come before it next time."""
    tx.cursor.execute("update public.ohlcv_ledger set attempted_at = %s where id = %s", (to_datetime(at_ms), entry_id))


def delete_entry(tx: Transaction, entry_id: int) -> None:
    """Delete one entry, which the caller replaces."""
    tx.cursor.execute("delete from public.ohlcv_ledger where id = %s", (entry_id,))


def cut_entry(
    tx: Transaction, series_id: int, table: str, entry: LedgerEntry, without: Sequence[Span], is_intact: bool
) -> None:
    """Cut the spans `without` out of the entry, so that new entries for them do not overlap it.

    What remains keeps its source and checksum. Its hash is computed again from the stored candles when
    they are known to be the committed ones (`is_intact`), and it stays verified: an audited span must not become a
    provisional one. Otherwise it has no hash: one over damaged candles would record the damage as committed.
    """
    tx.cursor.execute("delete from public.ohlcv_ledger where id = %s returning verified_against", (entry.id,))
    [against] = fetch_one(tx)
    for left in subtract([entry.span], without):
        rows, content = hash_stored(tx, table, left)
        tx.cursor.execute(
            _INSERT,
            (
                series_id,
                to_datetime(left.start_ms),
                to_datetime(left.end_ms),
                entry.source.value,
                entry.archive_checksum,
                rows,
                content if is_intact else None,
                to_datetime(entry.fetched_ms),
                entry.run_id,
                is_intact,
            ),
        )
        if is_intact and entry.verified_ms is not None:
            tx.cursor.execute(
                "update public.ohlcv_ledger set verified_at = %s, verified_against = %s"
                " where series_id = %s and span_start = %s",
                (to_datetime(entry.verified_ms), against, series_id, to_datetime(left.start_ms)),
            )


def void_entries(tx: Transaction, series_id: int) -> int:
    """Delete all ledger rows of a series, whose table is gone; return how many."""
    tx.cursor.execute("delete from public.ohlcv_ledger where series_id = %s", (series_id,))
    return int(tx.cursor.rowcount)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else from_datetime(moment)


def _span(start: datetime, end: datetime) -> Span:
    return Span(from_datetime(start), from_datetime(end))
