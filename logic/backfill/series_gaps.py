"""The gaps of one series in a backfill: recorded with its chunks, rechecked at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from core.candles import CandleBatch
from core.fetched import FetchedSpan
from core.gaps import Answer, Gap, GapStatus, Hole, apply_answers, is_too_young
from core.ranges import Span, inside, merge, subtract
from core.series import Series, brief_list
from core.sources import Source
from db.connection import Transaction
from db.gaps import load_open_gaps, save_gaps
from db.operations import PreparedSpan, SaveResult, save_ohlcv
from logic.backfill.results import SeriesResult
from logic.backfill.series_task import SeriesTask
from logic.gaps.checker import fill_missing
from logic.gaps.rechecks import GapRecheck, recheck_gaps
from logic.series_session import SeriesSession

_log = logging.getLogger(__name__)

_SPANS_SHOWN = 5


def note_gaps(
    tx: Transaction, session: SeriesSession, task: SeriesTask, spans: Sequence[Span], holes: Sequence[Hole]
) -> None:
    """Record the holes of a chunk as gaps, in the transaction of its candles; `spans` are what the chunk covers."""
    if not spans:
        return
    scope = merge(spans)
    reach = Span(scope[0].start_ms, scope[-1].end_ms)
    has_gaps = bool(task.open_gaps) or task.gaps_changed
    known = load_open_gaps(tx, session.series_id, reach) if has_gaps else []
    if known or holes:
        now_ms = session.exchange_now_ms()
        after = apply_answers(known, scope, holes, session.rules, now_ms, f"fetched by run {session.run_id}")
        save_gaps(tx, session.series_id, known, after)
        task.gaps_changed = True


def commit_absent(session: SeriesSession, task: SeriesTask) -> None:
    """Cover the spans that the archives have no file of, as gaps: they are asked for again like every gap.

    They get ledger rows without candles and without a checksum.
    """
    if not task.absent:
        return
    now_ms = session.exchange_now_ms()
    source = Source.ARCHIVE_DAILY if session.rules.has_daily_archives else Source.ARCHIVE_MONTHLY
    spans = [PreparedSpan.of(FetchedSpan(span, CandleBatch.empty(), source)) for span in task.absent]
    holes = [Hole(span, (Answer(source, span, now_ms, now_ms),)) for span in task.absent]
    with session.database.transaction(f"note what the archives lack of {session.series}") as tx:
        save_ohlcv(tx, session.commit, spans)
        note_gaps(tx, session, task, task.absent, holes)
    task.covered = merge([*task.covered, *task.absent])


def recheck_due_gaps(session: SeriesSession, task: SeriesTask, heal_gaps: bool) -> None:
    """Recheck the gaps that are due; with `heal_gaps` also search the table for missing candles.

    Raises SeriesError and ExchangeUnavailable.
    """
    plan, result, series = task.plan, task.result, task.wanted.series
    if plan is None or plan.span is None:
        return
    recheck = GapRecheck(session, plan.options)
    if heal_gaps:
        saved = fill_missing(recheck, inside(task.covered, [plan.span])).saved
        task.gaps_changed = True
    else:
        due = [gap for gap in _gaps_in(session, task, plan.span) if recheck.wants(gap)]
        saved = recheck_gaps(recheck, due).saved if due else SaveResult()
        task.gaps_changed |= bool(due)
    result.saved += saved
    result.healed = saved.inserted
    report_conflicts(series, saved)
    gaps = _gaps_in(session, task, plan.span)
    now_ms = session.exchange_now_ms()
    result.too_young = [gap.span for gap in gaps if is_too_young(gap, session.rules, now_ms)]
    result.newly_young = subtract(result.too_young, [gap.span for gap in task.open_gaps])
    missing = [gap.span for gap in gaps if gap.status is GapStatus.MISSING]
    result.open_gaps += subtract(missing, result.too_young)
    explained = [gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE]
    result.not_at_exchange = series.interval.count_in(explained)


def _gaps_in(session: SeriesSession, task: SeriesTask, span: Span) -> list[Gap]:
    """Return the gaps that overlap `span` and are not healed; read from the database only if this run changed any."""
    if not task.gaps_changed:
        return [gap for gap in task.open_gaps if gap.span.intersect(span) is not None]
    with session.database.transaction(f"read the gaps of {session.series}") as tx:
        return load_open_gaps(tx, session.series_id, span)


def young_gaps_text(results: Iterable[SeriesResult]) -> list[str]:
    """Return what to say once of gaps that were just found and that nobody can prove yet.

    A halt of the whole exchange is one sentence, not one a series.
    """
    series_by_span: dict[Span, list[Series]] = {}
    for result in results:
        for span in result.newly_young:
            series_by_span.setdefault(span, []).append(result.series)
    told = [
        f"{brief_list(series)}: no candle in {span}, too young to be proven; asked for again until its archive is due"
        for span, series in sorted(series_by_span.items())
    ]
    if len(told) > _SPANS_SHOWN:
        told[_SPANS_SHOWN:] = [f"{len(told) - _SPANS_SHOWN:,} more such gaps; check --gaps lists them"]
    return told


def report_conflicts(series: Series, saved: SaveResult) -> None:
    """Log the stored candles that differ from the fetched ones."""
    for conflict in saved.shown_conflicts:
        _log.warning("%s: conflict, the stored candle stays: %s", series, conflict)
    if saved.conflicts > len(saved.shown_conflicts):
        _log.warning("%s: %d conflicts, the first %d shown", series, saved.conflicts, len(saved.shown_conflicts))
