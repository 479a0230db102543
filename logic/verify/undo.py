"""Takes back what a `verify --repair` changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import ConfigurationError
from core.series import Series
from db.catalog import CatalogRow, load_catalog
from db.commit import CommitContext
from db.connection import Database
from db.corrections import load_corrected, undo_corrections
from db.locks import try_lock_series_for_transaction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UndoneSeries:
    """What an undo did to one series."""

    series: Series
    put_back: int  # candles that are again what they were
    corrections: int  # candles that the repair had changed
    is_locked: bool = False  # another run works on it: nothing was done


def undo_repair(database: Database, undone_run: str, run_id: str, now_ms: Callable[[], int]) -> list[UndoneSeries]:
    """Put back the candles that run `undone_run` changed, one series a transaction.

    A candle that was changed again since stays as it is. Raises ConfigurationError for a run that changed nothing.
    """
    with database.transaction("read the corrections") as tx:
        corrected = load_corrected(tx, undone_run)
        rows = {row.id: row for row in load_catalog(tx)}
    if not corrected:
        raise ConfigurationError(f"--undo: run {undone_run[:40]!r} changed no candle; see public.ohlcv_corrections")
    return [_undo(database, rows[series_id], count, undone_run, run_id, now_ms()) for series_id, count in corrected]


def _undo(
    database: Database, row: CatalogRow, corrections: int, undone_run: str, run_id: str, now_ms: int
) -> UndoneSeries:
    commit = CommitContext(row.id, row.series.table_name, run_id, now_ms)
    with database.transaction(f"undo the repair of {row.series}") as tx:
        if not try_lock_series_for_transaction(tx, row.id):
            _log.warning("%s: another run is working on it; left out", row.series)
            return UndoneSeries(row.series, 0, corrections, is_locked=True)
        put_back = undo_corrections(tx, commit, undone_run)
    return UndoneSeries(row.series, put_back, corrections)
