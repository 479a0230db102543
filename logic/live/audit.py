"""Holds streamed candles against REST once they have settled, and corrects those that differ.

This is the only automatic change of stored candles, and only of those that no audit or verification has confirmed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from core.errors import ExchangeUnavailable, SeriesError
from core.provisional import AUDITED_AFTER_MS, LEFT_BEHIND_MS
from core.ranges import TimeRange
from core.sources import AllowedSources
from db.catalog import CatalogRow, load_catalog
from db.connection import Database
from db.locks import try_lock_series_for_transaction
from db.provisional import find_provisional, fold_streamed, split_provisional
from fetcher.source import ExchangeSource
from logic.failures import SeriesEnd, failing_alone
from logic.verify.verification import VerifyObserver
from logic.verify.verify_run import VerifyOptions, VerifySummary, run_verify

_log = logging.getLogger(__name__)


def audit_streamed(
    database: Database,
    exchange: ExchangeSource,
    rows: Sequence[CatalogRow],
    run_id: str,
    local_now_ms: Callable[[], int],
    observer: VerifyObserver,
) -> VerifySummary:
    """Verify the provisional candles of `rows` that closed at least a minute ago; return the results.

    One page a series, as far as its candles are side by side. What REST says twice is written into the table, and the
    old value kept, so that `verify --undo` of `run_id` puts it back. A series that another run is working on is left to
    the next audit, as is one that fails. Raises DatabaseUnavailable and Interrupted.
    """
    with database.transaction("look for provisional candles") as tx:
        provisional = find_provisional(tx, [row.id for row in rows])
    mine = [row for row in rows if row.id in provisional]
    if not mine:
        return VerifySummary(run_id, [])
    _open_markets(exchange, mine)
    settled_ms = min(exchange.now_ms(row.series.market) for row in mine) - AUDITED_AFTER_MS
    for row in mine:
        _arrange(database, row, settled_ms)
    options = VerifyOptions(
        run_id,
        AllowedSources.REST,
        repair=True,
        only_longer=False,
        part=None,
        share=None,
        times=TimeRange(),
        witness=False,
        provisional_until_ms=settled_ms,
    )
    summary = run_verify(database, exchange, mine, options, local_now_ms, observer)
    for row in mine:
        _arrange(database, row, None)
    for result in summary.results:
        if result.repaired:
            _log.warning(
                "%s: %d streamed candles differed from REST and were corrected; public.ohlcv_corrections has the old "
                "values, verify --undo %s puts them back",
                result.series,
                result.repaired,
                run_id,
            )
        for span, why in result.unverifiable:
            _log.warning("%s: streamed candles of %s stay provisional: %s", result.series, span, why)
    return summary


def _open_markets(exchange: ExchangeSource, rows: Sequence[CatalogRow]) -> None:
    """Ask for the clock and the symbols of each market at once, where that was not done before."""
    for market in {row.series.market for row in rows}:
        try:
            exchange.open_market(market, {row.series.symbol for row in rows if row.series.market is market})
        except (ExchangeUnavailable, SeriesError) as error:  # each of its series says so when it is verified
            _log.debug("market %s: %s", market, error)


def audit_left_behind(
    database: Database, exchange: ExchangeSource, run_id: str, local_now_ms: Callable[[], int]
) -> None:
    """Audit what streams that no longer run have left provisional. Raises DatabaseUnavailable and Interrupted."""
    with database.transaction("look for provisional candles") as tx:
        rows = load_catalog(tx)
        provisional = find_provisional(tx, [row.id for row in rows])
    left = [
        row
        for row in rows
        if row.id in provisional
        and provisional[row.id][0][0].start_ms < exchange.now_ms(row.series.market) - LEFT_BEHIND_MS
    ]
    audit_streamed(database, exchange, left, run_id, local_now_ms, VerifyObserver())


def _arrange(database: Database, row: CatalogRow, settled_ms: int | None) -> None:
    """Fold the streamed ledger rows of a series; cut the one that still grows, so that what has settled is audited."""
    series = row.series

    def end(why: SeriesEnd) -> None:
        """Leave the rows as they are: that is right too, and failing_alone has logged why."""

    with failing_alone(series, end), database.transaction(f"fold the streamed spans of {series}") as tx:
        if not try_lock_series_for_transaction(tx, row.id):
            return
        fold_streamed(tx, row.id, series.table_name)
        if settled_ms is not None:
            split_provisional(tx, row.id, series.table_name, series.interval.floor(settled_ms))
