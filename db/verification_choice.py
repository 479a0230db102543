"""Which ledger spans one verification takes, chosen by the database: all, a part of several, or those waiting longest.

A ledger of years has more rows than memory should hold, so only numbers leave the database until a series is verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from core.ranges import TimeRange
from core.subset import Part
from core.times import to_datetime
from db.connection import Transaction
from db.ledger import LedgerEntry, load_entries
from db.provisional import PROVISIONAL


@dataclass(frozen=True, slots=True)
class Selection:
    """Which spans are asked for: those that overlap `times`, and of these a part or a share of the candles."""

    times: TimeRange = field(default_factory=TimeRange)
    part: Part | None = None
    share: Fraction | None = None  # those that wait longest, by their candles together
    by_witness: bool = False  # waiting is without a witness; else without a verification
    provisional_until_ms: int | None = None  # only provisional spans (core/provisional.py) that end by then, epoch ms


@dataclass(frozen=True, slots=True)
class ChosenSpans:
    """How many spans were chosen of each series, and by what."""

    selection: Selection
    names: Mapping[int, str]  # by series id, as the operator writes the series
    counts: Mapping[int, int]  # ledger spans by series id; series without one are left out
    last: tuple[datetime, int, datetime] | None  # of a share the span that waits shortest: since when, series id, start


# The place of a span among n parts is the sha256 of its name, the first 64 bits modulo n: the same on every machine.
# Its name is that of the series, a slash, and its start in the shortest ISO 8601 form (core.times.format_ms).
_DIGEST = """
    encode(sha256(convert_to(name || '/' || to_char(span_start at time zone 'UTC', case span_start
        when date_trunc('day', span_start, 'UTC') then 'YYYY-MM-DD'
        when date_trunc('minute', span_start, 'UTC') then 'YYYY-MM-DD"T"HH24:MI"Z"'
        when date_trunc('second', span_start, 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        else 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"' end), 'UTF8')), 'hex')
"""
_IN_PART = f"""
    mod(('x' || left({_DIGEST}, 8))::bit(32)::bigint * 4294967296::numeric
        + ('x' || substr({_DIGEST}, 9, 8))::bit(32)::bigint, %(of)s) = %(number)s - 1
"""


def _asked(selection: Selection) -> str:
    """Return the query for the spans that are asked for, before a share of them is taken."""
    conditions = ["true"]
    if selection.times.start_ms is not None:
        conditions.append("span_end > %(start)s")
    if selection.times.end_ms is not None:
        conditions.append("span_start < %(end)s")
    if selection.part is not None:
        conditions.append(_IN_PART)
    if selection.provisional_until_ms is not None:
        conditions.append(f"{PROVISIONAL} and content_hash is not null and span_end <= %(provisional_until)s")
    # Of what is verified without a witness to be had, `attempted_at` says so: it must not come first every night.
    confirmed_at = "witnessed_at" if selection.by_witness else "verified_at"
    return f"""
        select ledger.id, series_id, span_start, greatest(rows, 1)::numeric as candles,
               greatest(fetched_at, {confirmed_at}, attempted_at) as waiting_since
        from public.ohlcv_ledger as ledger
        join unnest(%(ids)s::integer[], %(names)s::text[]) as asked(id, name) on asked.id = series_id
        where {" and ".join(conditions)}
    """


def choose_spans(tx: Transaction, names: Mapping[int, str], selection: Selection) -> ChosenSpans:
    """Choose among the ledger spans of the series `names` (by id).

    With a share: those that wait longest since they were fetched, confirmed or tried in vain, until they hold that
    share of all candles; at least one. A daily run with 4 % gets through all spans in about 25 days.
    """
    last = None if selection.share is None else _last_of_share(tx, names, selection, selection.share)
    chosen = ChosenSpans(selection, names, {}, last)
    query, values = _chosen(chosen, names)
    tx.cursor.execute(f"select series_id, count(*) from ({query}) as chosen group by series_id", values)
    return replace(chosen, counts=dict(tx.cursor.fetchall()))


def load_chosen(tx: Transaction, chosen: ChosenSpans, series_id: int, table: str) -> list[LedgerEntry]:
    """Return the ledger entries of one series that belong to the choice, in order, as the ledger is now."""
    query, values = _chosen(chosen, {series_id: chosen.names[series_id]})
    tx.cursor.execute(f"select id from ({query}) as chosen", values)
    ids = {entry_id for (entry_id,) in tx.cursor.fetchall()}
    return [entry for entry in load_entries(tx, series_id, table) if entry.id in ids]


def _last_of_share(
    tx: Transaction, names: Mapping[int, str], selection: Selection, share: Fraction
) -> tuple[datetime, int, datetime] | None:
    """Return the last span that is taken, in the order of waiting; None when there is none at all."""
    tx.cursor.execute(
        f"""
        select waiting_since, series_id, span_start
        from (select *, sum(candles) over () as all_candles,
                     sum(candles) over (order by waiting_since, series_id, span_start) as together
              from ({_asked(selection)}) as asked) as summed
        where (together - candles) * %(denominator)s < all_candles * %(numerator)s
        order by waiting_since desc, series_id desc, span_start desc limit 1
        """,
        _values(names, selection) | {"numerator": share.numerator, "denominator": share.denominator},
    )
    return tx.cursor.fetchone()


def _chosen(chosen: ChosenSpans, names: Mapping[int, str]) -> tuple[str, dict[str, object]]:
    """Return the query for the chosen spans of the series `names`, and its values."""
    query, values = _asked(chosen.selection), _values(names, chosen.selection)
    if chosen.last is None:
        return query, values
    query = f"select * from ({query}) as asked where (waiting_since, series_id, span_start) <= %(last)s"
    return query, values | {"last": chosen.last}


def _values(names: Mapping[int, str], selection: Selection) -> dict[str, object]:
    times, part = selection.times, selection.part
    return {
        "ids": [*names],
        "names": [*names.values()],
        "start": None if times.start_ms is None else to_datetime(times.start_ms),
        "end": None if times.end_ms is None else to_datetime(times.end_ms),
        "number": None if part is None else part.number,
        "of": None if part is None else part.of,
        "provisional_until": None
        if selection.provisional_until_ms is None
        else to_datetime(selection.provisional_until_ms),
    }
