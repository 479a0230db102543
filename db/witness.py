"""Which ledger spans a second source has confirmed, and how many of their candles two others contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.ranges import Span
from core.sources import Source
from core.times import to_datetime
from db.connection import Transaction


@dataclass(frozen=True, slots=True)
class WitnessTotals:
    """Candles of one series by the ledger."""

    witnessed: int = 0
    contradicted: int = 0  # two other sources have other values


def set_witnessed(
    tx: Transaction, series_id: int, spans: Sequence[Span], of: Sequence[Source], by: str, at_ms: int
) -> None:
    """Record that the ledger entries inside `spans` that came from one of the sources `of` are witnessed.

    `by` is what witnessed them: rest or archive.
    """
    tx.cursor.execute(
        """
        update public.ohlcv_ledger set witnessed_at = %s, witnessed_by = %s, contradicted = 0
        from unnest(%s::timestamptz[], %s::timestamptz[]) as witnessed(first, last)
        where series_id = %s and source = any(%s) and span_start >= witnessed.first and span_end <= witnessed.last
        """,
        (
            to_datetime(at_ms),
            by,
            [to_datetime(span.start_ms) for span in spans],
            [to_datetime(span.end_ms) for span in spans],
            series_id,
            [source.value for source in of],
        ),
    )


def set_contradicted(tx: Transaction, series_id: int, times: Sequence[int]) -> None:
    """Record the candles at `times` (epoch ms), which two other sources contradict, with their ledger entries."""
    if not times:
        return
    tx.cursor.execute(
        """
        update public.ohlcv_ledger set witnessed_at = null, witnessed_by = null, contradicted = found.candles
        from (select id, count(*) as candles
              from public.ohlcv_ledger join unnest(%s::timestamptz[]) as at on at >= span_start and at < span_end
              where series_id = %s group by id) as found
        where ohlcv_ledger.id = found.id
        """,
        ([to_datetime(ms) for ms in times], series_id),
    )


def set_witness_attempted(tx: Transaction, entry_ids: Sequence[int], at_ms: int) -> None:
    """Record for those of the entries that have no witness that one was looked for, so that others come before them."""
    tx.cursor.execute(
        "update public.ohlcv_ledger set attempted_at = %s where id = any(%s) and witnessed_at is null",
        (to_datetime(at_ms), [*entry_ids]),
    )


def load_witness_totals(tx: Transaction, series_ids: Sequence[int]) -> dict[int, WitnessTotals]:
    """Return the totals by series id; series without a ledger row are left out."""
    tx.cursor.execute(
        """
        select series_id, coalesce(sum(rows) filter (where witnessed_at is not null), 0)::bigint,
               sum(contradicted)::bigint
        from public.ohlcv_ledger where series_id = any(%s) group by series_id
        """,
        ([*series_ids],),
    )
    return {series_id: WitnessTotals(*counts) for series_id, *counts in tx.cursor.fetchall()}
