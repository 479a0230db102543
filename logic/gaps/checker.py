"""Finds missing candles in the tables and fetches exactly those."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.gaps import Gap, GapStatus, new_gap
from core.intervals import Interval
from core.ranges import Span, inside, merge, span_or_none, subtract
from core.series import Series
from db.catalog import load_catalog, set_checked
from db.checks import count_rows_in_each, count_rows_within
from db.connection import Transaction
from db.gaps import load_open_gaps, save_gaps
from db.ledger import LedgerEntry, is_as_recorded, load_entries, set_hash_checked, snapshot_of
from db.operations import SaveResult, find_holes
from db.schema import has_key
from db.timescale import find_dropped_before
from logic.gaps.rechecks import GapRecheck, RecheckResult, recheck_gaps
from logic.series_session import SeriesSession
from logic.verify.verification import SeriesVerification
from logic.verify.verifier import Verifier

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HealResult:
    """The result of a heal in candles (grid slots): now stored, not at the exchange, still unexplained."""

    healed: int
    not_at_exchange: int
    unexplained: int
    saved: SaveResult


@dataclass(frozen=True, slots=True)
class TableSurvey:
    """What a table holds in some spans, computed in the database."""

    rows: int
    off_grid: int  # rows whose open time is not on the grid
    holes: tuple[Span, ...]  # grid slots without a row
    is_exact: bool  # exactly one row for every slot outside the known gaps


def find_missing_timestamps(
    tx: Transaction, series: Series, entries: Sequence[LedgerEntry], gaps: Sequence[Gap], spans: Sequence[Span]
) -> list[Span]:
    """Return the grid slots inside `spans` without a stored candle, merged into half-open spans, ascending.

    A candle off the grid fills the slot that it falls in. `entries` and `gaps` are the series'
    ledger entries and gaps that are not healed; they only make the search faster.
    """
    return list(survey_table(tx, series, entries, gaps, spans).holes)


def survey_table(
    tx: Transaction, series: Series, entries: Sequence[LedgerEntry], gaps: Sequence[Gap], spans: Sequence[Span]
) -> TableSurvey:
    """Return what the series' table holds in `spans` (ascending, disjoint), computed in the database.

    When the table has a unique key, all rows are on the grid and none is inside a known gap, then as many rows
    as other slots means that every slot is filled: one count is enough. Otherwise each ledger span
    is counted, and holes are searched only in those whose count is wrong.
    """
    table, interval = series.table_name, series.interval
    known = merge(inside([gap.span for gap in gaps], spans))
    counts = [count_rows_within(tx, table, interval, span) for span in spans]
    rows, off_grid = sum(one.rows for one in counts), sum(one.off_grid for one in counts)
    rows_in_gaps = count_rows_in_each(tx, table, known)
    is_keyed = has_key(tx, table)
    if is_keyed and off_grid == 0 and not any(rows_in_gaps) and rows == interval.count_in(subtract(spans, known)):
        return TableSurvey(rows, off_grid, tuple(known), is_exact=True)

    pieces = sorted(inside([entry.span for entry in entries], spans))
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
            if found != interval.count_in(subtract([piece], known)) or any(piece.intersect(one) for one in irregular)
        ]
    holes = subtract(known, suspects)
    for piece in suspects:
        stretches = find_holes(tx, table, interval, piece)
        holes += [slots for stretch in stretches if (slots := _slots_of(stretch, interval))]
    return TableSurvey(rows, off_grid, tuple(merge(holes)), is_exact=False)


def _slots_of(stretch: Span, interval: Interval) -> Span | None:
    """Return the whole slots in `stretch`, which is from the end of one candle to the open time of the next."""
    return span_or_none(
        interval.open_of(interval.index(stretch.start_ms)), interval.open_of(interval.index(stretch.end_ms))
    )


def fill_missing(recheck: GapRecheck, spans: Sequence[Span]) -> HealResult:
    """Find every missing slot inside `spans` (covered ranges), fetch it, and update the gaps of what stays missing.

    Slots that are known not to be at the exchange are requested only when their recheck is due. Raises SeriesError
    and ExchangeUnavailable.
    """
    session = recheck.session
    spans = _kept_by_retention(session, spans)
    current = _enter_missing(session, spans)
    to_ask = [gap for gap in current if gap.status is GapStatus.MISSING or recheck.wants(gap)]
    result = recheck_gaps(recheck, to_ask) if to_ask else RecheckResult(SaveResult(), 0, 0)
    _check_hashes(recheck, spans)
    with session.database.transaction(f"record the check of {session.series}") as tx:
        set_checked(tx, session.series_id, session.now_ms)
    if to_ask:
        _log.info(
            "%s: healed %d candles, %d confirmed not to be at the exchange, %d not explained yet",
            session.series,
            result.saved.inserted,
            result.not_at_exchange,
            result.unexplained,
        )
    return HealResult(result.saved.inserted, result.not_at_exchange, result.unexplained, result.saved)


def _kept_by_retention(session: SeriesSession, spans: Sequence[Span]) -> Sequence[Span]:
    """Return `spans` without what a retention policy drops: it would drop it again after each heal."""
    with session.database.transaction(f"look for a retention policy of {session.series}") as tx:
        dropped_before_ms = find_dropped_before(tx, [session.table]).get(session.table)
    if dropped_before_ms is None:
        return spans
    return subtract(spans, [Span(0, session.series.interval.ceil(dropped_before_ms))])


def _enter_missing(session: SeriesSession, spans: Sequence[Span]) -> list[Gap]:
    """Record the holes of the table inside `spans` as gaps; return all gaps there that are not healed."""
    now_ms = session.exchange_now_ms()
    with session.database.transaction(f"look for missing candles of {session.series}") as tx:
        entries = load_entries(tx, session.series_id, session.table)
        known = [gap for gap in load_open_gaps(tx, session.series_id) if inside([gap.span], spans)]
        holes = find_missing_timestamps(tx, session.series, entries, known, spans)
        # Rows inside a known gap do not heal it: no source gave them. `check` reports and `verify` compares them.
        fresh = subtract(holes, [gap.span for gap in known])
        never_had = _never_had(tx, session.table, entries, fresh)
        found = [new_gap(span, now_ms, was_committed=True) for span in subtract(fresh, never_had)]
        found += [new_gap(span, now_ms) for span in never_had]
        save_gaps(tx, session.series_id, [], found)
        return [gap for gap in load_open_gaps(tx, session.series_id) if inside([gap.span], spans)]


def _never_had(tx: Transaction, table: str, entries: Sequence[LedgerEntry], holes: Sequence[Span]) -> list[Span]:
    """Return the `holes` inside ledger spans whose hash still matches: the source lacked these slots when fetched."""
    touched = [entry for entry in entries if inside([entry.span], holes)]
    whole = [entry.span for entry in touched if is_as_recorded(tx, table, entry)]
    return merge(inside(holes, whole))


def _check_hashes(recheck: GapRecheck, spans: Sequence[Span]) -> None:
    """Check the hashes of spans that may have external changes; compare spans without a hash with the exchange.

    Matching hashes are recorded. Spans that do not match are left for `check` to report and `verify` to compare.
    """
    session = recheck.session
    with session.database.transaction(f"check the hashes of {session.series}") as tx:
        seen = snapshot_of(tx)
        entries = load_entries(tx, session.series_id, session.table)
        doubtful = [entry for entry in entries if not entry.is_hash_checked]
        set_hash_checked(tx, [entry.id for entry in doubtful if is_as_recorded(tx, session.table, entry)], seen)
        row = next(row for row in load_catalog(tx) if row.id == session.series_id)
    not_compared = [entry for entry in entries if entry.content_hash is None and inside([entry.span], spans)]
    verifier = Verifier(session, SeriesVerification(row), recheck.options.allowed, may_repair=False)
    verifier.verify(not_compared)
