"""Compares stored longer candles with those computed from the stored 1m candles of the same symbol."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.errors import StatementRefused
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.gaps import Gap, GapStatus, Reason
from core.intervals import INTERVALS, Interval
from core.ranges import Span, merge, span_or_none, subtract
from core.series import Series
from core.times import END_OF_TIME_MS, format_ms
from db.aggregates import AggregateDifference, find_aggregate_differences
from db.catalog import CatalogRow, load_catalog
from db.connection import Database
from db.gaps import load_open_gaps
from db.ledger import load_entries
from db.schema import table_exists

_log = logging.getLogger(__name__)

_SHOWN = 20


@dataclass(slots=True)
class AggregateResult:
    """The result of one longer series. Counts are its candles."""

    series: Series
    compared: int = 0
    differing: int = 0
    explained: int = 0  # differ because the exchange has lost records of 1m
    not_judged: int = 0  # not compared, because 1m candles are missing
    shown: list[AggregateDifference] = field(default_factory=list)
    why_not: str | None = None  # why nothing of the series can be compared


def check_aggregates(
    database: Database, rows: Sequence[CatalogRow], start_ms: int | None, end_ms: int | None
) -> list[AggregateResult]:
    """Return how the longer series among `rows` compare with 1m. Read-only.

    A candle is compared when the ledger covers it in both series and no 1m candle in it is missing.
    """
    with database.transaction("read the catalog") as tx:
        minutes = {
            (row.series.market, row.series.symbol): row
            for row in load_catalog(tx)
            if row.series.interval is INTERVALS["1m"]
        }
    longer = [row for row in rows if row.series.interval.typical_ms > INTERVALS["1m"].typical_ms]
    results = []
    for row in longer:
        minute = minutes.get((row.series.market, row.series.symbol))
        try:
            results.append(_check(database, row, minute, start_ms, end_ms))
        except StatementRefused as error:  # such as a lock of somebody else
            results.append(AggregateResult(row.series, why_not=str(error)))
    return results


def aggregate_exit_code(results: Sequence[AggregateResult]) -> int:
    """Return the exit code of the command (docs/commands.md)."""
    return EXIT_OK if all(one.differing == 0 and one.why_not is None for one in results) else EXIT_INCOMPLETE


def _check(
    database: Database, row: CatalogRow, minute: CatalogRow | None, start_ms: int | None, end_ms: int | None
) -> AggregateResult:
    series, result = row.series, AggregateResult(row.series)
    if minute is None:
        result.why_not = "no 1m candles of the symbol are stored"
        return result
    table, minute_table = series.table_name, minute.series.table_name
    with database.transaction(f"compare {series} with its 1m candles") as tx:
        if not (table_exists(tx, table) and table_exists(tx, minute_table)):
            result.why_not = "a table of the two does not exist; run a backfill"
            return result
        longer = _covered(merge(entry.span for entry in load_entries(tx, row.id, table)), start_ms, end_ms)
        fine = merge([*(entry.span for entry in load_entries(tx, minute.id, minute_table)), *_outside_listing(minute)])
        gaps = load_open_gaps(tx, minute.id)
        doubtful = [*subtract(longer, fine), *(gap.span for gap in gaps if gap.status is GapStatus.MISSING)]
        slots = _whole_slots(series.interval, longer)
        judged = subtract(slots, [_slots_around(series.interval, span) for span in doubtful])
        result.not_judged = series.interval.count_in(longer) - series.interval.count_in(judged)
        for span in judged:
            compared, differences = find_aggregate_differences(tx, table, minute_table, series.interval, span)
            result.compared += compared
            for difference in differences:
                _record(result, difference, series.interval, gaps)
    return result


def _record(result: AggregateResult, difference: AggregateDifference, interval: Interval, gaps: Sequence[Gap]) -> None:
    slot = _slots_around(interval, Span(difference.time_ms, difference.time_ms + 1))
    if any(gap.reason is Reason.RECORD_LOST and gap.span.intersect(slot) for gap in gaps):
        result.explained += 1
        return
    result.differing += 1
    if len(result.shown) < _SHOWN:
        result.shown.append(difference)
        what = "; ".join(difference.differing())
        _log.warning("%s: %s differs from its 1m candles: %s", result.series, format_ms(difference.time_ms), what)


def _outside_listing(minute: CatalogRow) -> list[Span]:
    """Return the time outside the listing, without 1m candles: a week or month can begin before the listing."""
    spans = []
    if minute.listing.first_ms is not None:
        spans.append(Span(0, minute.listing.first_ms))
    if minute.listing.end_ms is not None:
        spans.append(Span(minute.listing.end_ms, END_OF_TIME_MS))
    return spans


def _covered(spans: Sequence[Span], start_ms: int | None, end_ms: int | None) -> list[Span]:
    outside = []
    if start_ms is not None and start_ms > 0:
        outside.append(Span(0, start_ms))
    if end_ms is not None:
        outside.append(Span(end_ms, max(end_ms + 1, spans[-1].end_ms if spans else 0)))
    return subtract(spans, outside)


def _whole_slots(interval: Interval, spans: Sequence[Span]) -> list[Span]:
    whole = (span_or_none(interval.ceil(span.start_ms), interval.floor(span.end_ms)) for span in spans)
    return [span for span in whole if span is not None]


def _slots_around(interval: Interval, span: Span) -> Span:
    return Span(interval.floor(span.start_ms), interval.ceil(span.end_ms))
