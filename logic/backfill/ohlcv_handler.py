"""The backfill: every wanted series from where it stands to the last closed candle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import ExchangeUnavailable, FetcherError, SeriesError
from core.gaps import Hole
from core.plan import NOTHING, Chunk, Estimate, SourceChoice, estimate
from core.ranges import Span, merge, subtract
from core.series import Market, Series
from core.wanted import WantedSeries
from db.catalog import sync_symbols, update_life
from db.connection import Database
from db.gaps import load_all_open_gaps
from db.ledger import LedgerTotals, load_totals, void_entries
from db.locks import try_lock_series
from db.operations import PreparedSpan, get_last_timestamp, save_ohlcv
from db.schema import create_table_if_not_exists, find_tables, refresh_all_series_view
from fetcher.binance.exchange import Exchange
from logic.backfill.results import RunSummary, SeriesResult
from logic.backfill.series_gaps import look_after_gaps, note_gaps, report_conflicts
from logic.backfill.series_task import SeriesTask, compare_state, keep_state, shown
from logic.fetching.chunk_fetch import FetchedChunk, fetch_chunk, is_edge
from logic.fetching.read_ahead import ReadAhead
from logic.planning.listing import KnownLife, known_life
from logic.planning.series_plan import SeriesPlan, plan_series
from logic.state_files import remove_leftovers

_log = logging.getLogger(__name__)

# So many candles are fetched ahead of the database at most: three months of 1m, some 180 bytes each.
_ROWS_AHEAD = 140_000


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """What the operator decides about a backfill."""

    run_id: str
    choice: SourceChoice
    chunk_days: int
    workers: int
    heal_gaps: bool
    replaces_catalog: bool  # whether the wanted series came from a symbols.yml, which the catalog follows
    timescale: bool
    compress_after_days: int
    state_dir: Path


class Observer:
    """What a run tells whoever watches it. Does nothing; a display overrides it."""

    def planned(self, total: Estimate) -> None:
        """All plans are made; `total` is what they will fetch."""

    def committed(self, series: Series, rows_planned: int) -> None:
        """A chunk is in the database; `rows_planned` is its share of the estimate."""


def run_ohlcv_backfill(
    database: Database,
    exchange: Exchange,
    wanted: Sequence[WantedSeries],
    options: BackfillOptions,
    observer: Observer,
    local_now_ms: Callable[[], int],
) -> RunSummary:
    """Bring every wanted series up to the last closed candle and return what was done.

    One failing series does not stop the others. Raises DatabaseUnavailable and Interrupted; what is
    committed by then stays.
    """
    began = time.monotonic()
    remove_leftovers(options.state_dir, local_now_ms())
    tasks = _enter_and_lock(database, wanted, options)
    summary = RunSummary(options.run_id, [task.result for task in tasks])
    executor = ThreadPoolExecutor(options.workers, thread_name_prefix="fetch")
    try:
        _make_plans(tasks, exchange, options, executor)
        _prepare_tables(database, tasks, exchange, options)
        observer.planned(
            sum((estimate(plan.wanted.series, plan.chunks, plan.rules) for plan in _plans(tasks)), NOTHING)
        )
        with database.commits_in_background():
            run_full_fetch(database, exchange, tasks, options, observer, executor, local_now_ms)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    summary.unusable_markets = {market.value: str(why) for market, why in exchange.failures().items()}
    summary.weight_used = exchange.weight_used()
    summary.seconds = time.monotonic() - began
    return summary


def _plans(tasks: Sequence[SeriesTask]) -> list[SeriesPlan]:
    return [task.plan for task in tasks if task.plan is not None and not task.is_over]


def _enter_and_lock(database: Database, wanted: Sequence[WantedSeries], options: BackfillOptions) -> list[SeriesTask]:
    with database.transaction("enter the series into the catalog") as tx:
        rows = sync_symbols(tx, wanted, options.replaces_catalog)
    active = [one for one in wanted if one.active]
    ids = [rows[one.series].id for one in active]
    with database.transaction("lock the series") as tx:
        ours = try_lock_series(tx, ids)
        totals = load_totals(tx, ids)
        gaps = load_all_open_gaps(tx, ids)
    tasks = []
    for one in active:
        row = rows[one.series]
        task = SeriesTask(
            one,
            row,
            SeriesResult(one.series, locked=row.id not in ours),
            covered=list(totals.get(row.id, LedgerTotals((), 0)).covered),
            open_gaps=gaps.get(row.id, []),
        )
        if task.result.locked:
            _log.warning("%s: another run is working on it; left to that run", one.series)
        tasks.append(task)
    _read_tables(database, [task for task in tasks if not task.is_over])
    _void_lost_tables(database, [task for task in tasks if not task.is_over], totals)
    for task in tasks:
        if not task.is_over:
            compare_state(task, options.state_dir)
    return tasks


def _read_tables(database: Database, tasks: Sequence[SeriesTask]) -> None:
    """Learn which tables are there and what their newest candle is."""
    with database.transaction("look for the tables") as tx:
        shapes = find_tables(tx, [task.wanted.series.table_name for task in tasks])
    for task in tasks:
        table = task.wanted.series.table_name
        shape = shapes.get(table)
        task.table_exists = shape is not None
        if shape is not None and (fault := shape.fault):
            task.fail(SeriesError(f"table public.{table} was changed, nothing is stored into it: {fault}"))
    existing = [task for task in tasks if task.table_exists and not task.is_over]
    try:
        _read_last_candles(database, existing)
    except SeriesError:  # one of them cannot be read: find out which
        for task in existing:
            try:
                _read_last_candles(database, [task])
            except SeriesError as error:
                task.fail(error)


def _read_last_candles(database: Database, tasks: Sequence[SeriesTask]) -> None:
    with database.transaction("read the newest candles") as tx:
        newest = get_last_timestamp(tx, [task.wanted.series.table_name for task in tasks])
    for task in tasks:
        task.last_candle_ms = newest[task.wanted.series.table_name]


def _void_lost_tables(database: Database, tasks: Sequence[SeriesTask], totals: Mapping[int, LedgerTotals]) -> None:
    """Forget the coverage of series whose table was dropped or emptied: nothing may be skipped then."""
    for task in tasks:
        recorded = totals.get(task.row.id)
        if recorded is None or (task.table_exists and (recorded.rows == 0 or task.last_candle_ms is not None)):
            continue
        with database.transaction(f"forget the coverage of {task.wanted.series}") as tx:
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


def _make_plans(
    tasks: Sequence[SeriesTask], exchange: Exchange, options: BackfillOptions, executor: ThreadPoolExecutor
) -> None:
    use_rest = options.choice is not SourceChoice.ARCHIVE
    for market in Market:
        symbols = {t.wanted.series.symbol for t in tasks if t.wanted.series.market is market and not t.is_over}
        if symbols and use_rest:
            try:
                exchange.open_market(market, symbols)
            except ExchangeUnavailable:  # said in the log, and kept for the summary
                _fail_market(tasks, market)

    def plan(task: SeriesTask) -> SeriesPlan:
        series = task.wanted.series
        facts = exchange.open_market(series.market, {series.symbol}) if use_rest else None
        known = known_life(task.row, task.state)
        return plan_series(task.wanted, facts, known, task.covered, exchange, options.choice, options.chunk_days)

    open_tasks = [task for task in tasks if not task.is_over]
    futures = [(task, executor.submit(plan, task)) for task in open_tasks]
    for task, future in futures:
        with _failing_alone(task, tasks, exchange):
            task.plan = future.result()
            now_ms = exchange.now_ms(task.wanted.series.market)
            task.result.open_gaps += _gaps(task.plan, task.plan.unserved, now_ms)


def _fail_market(tasks: Sequence[SeriesTask], market: Market) -> None:
    for task in tasks:
        if task.wanted.series.market is market and not task.is_over:
            task.result.error = f"market {market} cannot be used"


def _prepare_tables(
    database: Database, tasks: Sequence[SeriesTask], exchange: Exchange, options: BackfillOptions
) -> None:
    for task in tasks:
        if task.plan is None or task.is_over:
            continue
        series, life = task.wanted.series, task.plan.life
        is_news = life.status is not None and known_life(task.row) != KnownLife(
            life.listing_ms if life.listing_ms is not None else task.row.listing_ms,
            life.delisting_ms,
            life.status,
            life.note,
            life.silence_asked_ms,
        )
        if task.table_exists and not is_news:
            continue
        with _failing_alone(task, tasks, exchange), database.transaction(f"prepare the table of {series}") as tx:
            create_table_if_not_exists(tx, series, options.timescale, options.compress_after_days)
            if is_news:
                update_life(
                    tx,
                    task.row.id,
                    life.listing_ms,
                    life.delisting_ms,
                    life.status,
                    life.note,
                    life.silence_asked_ms,
                )
    try:
        with database.transaction("refresh the view over all series") as tx:
            refresh_all_series_view(tx)
    except SeriesError as error:  # a table was changed by hand; the candles of the others are what counts
        _log.error("the view public.ohlcv stays as it was: %s", error)


@dataclass(frozen=True, slots=True)
class _ReadyChunk:
    """A fetched chunk, hashed and encoded by the thread that fetched it: the database need not wait."""

    prepared: tuple[PreparedSpan, ...]
    holes: tuple[Hole, ...]
    uncovered: tuple[Span, ...]

    @classmethod
    def of(cls, fetched: FetchedChunk) -> _ReadyChunk:
        return cls(tuple(map(PreparedSpan.of, fetched.spans)), fetched.holes, fetched.uncovered)

    @property
    def spans(self) -> list[Span]:
        return [one.record.span for one in self.prepared]


def run_full_fetch(
    database: Database,
    exchange: Exchange,
    tasks: Sequence[SeriesTask],
    options: BackfillOptions,
    observer: Observer,
    executor: ThreadPoolExecutor,
    local_now_ms: Callable[[], int],
) -> None:
    """Fetch and commit the chunks of all plans, in order, reading ahead across series; then close each series."""

    def fetch(job: tuple[SeriesTask, SeriesPlan, Chunk]) -> _ReadyChunk | None:
        task, plan, chunk = job
        return None if task.is_over else _ReadyChunk.of(fetch_chunk(plan, chunk, exchange))

    work = [(task, [(task, task.plan, c) for c in task.plan.chunks] if task.plan else []) for task in tasks]
    jobs = (job for _, of_series in work for job in of_series)
    fetched = iter(ReadAhead(executor, fetch, jobs, options.workers + 1, _rows_of, _ROWS_AHEAD))
    for task, of_series in work:
        for chunks_left in reversed(range(len(of_series))):
            (_, plan, chunk), future = next(fetched)
            if task.is_over:
                future.cancel()
                continue
            with _failing_alone(task, tasks, exchange):
                _commit(database, exchange, task, plan, chunk, future, options, local_now_ms())
                if chunks_left:  # after the last one `_finish` writes it
                    keep_state(task, options.state_dir, options.run_id, local_now_ms(), "running")
            observer.committed(task.wanted.series, _rows_of((task, plan, chunk)))
        if not task.is_over:
            with _failing_alone(task, tasks, exchange):
                look_after_gaps(database, exchange, task, options.heal_gaps, options.run_id, local_now_ms())
        _finish(database, task, options, local_now_ms())


def _rows_of(job: tuple[SeriesTask, SeriesPlan, Chunk]) -> int:
    _, plan, chunk = job
    return plan.wanted.series.interval.count(chunk.span.start_ms, chunk.span.end_ms)


@contextmanager
def _failing_alone(task: SeriesTask, tasks: Sequence[SeriesTask], exchange: Exchange) -> Iterator[None]:
    """Let an error of one series end that series, and an unusable market end the series of that market.

    A fault of this program counts as the series' own too: an unattended run must not be held up by it.
    The database and the operator end the run.
    """
    try:
        yield
    except SeriesError as error:
        task.fail(error)
    except ExchangeUnavailable as error:
        exchange.close_market(task.wanted.series.market, error)
        _fail_market(tasks, task.wanted.series.market)
    except FetcherError:
        raise
    except Exception as error:
        _log.exception("%s: unexpected fault, please report it", task.wanted.series)
        task.fail(FetcherError(f"unexpected fault: {type(error).__name__}: {error}"))
        task.result.is_fault = True


def _commit(
    database: Database,
    exchange: Exchange,
    task: SeriesTask,
    plan: SeriesPlan,
    chunk: Chunk,
    future: Future[_ReadyChunk | None],
    options: BackfillOptions,
    now_ms: int,
) -> None:
    fetched = future.result()
    if fetched is None:
        return
    series, result = task.wanted.series, task.result
    with database.transaction(f"save {series} {chunk.span}") as tx:
        saved = save_ohlcv(tx, task.row.id, series.table_name, fetched.prepared, options.run_id, now_ms)
        note_gaps(tx, task, fetched.spans, fetched.holes, exchange.now_ms(series.market), options.run_id)
    result.saved += saved
    result.chunks += 1
    for one in fetched.prepared:
        source = one.record.source
        if one.record.rows:
            task.last_candle_ms = max(one.candles.last_ms, task.last_candle_ms or 0)
        result.rows_by_source[source] = result.rows_by_source.get(source, 0) + one.record.rows
    result.open_gaps += _gaps(plan, fetched.uncovered, exchange.now_ms(series.market))
    task.covered = merge([*task.covered, *fetched.spans])
    _log.debug("%s: chunk %s committed, %d inserted, %d already there", series, chunk, saved.inserted, saved.equal)
    report_conflicts(series, saved)


def _gaps(plan: SeriesPlan, holes: Sequence[Span], now_ms: int) -> list[Span]:
    """Return the open holes that are gaps: not what is still to come at the end, not the time before an archive."""
    return [hole for hole in holes if not is_edge(plan, hole, now_ms)]


def _finish(database: Database, task: SeriesTask, options: BackfillOptions, now_ms: int) -> None:
    series, result = task.wanted.series, task.result
    if result.locked:
        return
    result.covered_until_ms = task.covered[-1].end_ms if task.covered else None
    if result.healed:
        try:
            _read_last_candles(database, [task])
        except SeriesError as error:
            task.fail(error)
    keep_state(task, options.state_dir, options.run_id, now_ms, result.outcome)
    interval = series.interval
    gaps = merge(result.open_gaps)
    result.unexplained = sum(interval.count(gap.start_ms, gap.end_ms) for gap in gaps)
    unserved = subtract(gaps, task.covered)
    for gap in unserved:
        _log.warning(
            "%s: %s was not fetched, no usable archive file has it; the next run tries again, and asks REST unless "
            "--source archive is given",
            series,
            gap,
        )
    for gap in subtract(gaps, unserved):
        _log.warning(
            "%s: gap %s is not explained yet; it is asked for again half an hour after the last answer", series, gap
        )
    _log.info(
        "%s: %s, %d inserted, %d already there, %d conflicts, covered to %s",
        series,
        result.outcome,
        result.saved.inserted,
        result.saved.equal,
        result.saved.conflicts,
        shown(result.covered_until_ms),
    )
