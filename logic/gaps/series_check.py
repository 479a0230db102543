"""Compares what a table holds with what it should hold. Read-only, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.exchanges import publishing_rules
from core.expected import earlier_listing, expected_spans
from core.gaps import Gap, GapStatus, is_too_young
from core.provisional import ProvisionalCandles
from core.ranges import Span, TimeRange, inside, merge, subtract
from core.series import Series
from core.staleness import NewestCoverage, is_stale
from core.times import END_OF_TIME_MS
from db.catalog import CatalogRow
from db.checks import (
    count_between_milliseconds,
    count_doubles,
    count_rows_in_each,
    find_off_grid,
    find_row_edges,
)
from db.connection import Transaction
from db.external_changes import is_watched, last_external_change
from db.gaps import load_open_gaps
from db.ledger import LedgerEntry, hash_stored, is_as_recorded, load_entries
from db.schema import ShapeFaultKind, find_tables, has_key
from db.timescale import find_dropped_before, lock_chunks_once
from logic.gaps.checker import survey_table

_ALL_TIME = Span(0, END_OF_TIME_MS)
_OFF_GRID_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SeriesCheck:
    """The check of one series against grid, ledger and gaps. Counts are candles; spans are half-open, epoch ms."""

    row: CatalogRow
    spans: tuple[Span, ...]  # the ranges that were checked
    expected: int = 0
    stored: int = 0  # rows inside `spans`
    not_at_exchange: int = 0  # slots without a candle at the exchange, with evidence
    off_grid: int = 0
    off_grid_shown: tuple[int, ...] = ()  # the first of them, epoch ms
    earlier_listing: tuple[Span, ...] = ()  # of `spans`, what was fetched when the ticker was another contract's
    too_young: tuple[Span, ...] = ()  # missing slots that nobody can prove yet: halts of these days
    unexplained: tuple[Span, ...] = ()  # missing slots that are not known to be not at the exchange
    never_fetched: tuple[Span, ...] = ()
    extra: tuple[Span, ...] = ()  # where rows are without a recorded source
    extra_rows: int = 0
    doubled: int = 0
    with_hash: int = 0  # candles of ledger spans in `spans` whose hash is known
    by_checksum: int = 0  # candles of them that came from an archive with a valid checksum
    witnessed: int = 0  # candles of ledger spans in `spans` that a source other than their own confirmed
    contradicted: int = 0  # candles of them of which two other sources say something else
    altered: tuple[Span, ...] = ()  # ledger spans whose values no longer match their hash
    not_compared: tuple[Span, ...] = ()  # ledger spans without a hash: only `verify` can compare them
    hashed: tuple[Span, ...] = ()  # ledger spans whose candles were hashed, as nothing says that they are unchanged
    gaps: tuple[Gap, ...] = ()  # those inside `spans` that are not healed
    faults: tuple[str, ...] = ()  # of the table itself
    external_change: str | None = None  # the last one: when, by whom
    covered_until_ms: int | None = None  # exclusive; None: nothing was ever fetched
    last_fetched_ms: int | None = None  # when a run last committed candles of it, by that machine's clock
    dropped_before_ms: int | None = None  # a retention policy drops what is older, so that is not expected
    provisional: ProvisionalCandles = field(default_factory=ProvisionalCandles)  # streamed, and not audited yet
    is_audit_overdue: bool = False  # some of them wait for too long (core/provisional.py)
    is_stale: bool = False  # it should grow and stands still (core/staleness.py)
    not_checked: str | None = None  # why the table could not be read now
    is_empty: bool = False  # an active series that has begun to trade, but nothing was ever fetched

    @property
    def missing(self) -> int:
        """Number of slots that should hold a candle and do not."""
        return self.row.series.interval.count_in((*self.unexplained, *self.never_fetched))

    @property
    def is_complete(self) -> bool:
        """Whether all candles that are at the exchange up to now are stored, unchanged, and there are no other rows."""
        wrong = (
            self.unexplained
            or self.never_fetched
            or self.extra_rows
            or self.doubled
            or self.altered
            or self.not_compared
            or self.contradicted
            or self.not_checked
        )
        return not (wrong or self.faults or self.is_empty or self.is_stale or self.is_audit_overdue)


def check_series(tx: Transaction, row: CatalogRow, asked: TimeRange, now_ms: int) -> SeriesCheck:
    """Return the check of one series over its expected range, or over the range `asked` for.

    `now_ms` is the exchange's clock (epoch ms), by which a candle has closed or not. Whether the series stands still is
    told where no end was asked for.
    """
    entries = load_entries(tx, row.id, row.series.table_name)
    check = _check(tx, row, entries, asked, now_ms)
    if not entries:
        return check
    newest = max(entries, key=lambda entry: entry.span)
    stale = (
        row.active
        and asked.end_ms is None
        and is_stale(
            row.series.interval, row.listing, row.wanted, NewestCoverage(newest.span.end_ms, newest.source), now_ms
        )
    )
    touched = [entry for entry in entries if entry.is_provisional and inside([entry.span], check.spans)]
    provisional = ProvisionalCandles.of(row.series.interval, ((entry.span, entry.rows) for entry in touched))
    return replace(
        check,
        provisional=provisional,
        is_audit_overdue=provisional.is_overdue(now_ms),
        covered_until_ms=newest.span.end_ms,
        last_fetched_ms=max(entry.fetched_ms for entry in entries),
        is_stale=stale,
    )


def _check(
    tx: Transaction, row: CatalogRow, entries: Sequence[LedgerEntry], asked: TimeRange, now_ms: int
) -> SeriesCheck:
    series, table = row.series, row.series.table_name
    shape = find_tables(tx, [table]).get(table)
    lock_chunks_once(tx, table)
    covered = merge(entry.span for entry in entries)
    wanted = row.wanted if row.active else None
    spans = expected_spans(series.interval, row.listing, wanted, covered, asked, now_ms)
    dropped_before_ms = find_dropped_before(tx, [table]).get(table)
    dropped = [] if dropped_before_ms is None else [Span(0, series.interval.ceil(dropped_before_ms))]
    spans = subtract(spans, dropped)
    expected = series.interval.count_in(spans)
    if row.active and not covered and not row.listing.is_pending:
        return SeriesCheck(row, tuple(spans), expected, never_fetched=tuple(spans), is_empty=True)
    if shape is None:
        gone = [f"table public.{table} does not exist"] if covered else []
        return SeriesCheck(row, tuple(spans), expected, never_fetched=tuple(spans), faults=tuple(gone))
    faults = tuple(fault.text for fault in shape.faults)
    if any(fault.kind is ShapeFaultKind.COLUMNS for fault in shape.faults):
        return SeriesCheck(row, tuple(spans), expected, never_fetched=tuple(subtract(spans, covered)), faults=faults)
    found = _compare(tx, row, entries, spans, asked, dropped)
    found = _with_known_gaps(found, covered, now_ms)
    return replace(found, expected=expected, faults=(*faults, *found.faults), dropped_before_ms=dropped_before_ms)


def _compare(
    tx: Transaction,
    row: CatalogRow,
    entries: Sequence[LedgerEntry],
    spans: Sequence[Span],
    asked: TimeRange,
    dropped: Sequence[Span],
) -> SeriesCheck:
    """Compare a table of the right shape with grid, ledger and gaps. In `dropped` any row may be gone."""
    series, table = row.series, row.series.table_name
    covered = merge(entry.span for entry in entries)
    all_gaps = load_open_gaps(tx, row.id)
    gaps = [gap for gap in all_gaps if inside([gap.span], spans)]
    to_check = [part for span in covered for one in spans if (part := span.intersect(one)) is not None]
    survey = survey_table(tx, series, entries, gaps, to_check)
    explained = inside([gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE], survey.holes)
    extra = _unrecorded_rows(tx, row, covered, gaps, [_ALL_TIME] if asked.is_unbounded else spans)
    if not survey.is_exact:
        extra += _surplus(tx, series, entries, all_gaps, survey.holes, to_check)
    unexplained = subtract(survey.holes, explained)
    faults = []
    if survey.off_grid and (moved := sum(count_between_milliseconds(tx, table, span) for span in to_check)):
        faults.append(f"{moved:,} rows open between two milliseconds, where no source has a candle")
    touched = [entry for entry in entries if inside([entry.span], spans)]
    known_wrong = [*unexplained, *dropped, *(span for span, _ in extra)]
    altered, not_compared, hashed = _values(tx, table, entries, spans, known_wrong)
    return SeriesCheck(
        row,
        tuple(spans),
        stored=survey.rows,
        not_at_exchange=series.interval.count_in(explained),
        off_grid=survey.off_grid,
        off_grid_shown=tuple(_first_off_grid(tx, series, spans)) if survey.off_grid else (),
        unexplained=tuple(unexplained),
        never_fetched=tuple(subtract(spans, covered)),
        extra=tuple(span for span, _ in extra),
        extra_rows=sum(count for _, count in extra),
        with_hash=sum(entry.rows for entry in touched if entry.content_hash is not None),
        by_checksum=sum(entry.rows for entry in touched if entry.archive_checksum is not None),
        witnessed=sum(entry.rows for entry in touched if entry.witnessed_ms is not None),
        contradicted=sum(entry.contradicted for entry in touched),
        doubled=0 if has_key(tx, table) else count_doubles(tx, table),
        altered=tuple(altered),
        not_compared=tuple(not_compared),
        hashed=tuple(hashed),
        gaps=tuple(gaps),
        faults=tuple(faults),
        external_change=last_external_change(tx, table),
    )


def _with_known_gaps(check: SeriesCheck, covered: Sequence[Span], now_ms: int) -> SeriesCheck:
    """Return the check with the gaps apart that nobody can prove: not yet, or no more.

    Of an earlier listing under the same ticker the exchange has no candle left to ask for; what it lacked then stays
    a gap, with its evidence.
    """
    series = check.row.series
    rules = publishing_rules(series.exchange, series.interval)
    young = [gap.span for gap in check.gaps if is_too_young(gap, rules, now_ms)]
    earlier = inside(earlier_listing(series.interval, check.row.listing, covered), check.spans)
    never_had = inside([gap.span for gap in check.gaps if not gap.was_committed], earlier)
    return replace(
        check,
        earlier_listing=tuple(earlier),
        too_young=tuple(inside(young, check.unexplained)),
        unexplained=tuple(subtract(check.unexplained, [*young, *never_had])),
    )


def _first_off_grid(tx: Transaction, series: Series, spans: Sequence[Span]) -> list[int]:
    found = [
        ms for span in spans for ms in find_off_grid(tx, series.table_name, series.interval, span, _OFF_GRID_SHOWN)
    ]
    return found[:_OFF_GRID_SHOWN]


def _unrecorded_rows(
    tx: Transaction, row: CatalogRow, covered: Sequence[Span], gaps: Sequence[Gap], scope: Sequence[Span]
) -> list[tuple[Span, int]]:
    """Return where in `scope` there are rows that no source gave, and how many.

    These are rows outside what was fetched, after the delisting, and inside known gaps. What was fetched before the
    listing is an earlier contract's under the same ticker (core/expected.py).
    """
    interval = row.series.interval
    outside = subtract([_ALL_TIME], covered)
    if row.listing.end_ms is not None:
        outside.append(Span(interval.ceil(row.listing.end_ms), _ALL_TIME.end_ms))
    spans = inside(merge([*outside, *(gap.span for gap in gaps)]), scope)
    table = row.series.table_name
    counts = zip(spans, count_rows_in_each(tx, table, spans), strict=True)
    return [(find_row_edges(tx, table, span) or span, count) for span, count in counts if count]


def _surplus(
    tx: Transaction,
    series: Series,
    entries: Sequence[LedgerEntry],
    gaps: Sequence[Gap],
    holes: Sequence[Span],
    scope: Sequence[Span],
) -> list[tuple[Span, int]]:
    """Return the ledger spans overlapping `scope` that hold more rows than were committed, and how many more.

    Rows inside known gaps are not counted here. `holes` are those inside `scope`; a ledger span that
    extends beyond it is searched as a whole.
    """
    # An entry without a hash has no reliable number of rows either.
    touched = [entry for entry in entries if entry.content_hash is not None and inside([entry.span], scope)]
    known = merge(gap.span for gap in gaps)
    parts = [(entry, part) for entry in touched for part in subtract([entry.span], known)]
    counts = count_rows_in_each(tx, series.table_name, [part for _, part in parts])
    stored = dict.fromkeys((entry.id for entry in touched), 0)
    for (entry, _), count in zip(parts, counts, strict=True):
        stored[entry.id] += count
    surplus = []
    for entry in touched:
        lacking: Sequence[Span] = inside(holes, [entry.span])
        if subtract([entry.span], scope):
            lacking = survey_table(tx, series, [entry], gaps, [entry.span]).holes
        lost = series.interval.count_in(subtract(lacking, known))
        more = stored[entry.id] + lost - entry.rows
        if more > 0 and not is_as_recorded(tx, series.table_name, entry):
            surplus.append((entry.span, more))
    return surplus


def _values(
    tx: Transaction, table: str, entries: Sequence[LedgerEntry], spans: Sequence[Span], known_wrong: Sequence[Span]
) -> tuple[list[Span], list[Span], list[Span]]:
    """Return the ledger spans whose values differ from those committed, those without a hash, and those hashed here.

    Only spans with possible external changes are read: a trigger records these, and without the trigger
    all spans are read. Where rows are missing or too many (`known_wrong`), the hash cannot match and is not reported.
    """
    watched = is_watched(tx, table)
    touched = [entry for entry in entries if inside([entry.span], spans)]
    doubtful = [e for e in touched if e.content_hash is not None and not (watched and e.is_hash_checked)]
    altered = []
    for entry in doubtful:
        rows, content = hash_stored(tx, table, entry.span)
        if content != entry.content_hash and (rows == entry.rows or not inside([entry.span], known_wrong)):
            altered.append(entry.span)
    without_hash = [entry.span for entry in touched if entry.content_hash is None]
    return altered, without_hash, [entry.span for entry in doubtful]
