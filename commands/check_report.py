"""What `check` found, as a table with its reasons or as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from commands.output import span_document, time_text
from commands.tables import print_table
from core.gaps import Gap, GapStatus
from core.ranges import Span, subtract
from logic.gaps.series_check import SeriesCheck

_SPANS_SHOWN = 20
_COLUMNS = [
    "series",
    "range",
    "expected",
    "stored",
    "missing",
    "not_at_exchange",
    "off-grid",
    "extra",
    "last checked",
    "verdict",
]


def check_document(checks: Sequence[SeriesCheck]) -> dict[str, object]:
    """Return the machine-readable report (`--json`)."""
    return {"complete": all(check.is_complete for check in checks), "series": [_document(check) for check in checks]}


def print_checks(checks: Sequence[SeriesCheck], now_ms: int) -> None:
    """Print a table of the series, then what is wrong with each and every gap with its reason and evidence."""
    if not checks:
        return
    rows = []
    for check in checks:
        span = str(Span(check.spans[0].start_ms, check.spans[-1].end_ms)) if check.spans else "-"
        counts = [check.expected, check.stored, check.missing, check.not_at_exchange, check.off_grid, check.extra_rows]
        checked_ms = check.row.checked_at_ms
        last = "never" if checked_ms is None else f"{max(0, now_ms - checked_ms) // 3_600_000} h ago"
        rows.append([str(check.row.series), span, *(f"{count:,}" for count in counts), last, _verdict(check)])
    print_table("", _COLUMNS, rows, numbers=_COLUMNS[2:8])
    for check in checks:
        for line in _lines(check):
            print(f"{check.row.series}: {line}")


def _verdict(check: SeriesCheck) -> str:
    if check.is_complete:
        if not check.spans and not check.stored:
            return "empty"  # not active, and nothing of it was ever fetched
        if check.row.delisting_ms is None:
            return "complete"
        return "complete, delisted" if check.row.silence_asked_ms is None else "complete, silent"
    if check.missing or check.is_empty:
        return "MISSING"
    return "DAMAGED" if check.faults or check.extra_rows or check.doubled or check.altered else "UNPROVEN"


def _lines(check: SeriesCheck) -> Iterator[str]:
    if check.row.note:
        yield check.row.note
    if check.is_empty:
        yield "nothing of it was ever fetched; a backfill fetches it, or says why it cannot"
    for fault in check.faults:
        yield f"the table is not as it was made: {fault}"
    for span in check.never_fetched[:_SPANS_SHOWN]:
        yield f"never fetched: {span}; a backfill or check --heal fetches it"
    if len(check.never_fetched) > _SPANS_SHOWN:
        yield f"... and {len(check.never_fetched) - _SPANS_SHOWN:,} more stretches never fetched, see --json"
    for span in check.lost[:_SPANS_SHOWN]:
        yield f"missing {span} ({_candles(check, span)}): {_why_missing(check, span)}"
    if len(check.lost) > _SPANS_SHOWN:
        yield f"... and {len(check.lost) - _SPANS_SHOWN:,} more missing stretches, see --json"
    for span in check.extra[:_SPANS_SHOWN]:
        yield f"rows that no source is recorded for in {span}; verify tells which, verify --repair takes them out"
    if check.doubled:
        yield f"{check.doubled:,} rows repeat an open time; verify --repair takes them out and restores the key"
    for span in check.altered[:_SPANS_SHOWN]:
        yield f"values in {span} are not those that were committed; verify tells which, verify --repair restores them"
    if (check.altered or check.lost or check.extra) and check.external_change:
        yield f"the last change by a hand other than this program's: {check.external_change}"
    for span in check.not_compared[:_SPANS_SHOWN]:
        yield f"what is stored in {span} has not been compared since it was changed; verify compares it"
    if check.off_grid:
        shown = ", ".join(str(time_text(ms)) for ms in check.off_grid_shown)
        more = " ..." if check.off_grid > len(check.off_grid_shown) else ""
        yield f"{check.off_grid:,} candles open off the grid, as the exchange has them: {shown}{more}"
    absent = [gap for gap in check.gaps if gap.status is GapStatus.NOT_AT_EXCHANGE]
    for gap in absent[:_SPANS_SHOWN]:
        yield _gap_line(check, gap)
    if len(absent) > _SPANS_SHOWN:
        yield f"... and {len(absent) - _SPANS_SHOWN:,} more absent gaps, see --json or table public.ohlcv_gaps"


def _why_missing(check: SeriesCheck, span: Span) -> str:
    gaps = [gap for gap in check.gaps if gap.span.intersect(span)]
    if not gaps or subtract([span], [gap.span for gap in gaps]):
        return "not asked for yet; check --heal or backfill --heal-gaps asks"
    return "; ".join(
        f"{'committed once and gone' if gap.was_committed else 'not had when fetched'}, {_evidence(gap)}, "
        f"next look {time_text(gap.next_recheck_ms)}"
        for gap in gaps
    )


def _gap_line(check: SeriesCheck, gap: Gap) -> str:
    reason = f"{gap.reason}: {gap.reason_note}" if gap.reason is not None else "no reason known"
    return f"absent {gap.span} ({_candles(check, gap.span)}), {reason}; {_evidence(gap)}"


def _candles(check: SeriesCheck, span: Span) -> str:
    count = check.row.series.interval.count(span.start_ms, span.end_ms)
    return "1 candle" if count == 1 else f"{count:,} candles"


def _evidence(gap: Gap) -> str:
    told = []
    for answer in gap.answers:
        times = f" {answer.times} times" if answer.times > 1 else ""
        checksum = f" (sha256 {answer.checksum[:12]})" if answer.checksum else ""
        last = time_text(answer.last_ms // 1000 * 1000)
        told.append(f"{answer.source}{checksum} asked{times}, last {last}: no candle")
    return ", ".join(told) or "nobody asked yet"


def _document(check: SeriesCheck) -> dict[str, object]:
    series = check.row.series
    return {
        "market": series.market.value,
        "symbol": series.symbol,
        "interval": series.interval.code,
        "complete": check.is_complete,
        "ranges": [span_document(span) for span in check.spans],
        "expected": check.expected,
        "stored": check.stored,
        "missing": check.missing,
        "not_at_exchange": check.not_at_exchange,
        "off_grid": check.off_grid,
        "extra": check.extra_rows,
        "doubled": check.doubled,
        "last_checked": time_text(check.row.checked_at_ms),
        "status": check.row.status,
        "delisting": time_text(check.row.delisting_ms),
        "silence_asked": time_text(check.row.silence_asked_ms),
        "note": check.row.note,
        "lost": [span_document(span) for span in check.lost],
        "never_fetched": [span_document(span) for span in check.never_fetched],
        "extra_in": [span_document(span) for span in check.extra],
        "altered": [span_document(span) for span in check.altered],
        "not_compared": [span_document(span) for span in check.not_compared],
        "faults": list(check.faults),
        "last_external_change": check.external_change,
        "gaps": [_gap_document(gap) for gap in check.gaps],
    }


def _gap_document(gap: Gap) -> dict[str, object]:
    return {
        **span_document(gap.span),
        "status": gap.status.value,
        "reason": None if gap.reason is None else gap.reason.value,
        "reason_note": gap.reason_note,
        "found": time_text(gap.found_ms),
        "lost": gap.was_committed,
        "since": time_text(gap.since_ms),
        "next_recheck": time_text(gap.next_recheck_ms),
        "evidence": [answer.document() for answer in gap.answers],
    }
