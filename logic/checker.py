"""Finds what is missing in the tables and fetches exactly that."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.candles import coalesce
from core.intervals import Interval
from core.ranges import Span, span_or_none
from core.series import Series
from db.connection import Database
from db.ledger import replace_spans
from db.operations import SaveResult, find_holes, get_existing_timestamps, save_ohlcv
from logic.chunk_fetch import fetch_by_rest
from logic.exchange import Exchange

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HealResult:
    """What a heal brought: rows, and slots that the exchange was asked for again in vain."""

    healed: int
    still_missing: int
    saved: SaveResult


def find_missing_timestamps(database: Database, series: Series, covered: Sequence[Span]) -> list[Span]:
    """Return the grid slots inside `covered` that no stored candle stands for, as spans, ascending.

    Computed in the database: only the bounds of holes travel. A candle off the grid stands for the
    slot that it falls in.
    """
    missing: list[Span] = []
    with database.transaction(f"look for missing candles of {series}") as cursor:
        for span in covered:
            stretches = find_holes(cursor, series.table_name, series.interval, span)
            missing += [slots for stretch in stretches if (slots := _slots_of(stretch, series.interval))]
    return missing


def _slots_of(stretch: Span, interval: Interval) -> Span | None:
    """Return the whole slots between two candles; `stretch` runs from one's nominal end to the next's open."""
    return span_or_none(
        interval.open_of(interval.index(stretch.start_ms)), interval.open_of(interval.index(stretch.end_ms))
    )


def fill_missing(
    database: Database,
    exchange: Exchange,
    series: Series,
    series_id: int,
    covered: Sequence[Span],
    run_id: str,
    now_ms: int,
) -> HealResult:
    """Ask REST for every missing slot inside `covered`, save what comes, and return the counts.

    Raises SeriesError and ExchangeUnavailable.
    """
    missing = find_missing_timestamps(database, series, covered)
    saved = SaveResult()
    # Holes near each other fit into one page.
    for stretch in coalesce(missing, series.interval, exchange.page_rows(series.market)):
        fetched = fetch_by_rest(series, stretch, exchange)
        with database.transaction(f"save the healed candles of {series} {stretch}") as cursor:
            before = set(get_existing_timestamps(cursor, series.table_name, stretch))
            fresh = [s for s in fetched.spans if set(s.batch.open_times()) - before]
            if fresh:
                replace_spans(cursor, series_id, series.table_name, [s.span for s in fresh])
                saved += save_ohlcv(cursor, series_id, series.table_name, fresh, run_id, now_ms)
    still_missing = sum(
        series.interval.count(span.start_ms, span.end_ms) for span in find_missing_timestamps(database, series, covered)
    )
    if missing:
        _log.info("%s: healed %d candles, %d stay missing at the exchange", series, saved.inserted, still_missing)
    return HealResult(saved.inserted, still_missing, saved)
