"""Undoes the changes of a `verify --repair`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import ConfigurationError, StatementRefused
from core.series import Series
from db.catalog import load_catalog
from db.commit import CommitContext
from db.connection import Database
from db.corrections import load_corrected, undo_corrections
from db.locks import try_lock_series_for_transaction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UndoneSeries:
    """The result of an undo for one series."""

    series: Series
    put_back: int  # candles that have their old values again
    corrections: int  # candles that the repair had changed
    is_locked: bool = False  # another run or session has locked it: nothing was done


def undo_repair(database: Database, undone_run: str, run_id: str, now_ms: Callable[[], int]) -> list[UndoneSeries]:
    """Restore the candles that run `undone_run` changed, each series in one transaction.

    A candle that was changed again later stays as it is. Raises ConfigurationError for a run that changed nothing.
    """
    with database.transaction("read the corrections") as tx:
        corrected = load_corrected(tx, undone_run)
        rows = {row.id: row for row in load_catalog(tx)}
    if not corrected:
        raise ConfigurationError(f"--undo: run {undone_run[:40]!r} changed no candle; see public.ohlcv_corrections")
    undone = []
    for series_id, count in corrected:
        series = rows[series_id].series
        commit = CommitContext(series_id, series.table_name, run_id, now_ms())
        undone.append(_undo(database, commit, series, count, undone_run))
    return undone


def _undo(database: Database, commit: CommitContext, series: Series, corrections: int, undone_run: str) -> UndoneSeries:
    try:
        with database.transaction(f"undo the repair of {series}") as tx:
            if try_lock_series_for_transaction(tx, commit.series_id):
                return UndoneSeries(series, undo_corrections(tx, commit, undone_run), corrections)
        _log.warning("%s: another run is working on it; left out", series)
    except StatementRefused as error:
        _log.warning("%s: left out: %s", series, error)
    return UndoneSeries(series, 0, corrections, is_locked=True)
