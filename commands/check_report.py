"""What `check` found, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from commands.options import OutputOptions
from commands.screen import Column, Report, Row, Tone, count_text, share_text, time_text, unaudited_text
from core.gaps import Gap, GapStatus
from core.intervals import Interval
from core.ranges import Span, subtract
from logic.gaps.series_check import SeriesCheck

_STALE_NAMED = 5  # more series that stand still are one sentence
_COLUMNS = (
    Column("series"),
    Column("verdict"),
    Column("stored", is_number=True),
    Column("missing", is_number=True),
    Column("not at exchange", is_number=True),
    Column("off-grid", is_number=True, rank=2, is_dull_when_zero=True),
    Column("extra", is_number=True, is_dull_when_zero=True),
    Column("expected", is_number=True, rank=4),
    Column("witnessed", is_number=True, rank=3),
    Column("range", rank=3),
)


def check_report(checks: Sequence[SeriesCheck], shows_gaps: bool, output: OutputOptions) -> Report:
    """Return the report; every gap stands in it with `shows_gaps`, and the places of what is wrong if verbose."""
    stale = [check for check in checks if check.is_stale]
    are_named = len(stale) <= _STALE_NAMED
    rows = [_row(check, shows_gaps, output, are_named) for check in checks]
    stored, absent = sum(check.stored for check in checks), sum(check.not_at_exchange for check in checks)
    headline = f"{count_text(len(checks), 'series', 'series')} complete, {count_text(stored, 'candle')}"
    if absent:
        headline += f", {absent:,} not at the exchange"
    if young := sum(check.row.series.interval.count_in(check.too_young) for check in checks):
        headline += f", {young:,} too young to be proven"
    if provisional := sum(check.provisional.candles for check in checks):
        headline += f", {provisional:,} not audited yet"
    gaps = sum(len(check.gaps) for check in checks)
    notes = []
    if gaps and not (shows_gaps or output.is_verbose):
        notes.append(f"check --gaps lists {count_text(gaps, 'gap')} with reason and evidence")
    if hashed := sum(len(check.hashed) for check in checks if check.is_complete):
        notes.append(
            f"{count_text(hashed, 'ledger span')} had to be hashed, because nothing says that no other program changed "
            "the candles; check --heal records that they are unchanged, so that this is done once"
        )
    return Report(
        headline,
        _COLUMNS,
        rows,
        () if are_named else (_stale_together(stale),),
        notes=() if output.is_quiet else tuple(notes),
        shows_all_details=shows_gaps,
    )


def _row(check: SeriesCheck, shows_gaps: bool, output: OutputOptions, names_stale: bool) -> Row:
    counts = [check.stored, check.missing, check.not_at_exchange, check.off_grid, check.extra_rows, check.expected]
    span = str(Span(check.spans[0].start_ms, check.spans[-1].end_ms)) if check.spans else "-"
    verdict, tone = _verdict(check)
    details = [*_places(check), *check.row.listing.notes] if output.is_verbose else []
    if output.is_verbose or shows_gaps:
        details += [_gap_line(check, gap) for gap in check.gaps]
    witnessed = share_text(check.witnessed, check.stored)
    cells = [str(check.row.series), verdict, *(f"{count:,}" for count in counts), witnessed, span]
    stale = (_stale(check),) if check.is_stale and names_stale else ()
    return Row(cells, tone, (*stale, *_needs(check)), tuple(details))


def _verdict(check: SeriesCheck) -> tuple[str, Tone]:
    if check.is_complete:
        if not check.spans and not check.stored:
            return "empty", Tone.PLAIN  # not active, and nothing of it was ever fetched
        if check.too_young:
            return "complete so far", Tone.GOOD
        if check.row.listing.end_ms is None:
            return "complete", Tone.GOOD
        return "complete, delisted" if check.row.listing.dormant_checked_ms is None else "complete, dormant", Tone.GOOD
    if check.missing or check.is_empty:
        return "MISSING", Tone.WRONG
    if check.faults or check.extra_rows or check.doubled or check.altered:
        return "DAMAGED", Tone.WRONG
    if check.contradicted:
        return "CONTRADICTED", Tone.WRONG
    if check.is_stale:
        return "STALE", Tone.WRONG
    if check.is_audit_overdue:
        return "UNAUDITED", Tone.ATTENTION
    return "UNPROVEN", Tone.ATTENTION


def _needs(check: SeriesCheck) -> Iterator[str]:
    """Yield a line for each kind of fault: how much, from where on, and the command that mends it."""
    interval = check.row.series.interval
    if check.is_empty:
        yield "nothing of it was ever fetched; a backfill fetches it, or says why it cannot"
    elif check.never_fetched:
        yield f"{_amount(interval, check.never_fetched)} never fetched; a backfill or check --heal fetches them"
    if check.not_checked:
        yield f"not checked: {check.not_checked}"
    for fault in check.faults:
        yield f"the table is not as it was made: {fault}"
    if check.unexplained:
        yield f"{_amount(interval, check.unexplained)} missing: {_why_missing(check)}"
    if check.extra:
        rows = count_text(check.extra_rows, "row")
        yield (
            f"{rows} that no source is recorded for, {_first(check.extra)}; verify tells which, verify --repair "
            "takes them out"
        )
    if check.doubled:
        doubled = count_text(check.doubled, "row repeats", "rows repeat")
        yield f"{doubled} an open time; verify --repair takes them out and restores the key"
    if check.altered:
        yield (
            f"values are not those that were committed, {_first(check.altered)}; verify tells which, verify --repair "
            "restores them"
        )
    if (check.altered or check.unexplained or check.extra) and check.external_change:
        yield f"the last change by something other than this program: {check.external_change}"
    if check.contradicted:
        candles = count_text(check.contradicted, "candle")
        yield f"two other sources contradict {candles}; verify --against longer --repair writes what they say"
    if check.is_audit_overdue:
        yield unaudited_text(check.provisional)
    if check.not_compared:
        yield f"not compared since it was changed, {_first(check.not_compared)}; verify compares it"


def _stale(check: SeriesCheck) -> str:
    fetched = time_text((check.last_fetched_ms or 0) // 1000 * 1000)
    return (
        f"stands still: covered to {time_text(check.covered_until_ms)}, nothing of it was fetched since {fetched}; "
        "a backfill brings it up to date, or says why it cannot"
    )


def _stale_together(checks: Sequence[SeriesCheck]) -> str:
    """Return one sentence about many: most often the runs have stopped, and each series would say the same."""
    covered = time_text(min(check.covered_until_ms or 0 for check in checks))
    fetched = time_text(max(check.last_fetched_ms or 0 for check in checks) // 1000 * 1000)
    return (
        f"{len(checks):,} series stand still, the first since {covered}; nothing of them was fetched since {fetched}: "
        "do the runs still start? A backfill brings them up to date, or says why it cannot"
    )


def _retention(checks: Sequence[SeriesCheck]) -> Iterator[str]:
    """Yield a line when somebody's policy drops candles."""
    dropped = [one.dropped_before_ms // 1000 * 1000 for one in checks if one.dropped_before_ms is not None]
    if dropped:
        yield (
            f"a retention policy of TimescaleDB drops candles of {count_text(len(dropped), 'series', 'series')}, up to "
            f"{time_text(max(dropped))}: what is older is not expected, and not fetched again"
        )


def _amount(interval: Interval, spans: Sequence[Span]) -> str:
    candles = interval.count_in(spans)
    return f"{count_text(candles, 'candle')} in {_first(spans)}"


def _first(spans: Sequence[Span]) -> str:
    more = "" if len(spans) == 1 else f" and {count_text(len(spans) - 1, 'stretch', 'stretches')} more"
    return f"{spans[0]}{more}"


def _why_missing(check: SeriesCheck) -> str:
    """Return whether the exchange was asked about the first missing stretch, and what mends it."""
    gaps = _gaps_of(check, check.unexplained[0])
    if not gaps:
        return "not asked for yet; check --heal or backfill --heal-gaps asks"
    due = [gap.next_recheck_ms for gap in gaps if gap.next_recheck_ms is not None]
    when = f"from {time_text(min(due))} on" if due else "now"
    kind = "committed once and gone" if any(gap.was_committed for gap in gaps) else "not had when fetched"
    return f"{kind}; check --heal asks again {when}"


def _gaps_of(check: SeriesCheck, span: Span) -> list[Gap]:
    """Return the gaps that explain `span`; none where a part of it is not noted as a gap yet."""
    gaps = [gap for gap in check.gaps if gap.span.intersect(span)]
    return [] if subtract([span], [gap.span for gap in gaps]) else gaps


def _places(check: SeriesCheck) -> Iterator[str]:
    for what, spans in (
        ("never fetched", check.never_fetched),
        ("missing", check.unexplained),
        ("too young to be proven", check.too_young),
        ("of an earlier listing under the same ticker", check.earlier_listing),
        ("rows without a source", check.extra),
        ("values altered", check.altered),
        ("not compared", check.not_compared),
    ):
        for span in spans:
            yield f"{what}: {span}"
    if check.off_grid:
        shown = ", ".join(time_text(ms) for ms in check.off_grid_shown)
        more = " ..." if check.off_grid > len(check.off_grid_shown) else ""
        yield f"{count_text(check.off_grid, 'candle')} off the grid, as the exchange has them: {shown}{more}"


def _gap_line(check: SeriesCheck, gap: Gap) -> str:
    interval = check.row.series.interval
    size = count_text(interval.count(gap.span.start_ms, gap.span.end_ms), "candle")
    if gap.status is GapStatus.NOT_AT_EXCHANGE:
        reason = f"{gap.reason}: {gap.reason_note}" if gap.reason is not None else "no reason known"
        return f"not at the exchange {gap.span} ({size}), {reason}; {_evidence(gap)}"
    kind = "committed once and gone" if gap.was_committed else "not had when fetched"
    if any(gap.span.intersect(span) for span in check.too_young):
        kind += ", too young to be proven"
    return f"missing {gap.span} ({size}), {kind}, next recheck {time_text(gap.next_recheck_ms)}; {_evidence(gap)}"


def _evidence(gap: Gap) -> str:
    told = []
    for answer in gap.answers:
        times = f" {answer.times} times" if answer.times > 1 else ""
        checksum = f" (sha256 {answer.checksum[:12]})" if answer.checksum else ""
        last = time_text(answer.last_ms // 1000 * 1000)
        what = "no candle" if answer.unusable is None else f"impossible: {answer.unusable}"
        told.append(f"{answer.source}{checksum} asked{times}, last {last}: {what}")
    return ", ".join(told) or "nobody asked yet"
