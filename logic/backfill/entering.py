"""The first step of a backfill: enters series into the catalog, locks them, reads their tables and coverage."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from core.errors import SeriesError
from core.wanted import WantedSeries
from db.catalog import load_catalog, sync_symbols
from db.connection import Database
from db.gaps import load_all_open_gaps
from db.ledger import LedgerTotals, load_totals, void_entries
from db.many_tables import read_many
from db.operations import get_last_timestamp
from db.schema import find_tables
from db.timescale import find_dropped_before
from logic.backfill.results import SeriesResult
from logic.backfill.run import BackfillRun
from logic.backfill.series_task import SeriesTask, compare_state
from logic.series_locks import left_to_another_run, lock_series

_log = logging.getLogger(__name__)


def enter_and_lock(run: BackfillRun, wanted: Sequence[WantedSeries]) -> None:
    """Add a task for every active series of `wanted`; those that another run has locked end at once."""
    with run.database.transaction("enter the series into the catalog") as tx:
        rows = sync_symbols(tx, wanted, run.options.replaces_catalog)
    active = [one for one in wanted if one.active]
    ids = [rows[one.series].id for one in active]
    locked_ids = lock_series(run.database, ids, run.options.patience, run.observer.waiting)
    with run.database.transaction("read what is covered") as tx:
        if run.options.patience is not None:  # who had them meanwhile may have learned more of their listings
            rows = {row.series: row for row in load_catalog(tx)}
        totals = load_totals(tx, ids)
        gaps = load_all_open_gaps(tx, ids)
    for one in active:
        row = rows[one.series]
        covered = list(totals.get(row.id, LedgerTotals((), 0)).covered)
        result = SeriesResult(one.series, locked=row.id not in locked_ids)
        run.tasks.append(SeriesTask(one, row, result, covered, gaps.get(row.id, []), run.options.is_heal))
    if locked := [task.wanted.series for task in run.tasks if task.result.locked]:
        _log.log(logging.DEBUG if run.options.is_heal else logging.INFO, left_to_another_run(locked))
    _read_tables(run)
    _void_lost_tables(run, totals)
    for task in run.open_tasks:
        compare_state(task, run.options.state_dir)


def _read_tables(run: BackfillRun) -> None:
    """Read which tables exist, whether they can be used, and their newest candle."""
    tasks = run.open_tasks
    with run.database.transaction("look for the tables") as tx:
        shapes = find_tables(tx, [task.wanted.series.table_name for task in tasks])
    for task in tasks:
        table = task.wanted.series.table_name
        shape = shapes.get(table)
        task.table_exists = shape is not None
        if shape is not None and shape.faults:
            faults = "; ".join(fault.text for fault in shape.faults)
            task.fail(SeriesError(f"table public.{table} was changed, nothing is stored into it: {faults}"))
    existing = [task for task in tasks if task.table_exists and not task.is_over]
    read_last_candles(run.database, existing)


def read_last_candles(database: Database, tasks: Sequence[SeriesTask]) -> None:
    """Set the newest stored candle of each task, whose table must exist; end those whose table cannot be read."""
    newest, unreadable = read_many(database, [task.wanted.series.table_name for task in tasks], get_last_timestamp)
    for task in tasks:
        table = task.wanted.series.table_name
        if table in unreadable:
            task.fail(unreadable[table])
        else:
            task.last_candle_ms = newest[table]


def _void_lost_tables(run: BackfillRun, totals: Mapping[int, LedgerTotals]) -> None:
    """Delete the coverage of series whose table was dropped or emptied, so that all of it is fetched again.

    That of a table which a retention policy has emptied stays.
    """
    with run.database.transaction("look for retention policies") as tx:
        dropping = find_dropped_before(tx, [task.wanted.series.table_name for task in run.open_tasks])
    if dropping:
        _log.info(
            "TimescaleDB's retention policies drop candles of %d series; they are not fetched again", len(dropping)
        )
    for task in run.open_tasks:
        recorded = totals.get(task.row.id)
        if recorded is None or (task.table_exists and (recorded.rows == 0 or task.last_candle_ms is not None)):
            continue
        if task.table_exists and task.wanted.series.table_name in dropping:
            continue
        with run.database.transaction(f"forget the coverage of {task.wanted.series}") as tx:
            voided = void_entries(tx, task.row.id)
        task.covered = []
        _log.warning(
            "%s: the ledger records %d candles, but table public.%s is gone or empty; "
            "its %d ledger rows are dropped and everything is fetched again",
            task.wanted.series,
            recorded.rows,
            task.wanted.series.table_name,
            voided,
        )
