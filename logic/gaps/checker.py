"""Finds what is missing in the tables and fetches exactly that."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.gaps import Gap, GapStatus, new_gap
from core.intervals import Interval
from core.ranges import Span, merge, span_or_none, subtract
from core.series import Series
from db.catalog import load_catalog, set_checked
from db.checks import count_rows_in_each, count_rows_within
from db.connection import Transaction
from db.gaps import load_open_gaps, save_gaps
from db.ledger import LedgerEntry, is_as_recorded, load_entries, set_hash_checked, snapshot_of
from db.operations import SaveResult, find_holes
from db.schema import has_key
from logic.gaps.rechecks import GapRecheck, RecheckResult, recheck_gaps
from logic.verify.verifier import Against, SeriesVerification, Verifier

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HealResult:
    """What a heal brought, in candles (grid slots): back in the table, not at the exchange, not explained yet."""

    healed: int
    not_at_exchange: int
    unexplained: int
    saved: SaveResult


@dataclass(frozen=True, slots=True)
class TableSurvey:
    """What a table holds in some spans, without its rows having travelled."""

    rows: int
    off_grid: int  # rows that open between two slots
    holes: tuple[Span, ...]  # grid slots that no row stands for
    is_exact: bool  # a row for every slot outside the known gaps, and not one more


def find_missing_timestamps(
    tx: Transaction, series: Series, entries: Sequence[LedgerEntry], gaps: Sequence[Gap], spans: Sequence[Span]
) -> list[Span]:
    """Return the grid slots inside `spans` that no stored candle stands for, as spans, ascending.

    A candle off the grid stands for the slot that it falls in. `entries` and `gaps` are the series'
    ledger entries and open gaps; they only spare work.
    """
    return list(survey_table(tx, series, entries, gaps, spans).holes)


def survey_table(
    tx: Transaction, series: Series, entries: Sequence[LedgerEntry], gaps: Sequence[Gap], spans: Sequence[Span]
) -> TableSurvey:
    """Return what the series' table holds in `spans` (ascending, disjoint), computed in the database.

    With a unique key, rows on the grid alone and none inside the known gaps, as many rows as there are
    other slots leave no slot empty: one count proves it. Only where it does not, the spans of the ledger
    are counted one by one, and holes are looked for in those that do not add up.
    """
    table, interval = series.table_name, series.interval
    known = merge(_inside([gap.span for gap in gaps], spans))
    counts = [count_rows_within(tx, table, interval, span) for span in spans]
    rows, off_grid = sum(one.rows for one in counts), sum(one.off_grid for one in counts)
    rows_in_gaps = count_rows_in_each(tx, table, known)
    is_keyed = has_key(tx, table)
    if is_keyed and off_grid == 0 and not any(rows_in_gaps) and rows == _slots(interval, subtract(spans, known)):
        return TableSurvey(rows, off_grid, tuple(known), is_exact=True)

    pieces = sorted(_inside([entry.span for entry in entries], spans))
    pieces = sorted([*pieces, *subtract(spans, pieces)])
    suspects = pieces
    if is_keyed:
        irregular = [hole for hole, found in zip(known, rows_in_gaps, strict=True) if found]
        irregular += [
            Span(one.first_off_grid_ms, one.last_off_grid_ms + 1)
            for one in counts
            if one.first_off_grid_ms is not None and one.last_off_grid_ms is not None
        ]
        found_in_each = count_rows_in_each(tx, table, pieces)
        suspects = [
            piece
            for piece, found in zip(pieces, found_in_each, strict=True)
            if found != _slots(interval, subtract([piece], known)) or any(piece.intersect(one) for one in irregular)
        ]
    holes = subtract(known, suspects)
    for piece in suspects:
        stretches = find_holes(tx, table, interval, piece)
        holes += [slots for stretch in stretches if (slots := _slots_of(stretch, interval))]
    return TableSurvey(rows, off_grid, tuple(merge(holes)), is_exact=False)


def _inside(spans: Sequence[Span], scope: Sequence[Span]) -> list[Span]:
    return [part for span in spans for one in scope if (part := span.intersect(one)) is not None]


def _slots(interval: Interval, spans: Sequence[Span]) -> int:
    return sum(interval.count(span.start_ms, span.end_ms) for span in spans)


def _slots_of(stretch: Span, interval: Interval) -> Span | None:
    """Return the whole slots between two candles; `stretch` runs from one's nominal end to the next's open."""
    return span_or_none(
        interval.open_of(interval.index(stretch.start_ms)), interval.open_of(interval.index(stretch.end_ms))
    )


def fill_missing(recheck: GapRecheck, spans: Sequence[Span]) -> HealResult:
    """Find every missing slot inside `spans` (covered ones), ask for it, save what comes, and judge the rest.

    Slots that are known to be absent are asked for only when their schedule says so. Raises SeriesError
    and ExchangeUnavailable.
    """
    series, table = recheck.series, recheck.series.table_name
    now_ms = recheck.exchange_now_ms()
    with recheck.database.transaction(f"look for missing candles of {series}") as tx:
        entries = load_entries(tx, recheck.series_id, table)
        known = [gap for gap in load_open_gaps(tx, recheck.series_id) if _inside([gap.span], spans)]
        holes = find_missing_timestamps(tx, series, entries, known, spans)
        # Rows inside a known gap do not heal it: no source gave them. `check` shows them, `verify` judges them.
        fresh = subtract(holes, [gap.span for gap in known])
        never_had = _never_had(tx, table, entries, fresh)
        found = [new_gap(span, now_ms, was_committed=True) for span in subtract(fresh, never_had)]
        found += [new_gap(span, now_ms) for span in never_had]
        save_gaps(tx, recheck.series_id, [], found)
        current = [gap for gap in load_open_gaps(tx, recheck.series_id) if _inside([gap.span], spans)]
    to_ask = [gap for gap in current if gap.status is GapStatus.MISSING or recheck.wants(gap)]
    result = recheck_gaps(recheck, to_ask) if to_ask else RecheckResult(SaveResult(), 0, 0)
    _prove(recheck, spans)
    with recheck.database.transaction(f"note the check of {series}") as tx:
        set_checked(tx, recheck.series_id, recheck.now_ms)
    if to_ask:
        _log.info(
            "%s: healed %d candles, %d confirmed not at the exchange, %d not explained yet",
            series,
            result.saved.inserted,
            result.not_at_exchange,
            result.unexplained,
        )
    return HealResult(result.saved.inserted, result.not_at_exchange, result.unexplained, result.saved)


def _never_had(tx: Transaction, table: str, entries: Sequence[LedgerEntry], holes: Sequence[Span]) -> list[Span]:
    """Return the `holes` inside spans that hold what was committed: the source lacked these slots then."""
    touched = [entry for entry in entries if _inside([entry.span], holes)]
    whole = [entry.span for entry in touched if is_as_recorded(tx, table, entry)]
    return merge(_inside(holes, whole))


def _prove(recheck: GapRecheck, spans: Sequence[Span]) -> None:
    """Hold spans that a foreign hand may have changed against their hashes, and those without a hash against sources.

    Note which are right; the others stay for `check` to show and `verify` to judge.
    """
    series = recheck.series
    with recheck.database.transaction(f"hold the candles of {series} against their hashes") as tx:
        seen = snapshot_of(tx)
        entries = load_entries(tx, recheck.series_id, series.table_name)
        right = [
            entry.id for entry in entries if not entry.is_hash_checked and is_as_recorded(tx, series.table_name, entry)
        ]
        set_hash_checked(tx, right, seen)
        row = next(row for row in load_catalog(tx) if row.id == recheck.series_id)
    not_compared = [entry for entry in entries if entry.content_hash is None and _inside([entry.span], spans)]
    against = Against(recheck.plan.rules.choice.value)
    result = SeriesVerification(row)
    Verifier(recheck.database, recheck.exchange, result, against, False, recheck.run_id, recheck.now_ms).verify(
        not_compared
    )
