"""The gaps of one series in a run: noted with its chunks, looked at again at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from core.gaps import Gap, GapStatus, Hole, apply_answers
from core.ranges import Span, merge
from core.series import Series
from db.connection import Database, Transaction
from db.gaps import load_open_gaps, save_gaps
from db.operations import SaveResult
from fetcher.binance.exchange import Exchange
from logic.backfill.series_task import SeriesTask
from logic.gaps.checker import fill_missing
from logic.gaps.rechecks import GapRecheck, recheck_gaps

_log = logging.getLogger(__name__)


def note_gaps(
    tx: Transaction, task: SeriesTask, spans: Sequence[Span], holes: Sequence[Hole], now_ms: int, run_id: str
) -> None:
    """Enter the holes of a chunk into the gap ledger, in the transaction of its candles; `spans` are what it covers."""
    if not spans:
        return
    scope = merge(spans)
    reach = Span(scope[0].start_ms, scope[-1].end_ms)
    has_gaps = bool(task.open_gaps) or task.gaps_changed
    known = load_open_gaps(tx, task.row.id, reach) if has_gaps else []
    if known or holes:
        after = apply_answers(known, scope, holes, task.wanted.series, now_ms, f"fetched by run {run_id}")
        save_gaps(tx, task.row.id, known, after)
        task.gaps_changed = True


def look_after_gaps(
    database: Database, exchange: Exchange, task: SeriesTask, heal_gaps: bool, run_id: str, now_ms: int
) -> None:
    """Look again at the gaps whose time has come; with `heal_gaps` search the table for others as well.

    Raises SeriesError and ExchangeUnavailable.
    """
    plan, result, series = task.plan, task.result, task.wanted.series
    if plan is None or plan.span is None:
        return
    recheck = GapRecheck(database, exchange, plan, task.row.id, run_id, now_ms)
    if heal_gaps:
        inside = (span.intersect(plan.span) for span in task.covered)
        saved = fill_missing(recheck, [span for span in inside if span is not None]).saved
        task.gaps_changed = True
    else:
        due = [gap for gap in _gaps_in(database, task, plan.span) if recheck.wants(gap)]
        saved = recheck_gaps(recheck, due).saved if due else SaveResult()
        task.gaps_changed |= bool(due)
    result.saved += saved
    result.healed = saved.inserted
    report_conflicts(series, saved)
    gaps = _gaps_in(database, task, plan.span)
    result.open_gaps += [gap.span for gap in gaps if gap.status is GapStatus.MISSING]
    absent = [gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE]
    result.not_at_exchange = sum(series.interval.count(span.start_ms, span.end_ms) for span in absent)


def _gaps_in(database: Database, task: SeriesTask, span: Span) -> list[Gap]:
    """Return the open gaps that touch `span`; asks the database only when this run has changed any."""
    if not task.gaps_changed:
        return [gap for gap in task.open_gaps if gap.span.intersect(span) is not None]
    with database.transaction(f"read the gaps of {task.wanted.series}") as tx:
        return load_open_gaps(tx, task.row.id, span)


def report_conflicts(series: Series, saved: SaveResult) -> None:
    """Say which stored candles differ from what a source gives now."""
    for conflict in saved.shown_conflicts:
        _log.warning("%s: conflict, the stored candle stays: %s", series, conflict)
    if saved.conflicts > len(saved.shown_conflicts):
        _log.warning("%s: %d conflicts, the first %d shown", series, saved.conflicts, len(saved.shown_conflicts))
