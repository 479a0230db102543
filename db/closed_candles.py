"""Commits rounds of closed candles from streams: those of many series, with their ledger rows, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.closed_round import (
    CandleOutcome,
    CheckedCandle,
    ClosedCandle,
    Fate,
    GivenCandle,
    OpenRow,
    RowBefore,
    check_round,
    extend_rows,
    judge_round,
)
from core.columns import VALUE_COLUMNS
from core.errors import SeriesError, StatementRefused
from core.sources import Source
from core.times import from_datetime, to_datetime
from db.connection import Database, Transaction
from db.locks import try_lock_each_for_transaction, wait_for_locks

# A transaction takes three locks a series, eight where tables are hypertables. A server has room for
# max_locks_per_transaction (64) times max_connections of them, for all its users together.
_SERIES_AT_ONCE = 200
# A table that somebody holds back keeps the other series waiting no longer than this; its candles are given again.
_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class RoundCommit:
    """The run that commits a round; recorded with its ledger rows."""

    run_id: str
    at_ms: int  # this machine's clock, epoch ms


def commit_round(
    database: Database, candles: Sequence[ClosedCandle], open_rows: MutableMapping[int, OpenRow], commit: RoundCommit
) -> list[CandleOutcome]:
    """Store the candles of a round and cover them in the ledger; return what became of each.

    `open_rows` are the ledger rows, by series id, that this process is extending; they are brought up to date after
    each commit, and may be lost: then new rows begin. A candle that was given twice with the same values has one
    outcome. What concerns one series, such as its table being locked or gone, never stops another. Raises
    DatabaseUnavailable; what was committed until then stays, and is EQUAL when it is given again.
    """
    checked, outcomes = check_round(candles)
    by_series = [list(own) for _, own in groupby(checked, lambda one: one.candle.series_id)]
    for first in range(0, len(by_series), _SERIES_AT_ONCE):
        outcomes += _commit(database, by_series[first : first + _SERIES_AT_ONCE], open_rows, commit)
    return outcomes


def _commit(
    database: Database,
    by_series: Sequence[Sequence[CheckedCandle]],
    open_rows: MutableMapping[int, OpenRow],
    commit: RoundCommit,
) -> list[CandleOutcome]:
    """Commit these series together; where that fails, each half by itself, down to the series that is at fault."""
    candles, is_ledger_free = [one for own in by_series for one in own], False
    doing = str(candles[0].candle.series) if len(by_series) == 1 else f"{len(by_series)} series"
    try:
        with database.transaction(f"store the closed candles of {doing}") as tx:
            wait_for_locks(tx, _WAIT_S)
            tx.cursor.execute("lock table public.ohlcv_ledger in row exclusive mode")  # as writing to it does
            is_ledger_free = True
            outcomes, written = _commit_in(tx, candles, open_rows, commit)
    except SeriesError as error:
        if len(by_series) == 1 or not is_ledger_free:
            return [CandleOutcome(one.candle, Fate.FAILED, str(error)) for one in candles]
        middle = len(by_series) // 2
        return [
            *_commit(database, by_series[:middle], open_rows, commit),
            *_commit(database, by_series[middle:], open_rows, commit),
        ]
    open_rows.update(written)
    return outcomes


def _commit_in(
    tx: Transaction, candles: Sequence[CheckedCandle], open_rows: MutableMapping[int, OpenRow], commit: RoundCommit
) -> tuple[list[CandleOutcome], dict[int, OpenRow]]:
    locked = try_lock_each_for_transaction(tx, sorted({one.candle.series_id for one in candles}))
    busy = "another run is working on the series"
    outcomes = [CandleOutcome(one.candle, Fate.BUSY, busy) for one in candles if one.candle.series_id not in locked]
    mine = [one for one in candles if one.candle.series_id in locked]
    if not mine:
        return outcomes, {}
    given = _store(tx, mine, _load_rows_before(tx, mine))
    judged = judge_round(given)
    changed: list[tuple[int, list[OpenRow]]] = []
    together = zip(given, judged, strict=True)
    for series_id, own in groupby(together, lambda pair: pair[1].candle.series_id):
        pairs = list(own)
        rows = extend_rows([one for one, _ in pairs], [one for _, one in pairs], open_rows.get(series_id))
        if rows:
            changed.append((series_id, rows))
    return [*outcomes, *judged], _write_rows(tx, changed, open_rows, commit)


def _load_rows_before(tx: Transaction, candles: Sequence[CheckedCandle]) -> list[RowBefore | None]:
    """Return for each candle the last ledger row of its series that begins at or before it."""
    tx.cursor.execute(
        """
        select id, span_end, content_hash, is_provisional
        from unnest(%s::integer[], %s::timestamptz[]) with ordinality as wanted(series, opens, place)
        left join lateral (
            select id, span_end, content_hash,
                   source = %s and verified_at is null and witnessed_at is null and contradicted = 0 as is_provisional
            from public.ohlcv_ledger where series_id = wanted.series and span_start <= wanted.opens
            order by span_start desc limit 1) as before on true
        order by place
        """,
        (
            _array(one.candle.series_id for one in candles),
            _array(_moment(one.candle.open_ms) for one in candles),
            Source.STREAM.value,
        ),
    )
    return [
        None if row_id is None else RowBefore(row_id, from_datetime(end), content, is_provisional)
        for row_id, end, content, is_provisional in tx.cursor.fetchall()
    ]


def _store(tx: Transaction, candles: Sequence[CheckedCandle], before: Sequence[RowBefore | None]) -> list[GivenCandle]:
    """Store the candles whose slots the ledger does not cover; return all with what the tables held already."""
    given = [GivenCandle(one, row, was_inserted=True) for one, row in zip(candles, before, strict=True)]
    values = [_array(one.candle.values[number] for one in candles) for number in range(len(VALUE_COLUMNS))]
    tx.cursor.execute(
        "select place, held from public.ohlcv_store_closed(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            [one.candle.series.table_name for one in candles],
            _array(_moment(one.candle.open_ms) for one in candles),
            _array("f" if one.was_covered else "t" for one in given),
            *values,
        ),
    )
    for place, held in tx.cursor.fetchall():
        was_there = None if held is None else tuple(held)
        given[place - 1] = replace(given[place - 1], was_inserted=False, held=was_there)
    return given


def _write_rows(
    tx: Transaction,
    changed: Sequence[tuple[int, Sequence[OpenRow]]],
    open_rows: MutableMapping[int, OpenRow],
    commit: RoundCommit,
) -> dict[int, OpenRow]:
    """Write the ledger rows by series id; return those to be extended next."""
    extended = [(open_rows[series_id].end_ms, row) for series_id, rows in changed for row in rows if row.id is not None]
    begun = [(series_id, row) for series_id, rows in changed for row in rows if row.id is None]
    if extended:
        # When its hash was checked stays as at its birth: a change by hand between two extensions must not be hidden.
        tx.cursor.execute(
            """
            update public.ohlcv_ledger as known
            set span_end = after.ends, rows = after.rows, content_hash = after.hash, fetched_at = %s
            from unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::integer[], %s::text[])
                as after(id, was_end, ends, rows, hash)
            where known.id = after.id and span_end = was_end and verified_at is null
            """,
            (
                to_datetime(commit.at_ms),
                _array(row.id for _, row in extended),
                _array(_moment(was_end_ms) for was_end_ms, _ in extended),
                _array(_moment(row.end_ms) for _, row in extended),
                _array(row.rows for _, row in extended),
                _array(row.content_hash for _, row in extended),
            ),
        )
        if tx.cursor.rowcount != len(extended):
            raise StatementRefused("ledger rows changed although their series were locked; they are given again")
    ids = _insert_rows(tx, begun, commit)
    last = {series_id: rows[-1] for series_id, rows in changed}
    return {
        series_id: row if row.id is not None else replace(row, id=ids[series_id, row.start_ms])
        for series_id, row in last.items()
    }


def _insert_rows(
    tx: Transaction, begun: Sequence[tuple[int, OpenRow]], commit: RoundCommit
) -> dict[tuple[int, int], int]:
    """Insert new ledger rows; return their ids by series id and start (epoch ms)."""
    if not begun:
        return {}
    tx.cursor.execute(
        """
        insert into public.ohlcv_ledger
            (series_id, span_start, span_end, source, rows, content_hash, fetched_at, run_id, hash_checked_at)
        select series_id, span_start, span_end, %s, rows, content_hash, %s, %s, clock_timestamp()
        from unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[], %s::integer[], %s::text[])
            as begun(series_id, span_start, span_end, rows, content_hash)
        returning series_id, span_start, id
        """,
        (
            Source.STREAM.value,
            to_datetime(commit.at_ms),
            commit.run_id,
            _array(series_id for series_id, _ in begun),
            _array(_moment(row.start_ms) for _, row in begun),
            _array(_moment(row.end_ms) for _, row in begun),
            _array(row.rows for _, row in begun),
            _array(row.content_hash for _, row in begun),
        ),
    )
    return {(series_id, from_datetime(start)): row_id for series_id, start, row_id in tx.cursor.fetchall()}


def _array(items: Iterable[object]) -> str:
    """Return an array literal of numbers, times, hashes or flags: nothing that would have to be quoted.

    The server reads one in a fraction of the time of the driver's ARRAY[...].
    """
    return f"{{{','.join(map(str, items))}}}"


def _moment(ms: int) -> str:
    return to_datetime(ms).isoformat()
