"""The second step of a backfill: plans every series, creates and watches tables, stores listing periods and clocks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from core.errors import ExchangeUnavailable, SeriesError
from core.instrument import Market
from core.ranges import subtract
from core.series import Series
from db.all_series_view import refresh_all_series_view
from db.catalog import update_listing
from db.external_changes import find_unwatched, merge_old_notes, watch_again
from db.schema import create_table_if_not_exists
from fetcher.source import ExchangeSource
from logic.backfill.run import BackfillRun
from logic.backfill.series_task import SeriesTask
from logic.clocks import keep_clocks
from logic.planning.listing import StoredCoverage
from logic.planning.series_plan import SeriesPlan, plan_series

_log = logging.getLogger(__name__)

# So many symbols that the exchange no longer lists are asked for by name in each run, at a weight of 20 each.
_FEW_UNLISTED = 3


def make_plans(run: BackfillRun, executor: ThreadPoolExecutor) -> None:
    """Plan every series, several in parallel."""
    policy, exchange = run.options.policy, run.exchange
    in_bulk: set[Series] = set()
    for market in Market:
        tasks = [task for task in run.open_tasks if task.wanted.series.market is market]
        if tasks and policy.allowed.rest:
            try:
                in_bulk |= _open_market(exchange, market, tasks)
            except ExchangeUnavailable:  # logged by the exchange, which keeps it for the summary
                run.fail_market(market)

    def plan(task: SeriesTask) -> SeriesPlan:
        series = task.wanted.series
        names = set[str]() if series in in_bulk else {series.symbol}
        symbols = exchange.open_market(series.market, names) if policy.allowed.rest else None
        last_candle_ms = task.state.last_candle_ms if task.state is not None else None
        stored = StoredCoverage(task.row.listing, task.covered, last_candle_ms)
        return plan_series(task.wanted, symbols, stored, exchange, policy)

    futures = [(task, executor.submit(plan, task)) for task in run.open_tasks]
    for task, future in futures:
        with run.failing_alone(task):
            task.plan = future.result()
            now_ms = exchange.now_ms(task.wanted.series.market)
            task.absent = task.gaps_among(task.plan.absent, now_ms)
            task.result.open_gaps += task.gaps_among(subtract(task.plan.unserved, task.plan.absent), now_ms)


def _open_market(exchange: ExchangeSource, market: Market, tasks: Sequence[SeriesTask]) -> set[Series]:
    """Ask for the symbols of a market together; return the series whose symbol need not be asked for by its name.

    A few symbols that were not listed when last asked for are left out: with one of them among the names the exchange
    would refuse the request, and the list of all is megabytes. Many are looked up in that list alone.
    """
    unlisted = {task.wanted.series for task in tasks if task.row.listing.is_unlisted}
    symbols = {task.wanted.series.symbol for task in tasks}
    gone = {series.symbol for series in unlisted}
    are_few = len(gone) <= _FEW_UNLISTED
    names = symbols - gone if are_few else symbols
    if names:
        try:
            exchange.open_market(market, names)
        except SeriesError as error:  # of a single symbol: its series says it when it is planned
            _log.debug("market %s: %s", market, error)
    return set() if are_few else unlisted


def prepare_tables(run: BackfillRun) -> None:
    """Create missing tables, store new listing periods and clocks, refresh the view over all series."""
    is_new = False  # whether a table was made, which the view over all series lacks
    for task in run.open_tasks:
        if task.plan is None:
            continue
        series, known = task.wanted.series, task.row.listing
        listing = known.updated_by(task.plan.listing)
        has_changed = task.plan.listing.status is not None and listing != known
        if task.table_exists and not has_changed:
            continue
        with run.failing_alone(task), run.database.transaction(f"prepare the table of {series}") as tx:
            is_new |= create_table_if_not_exists(tx, series, run.options.timescale, run.options.compress_after_days)
            if has_changed:
                update_listing(tx, task.row.id, listing)
    _watch_tables(run)
    instruments = {(task.wanted.series.exchange, task.wanted.series.market) for task in run.tasks}
    keep_clocks(run.database, run.exchange, instruments)
    try:
        with run.database.transaction("refresh the view over all series") as tx:
            refresh_all_series_view(tx)
    except SeriesError as error:  # it is there for people; fetching can go on without it
        level = logging.WARNING if is_new else logging.INFO
        _log.log(level, "the view public.ohlcv stays as it was: %s", error)


def _watch_tables(run: BackfillRun) -> None:
    """Have external changes of every table noted, as precisely as it can be had, and keep the notes few.

    That concerns tables that were adopted, or whose trigger was dropped, and all of them once after an upgrade. `check`
    reads all values of a table that is not watched, and once those of a table that was not watched until now.
    """
    tables = [task.wanted.series.table_name for task in run.open_tasks if task.table_exists]
    try:
        with run.database.transaction("merge old notes of external changes") as tx:
            unwatched = find_unwatched(tx, tables)
            merge_old_notes(tx)
    except SeriesError as error:
        _log.warning("notes of external changes stay as they were: %s", error)
        return
    failed: list[SeriesError] = []
    for table in unwatched:
        try:
            with run.database.transaction(f"note external changes of public.{table}") as tx:
                watch_again(tx, table)
        except SeriesError as error:  # candles can be stored all the same
            _log.debug("table public.%s stays without its trigger: %s", table, error)
            failed.append(error)
    if failed:
        _log.warning(
            "candle tables that cannot get the trigger that notes changes by others: %d; of the first one: %s",
            len(failed),
            failed[0],
        )
