"""The backfill: fetches what every wanted series lacks up to the last closed candle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.plan import NOTHING, estimate
from core.wanted import WantedSeries
from db.connection import Database
from fetcher.source import ExchangeSource
from logic.backfill.entering import enter_and_lock
from logic.backfill.fetching import run_full_fetch
from logic.backfill.preparing import make_plans, prepare_tables
from logic.backfill.results import RunSummary
from logic.backfill.run import BackfillOptions, BackfillRun, Observer
from logic.backfill.series_gaps import young_gaps_text
from logic.state_files import remove_leftovers

_log = logging.getLogger(__name__)


def run_ohlcv_backfill(
    database: Database,
    exchange: ExchangeSource,
    wanted: Sequence[WantedSeries],
    options: BackfillOptions,
    observer: Observer,
    local_now_ms: Callable[[], int],
) -> RunSummary:
    """Fetch every wanted series up to the last closed candle and return what was done.

    A series that fails does not stop the others. Raises DatabaseUnavailable and Interrupted; what was
    committed before stays.
    """
    began = time.monotonic()
    remove_leftovers(options.state_dir, local_now_ms())
    run = BackfillRun(database, exchange, options, observer, local_now_ms)
    enter_and_lock(run, wanted)
    summary = RunSummary(options.run_id, [task.result for task in run.tasks])
    executor = ThreadPoolExecutor(options.workers, thread_name_prefix="fetch")
    try:
        make_plans(run, executor)
        prepare_tables(run)
        plans = [task.plan for task in run.open_tasks if task.plan is not None]
        observer.planned(sum((estimate(plan.options, plan.chunks) for plan in plans), NOTHING))
        with database.commits_in_background():
            run_full_fetch(run, executor)
        for text in young_gaps_text(summary.results):
            _log.info(text)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    summary.unusable_markets = {market.value: str(why) for market, why in exchange.failures().items()}
    summary.weight_used = exchange.weight_used()
    summary.seconds = time.monotonic() - began
    return summary
