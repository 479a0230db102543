"""`public.ohlcv_ledger`: which spans are committed, from where, and a hash of what was in them.

The truth about coverage: what it does not hold is fetched again, whatever the state files say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from core.candles import content_hash
from core.fetched import FetchedSpan
from core.plan import Source
from core.ranges import Span, subtract
from core.times import from_datetime, to_datetime
from db.connection import fetch_one

# A cron line that runs every minute would write a ledger row a candle. Neighbouring REST spans are
# folded into one row up to about a day of 1m, so the ledger stays a thousandth of the data.
_FOLD_ROWS = 1_440

# The same value as core.candles.content_hash, computed over stored rows (docs/storage.md).
_HASH_OF_STORED = """
    select count(*), encode(sha256(convert_to(coalesce(string_agg(
        concat_ws(',', (extract(epoch from time) * 1000)::bigint, trim_scale(open), trim_scale(high), trim_scale(low),
                  trim_scale(close), trim_scale(volume), trim_scale(quote_volume), trades,
                  trim_scale(taker_buy_volume), trim_scale(taker_buy_quote_volume)) || E'\\n',
        '' order by time), ''), 'UTF8')), 'hex')
    from public.{table} where time >= %(start)s and time < %(end)s
"""


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """What the ledger says of one series, all spans together."""

    covered: tuple[Span, ...]  # merged
    rows: int


def add_entry(
    cursor: Cursor, series_id: int, table: str, fetched: FetchedSpan, run_id: str, fetched_at_ms: int, may_fold: bool
) -> None:
    """Write the ledger row of one span; with `may_fold` extend the REST row that ends where it begins.

    Folding hashes stored rows, so it is for spans whose candles are stored as given.
    """
    if may_fold and fetched.source is Source.REST and _fold(cursor, series_id, table, fetched, run_id, fetched_at_ms):
        return
    _insert(
        cursor,
        (
            series_id,
            to_datetime(fetched.span.start_ms),
            to_datetime(fetched.span.end_ms),
            fetched.source.value,
            fetched.archive_checksum,
            fetched.batch.rows,
            content_hash(fetched.batch),
            to_datetime(fetched_at_ms),
            run_id,
        ),
    )


def _insert(cursor: Cursor, values: tuple[object, ...]) -> None:
    cursor.execute(
        """
        insert into public.ohlcv_ledger
            (series_id, span_start, span_end, source, archive_checksum, rows, content_hash, fetched_at, run_id)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        values,
    )


def _fold(cursor: Cursor, series_id: int, table: str, fetched: FetchedSpan, run_id: str, fetched_at_ms: int) -> bool:
    cursor.execute(
        """
        select id, span_start, rows, content_hash from public.ohlcv_ledger
        where series_id = %s and span_end = %s and source = %s and rows + %s <= %s
        """,
        (
            series_id,
            to_datetime(fetched.span.start_ms),
            Source.REST.value,
            fetched.batch.rows,
            _FOLD_ROWS,
        ),
    )
    before = cursor.fetchone()
    if before is None:
        return False
    ledger_id, start, rows, hash_before = before
    hold = sql.SQL(_HASH_OF_STORED).format(table=sql.Identifier(table))
    cursor.execute(hold, {"start": start, "end": to_datetime(fetched.span.start_ms)})
    if cursor.fetchone() != (rows, hash_before):
        return False  # the table differs from what was recorded: keep that evidence as it is
    cursor.execute(hold, {"start": start, "end": to_datetime(fetched.span.end_ms)})
    rows_together, hash_together = fetch_one(cursor)
    if rows_together != rows + fetched.batch.rows:
        return False
    cursor.execute(
        "update public.ohlcv_ledger set span_end = %s, rows = %s, content_hash = %s, fetched_at = %s, run_id = %s"
        " where id = %s",
        (
            to_datetime(fetched.span.end_ms),
            rows_together,
            hash_together,
            to_datetime(fetched_at_ms),
            run_id,
            ledger_id,
        ),
    )
    return True


def load_totals(cursor: Cursor) -> dict[int, LedgerTotals]:
    """Return the merged coverage and the summed rows by series id."""
    cursor.execute(
        """
        select series_id, sum(rows)::bigint, lower(covered), upper(covered)
        from (select series_id, sum(rows) as rows, range_agg(tstzrange(span_start, span_end)) as ranges
              from public.ohlcv_ledger group by series_id) as totals, unnest(ranges) as covered
        group by series_id, covered order by series_id, covered
        """
    )
    spans: dict[int, list[Span]] = {}
    rows: dict[int, int] = {}
    for series_id, row_count, start, end in cursor.fetchall():
        spans.setdefault(series_id, []).append(_span(start, end))
        rows[series_id] = row_count
    return {series_id: LedgerTotals(tuple(spans[series_id]), rows[series_id]) for series_id in spans}


def replace_spans(cursor: Cursor, series_id: int, table: str, spans: Sequence[Span]) -> None:
    """Take `spans` out of the ledger, so that new entries can stand there and spans stay disjoint.

    What is left of a cut row keeps its source and checksum; its rows and hash are computed anew from
    the stored candles.
    """
    for span in spans:
        cursor.execute(
            """
            delete from public.ohlcv_ledger where series_id = %s and span_start < %s and span_end > %s
            returning span_start, span_end, source, archive_checksum, fetched_at, run_id
            """,
            (series_id, to_datetime(span.end_ms), to_datetime(span.start_ms)),
        )
        for start, end, source, checksum, fetched_at, run_id in cursor.fetchall():
            for rest in subtract([_span(start, end)], [span]):
                bounds = {"start": to_datetime(rest.start_ms), "end": to_datetime(rest.end_ms)}
                cursor.execute(sql.SQL(_HASH_OF_STORED).format(table=sql.Identifier(table)), bounds)
                rows, content = fetch_one(cursor)
                _insert(
                    cursor,
                    (series_id, bounds["start"], bounds["end"], source, checksum, rows, content, fetched_at, run_id),
                )


def void_entries(cursor: Cursor, series_id: int) -> int:
    """Delete the ledger rows of a series whose candles are gone; return how many."""
    cursor.execute("delete from public.ohlcv_ledger where series_id = %s", (series_id,))
    return int(cursor.rowcount)


def _span(start: datetime, end: datetime) -> Span:
    return Span(from_datetime(start), from_datetime(end))
