"""Corrects stored candles and undoes corrections, recorded in `public.ohlcv_corrections`. Nothing else changes one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from psycopg2 import sql

from core.candles import CandleBatch
from core.columns import TABLE_COLUMNS
from core.times import first_of_month, from_datetime, to_datetime
from db.commit import CommitContext
from db.connection import Transaction
from db.operations import stage_candles
from db.timescale import lift_decompression_limit


def correct_candles(
    tx: Transaction, commit: CommitContext, times: Sequence[int], reference: CandleBatch, source: str
) -> None:
    """Replace the candles at `times` (open times, epoch ms) by those of `reference`; one that it lacks is deleted.

    Old and new rows are recorded in `public.ohlcv_corrections`, in the caller's transaction.
    """
    if not times:
        return
    names = sql.SQL(", ").join(map(sql.Identifier, TABLE_COLUMNS))
    with _recording(tx, commit, times, source):
        stage_candles(tx, reference)
        # No ON CONFLICT: the table may have lost its key, and the rows at these times are deleted already.
        tx.cursor.execute(
            sql.SQL("insert into public.{} ({names}) select {names} from pg_temp.ohlcv_stage").format(
                sql.Identifier(commit.table), names=names
            )
        )


def restore_key(tx: Transaction, table: str) -> None:
    """Add the primary key on `time` again. Fails while candles are stored twice."""
    tx.cursor.execute(sql.SQL("alter table public.{} add primary key (time)").format(sql.Identifier(table)))


def load_corrected(tx: Transaction, run_id: str) -> list[tuple[int, int]]:
    """Return how many corrections the run `run_id` made, by series id."""
    tx.cursor.execute(
        "select series_id, count(*) from public.ohlcv_corrections where run_id = %s group by 1 order by 1", (run_id,)
    )
    return [(series_id, count) for series_id, count in tx.cursor.fetchall()]


def undo_corrections(tx: Transaction, commit: CommitContext, run_id: str) -> int:
    """Put back what the run `run_id` changed in one series and return how many candles that were.

    A candle that was corrected again later is left as it is; of one that was stored twice, one comes
    back. The undo is recorded like a correction, and the ledger spans become unverified, without a hash,
    so that `verify` takes them again.
    """
    tx.cursor.execute(
        """
        select distinct time from public.ohlcv_corrections as kept
        where series_id = %(series)s and run_id = %(run)s and not exists (
            select from public.ohlcv_corrections as later
            where later.series_id = kept.series_id and later.time = kept.time and later.id > kept.id
              and later.run_id <> kept.run_id)
        order by time
        """,
        {"series": commit.series_id, "run": run_id},
    )
    found = [from_datetime(time) for (time,) in tx.cursor.fetchall()]
    times = sorted(set(found))  # rows between two milliseconds are taken together with the candle before them
    # By month, as they were repaired: TimescaleDB decompresses what lies between the first and the last of them.
    for _, of_month in groupby(times, first_of_month):
        some = list(of_month)
        with _recording(tx, commit, some, f"undo of {run_id}"):
            _put_back(tx, commit, some, run_id)
    tx.cursor.execute(
        """
        update public.ohlcv_ledger set content_hash = null, verified_at = null, verified_against = null
        where series_id = %s and exists (
            select from unnest(%s::timestamptz[]) as changed(time) where time >= span_start and time < span_end)
        """,
        (commit.series_id, [to_datetime(ms) for ms in times]),
    )
    return len(found)


def _put_back(tx: Transaction, commit: CommitContext, times: Sequence[int], run_id: str) -> None:
    """Insert the candles that the run `run_id` found at `times`, with what stood in further columns beside them."""
    # Of a candle that the run changed more than once, and of one that was there twice, the first old row.
    found = sql.SQL(
        """
        select old_row, (jsonb_populate_record(null::public.{}, old_row)).*
        from (select distinct on (time) old_row from public.ohlcv_corrections
              where series_id = %(series)s and run_id = %(run)s
                and date_trunc('milliseconds', time) = any(%(times)s) order by time, id) as first
        where old_row is not null
        """
    ).format(sql.Identifier(commit.table))
    values = {"series": commit.series_id, "run": run_id, **_wanted(times)}
    names = sql.SQL(", ").join(map(sql.Identifier, TABLE_COLUMNS))
    tx.cursor.execute(
        sql.SQL("insert into public.{table} ({names}) select {names} from ({found}) as old").format(
            table=sql.Identifier(commit.table), names=names, found=found
        ),
        values,
    )
    # A column that was added since the correction has what new rows get.
    kept = [
        sql.SQL("{0} = case when old.old_row ? {1} then old.{0} else candle.{0} end").format(
            sql.Identifier(name), sql.Literal(name)
        )
        for name in _further_columns(tx, commit.table)
    ]
    if kept:
        tx.cursor.execute(
            sql.SQL(
                "update public.{} as candle set {} from ({}) as old"
                " where candle.time = old.time and candle.time >= %(first)s and candle.time < %(end)s"
            ).format(sql.Identifier(commit.table), sql.SQL(", ").join(kept), found),
            values,
        )


@contextmanager
def _recording(tx: Transaction, commit: CommitContext, times: Sequence[int], source: str) -> Iterator[None]:
    """Delete the candles at `times`, let the caller insert others, and record each difference as a correction."""
    names = {"table": sql.Identifier(commit.table)}
    wanted = _wanted(times)
    lift_decompression_limit(tx)
    tx.cursor.execute("set local ohlcv.own_change = 'on'")
    tx.cursor.execute("drop table if exists pg_temp.ohlcv_old")
    tx.cursor.execute(
        sql.SQL("create temporary table ohlcv_old on commit drop as {}").format(_rows_at(commit.table)), wanted
    )
    tx.cursor.execute(
        sql.SQL(
            "delete from public.{table} using unnest(%(times)s::timestamptz[]) as wanted(ms)"
            " where time >= ms and time < ms + interval '1 millisecond' and time >= %(first)s and time < %(end)s"
        ).format(**names),
        wanted,
    )
    yield
    _carry_further_columns(tx, commit.table, wanted)
    # Compared as text, so that a change of trailing zeros counts too. Doubled rows are matched one by one.
    tx.cursor.execute(
        sql.SQL(
            """
            insert into public.ohlcv_corrections (series_id, time, old_row, new_row, source, corrected_at, run_id)
            select %(series)s, time, before.candle, after.candle, %(source)s, %(at)s, %(run)s
            from (select time, to_jsonb(one) as candle, row_number() over (partition by time) as place
                  from pg_temp.ohlcv_old as one) as before
            full join (select time, to_jsonb(one) as candle, row_number() over (partition by time) as place
                       from ({rows_at}) as one) as after using (time, place)
            where before.candle::text is distinct from after.candle::text order by time, place
            """
        ).format(rows_at=_rows_at(commit.table)),
        {**wanted, "series": commit.series_id, "source": source, "at": to_datetime(commit.at_ms), "run": commit.run_id},
    )
    tx.cursor.execute("set local ohlcv.own_change = 'off'")


def _carry_further_columns(tx: Transaction, table: str, wanted: dict[str, object]) -> None:
    """Give the new rows what somebody keeps in columns of their own beside the candles."""
    carried = [sql.SQL("{0} = old.{0}").format(sql.Identifier(name)) for name in _further_columns(tx, table)]
    if carried:
        tx.cursor.execute(
            sql.SQL(
                "update public.{} as candle set {} from pg_temp.ohlcv_old as old"
                " where candle.time = old.time and candle.time >= %(first)s and candle.time < %(end)s"
            ).format(sql.Identifier(table), sql.SQL(", ").join(carried)),
            wanted,
        )


def _further_columns(tx: Transaction, table: str) -> list[str]:
    """Return the columns that are not ours and can be written."""
    tx.cursor.execute(
        """
        select attname from pg_attribute
        where attrelid = ('public.' || quote_ident(%s))::regclass and attnum > 0 and not attisdropped
          and attgenerated = '' and attidentity = '' and attname <> all (%s::name[])
        """,
        (table, [*TABLE_COLUMNS]),
    )
    return [name for (name,) in tx.cursor.fetchall()]


def _wanted(times: Sequence[int]) -> dict[str, object]:
    """Return the milliseconds `times` and their bounds as parameters.

    By the bounds TimescaleDB skips other chunks, and leaves the rows outside of them compressed.
    """
    return {
        "times": [to_datetime(ms) for ms in times],
        "first": to_datetime(min(times)),
        "end": to_datetime(max(times) + 1),
    }


def _rows_at(table: str) -> sql.Composable:
    """Return the query for the rows of `table` whose time falls in one of the milliseconds of `_wanted`."""
    return sql.SQL(
        "select stored.* from public.{} as stored join unnest(%(times)s::timestamptz[]) as wanted(ms)"
        " on stored.time >= ms and stored.time < ms + interval '1 millisecond'"
        " and stored.time >= %(first)s and stored.time < %(end)s"
    ).format(sql.Identifier(table))
