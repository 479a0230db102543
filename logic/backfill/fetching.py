"""The main step of a backfill: chunks are fetched ahead and committed in order, series by series."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from core.candles import CandleBatch
from core.fetched import FetchedChunk
from core.gaps import Hole
from core.plan import Chunk
from core.ranges import Span, merge, subtract
from db.locks import unlock_series
from db.operations import PreparedSpan, save_ohlcv
from logic.backfill.entering import read_last_candles
from logic.backfill.run import BackfillRun
from logic.backfill.series_gaps import commit_absent, note_gaps, recheck_due_gaps, report_conflicts
from logic.backfill.series_task import SeriesTask, keep_state, shown
from logic.backfill.witnessing import SeriesWitness
from logic.fetching.chunk_fetch import fetch_chunk
from logic.fetching.read_ahead import ReadAhead
from logic.witness.longer_candles import OriginSpan

_log = logging.getLogger(__name__)

# At most so many candles are fetched ahead of the database: three months of 1m, about 180 bytes each.
_ROWS_AHEAD = 140_000
# So many chunks a worker may be begun: a slow one must not leave the other workers without any.
_WINDOW = 4


@dataclass(frozen=True, slots=True)
class ReadyChunk:
    """A fetched chunk, hashed and encoded by the thread that fetched it, so that the database does not wait."""

    prepared: tuple[PreparedSpan, ...]
    holes: tuple[Hole, ...]
    uncovered: tuple[Span, ...]
    longer: CandleBatch | None  # what its candles make, to be witnessed

    @classmethod
    def of(cls, fetched: FetchedChunk, witness: SeriesWitness | None) -> ReadyChunk:
        """Hash and encode what was fetched."""
        longer = None if witness is None else witness.made([one.batch for one in fetched.spans])
        return cls(tuple(map(PreparedSpan.of, fetched.spans)), fetched.holes, fetched.uncovered, longer)

    @property
    def spans(self) -> list[Span]:
        """The spans that it covers."""
        return [one.record.span for one in self.prepared]

    @property
    def origins(self) -> list[OriginSpan]:
        """The spans that it covers, with their sources."""
        return [OriginSpan(one.record.span, one.record.source) for one in self.prepared]


def run_full_fetch(run: BackfillRun, executor: Executor) -> None:
    """Fetch and commit the chunks of all plans in order, reading ahead across series; finish each series.

    Series without chunks come first, so that their locks are released at once.
    """

    witnesses = {task.row.id: SeriesWitness.of(run, task) for task in run.tasks}

    def fetch(task: SeriesTask, chunk: Chunk) -> ReadyChunk | None:
        plan = task.plan
        if plan is None or task.is_over:
            return None
        fetched = fetch_chunk(plan.options, chunk, plan.published, run.exchange)
        if plan.edges is not None:
            fetched = plan.edges.exclude(fetched, run.exchange.now_ms(task.wanted.series.market))
        return ReadyChunk.of(fetched, witnesses[task.row.id])

    ahead = ReadAhead(executor, fetch, _rows_of, _WINDOW * run.options.workers, _ROWS_AHEAD)
    work = [(task, task.chunks) for task in sorted(run.tasks, key=lambda task: bool(task.chunks))]
    idle: list[SeriesTask] = []
    for task, fetched in ahead.run(work):
        if task.chunks and idle:
            _unlock(run, idle)
            idle = []
        witness = witnesses[task.row.id]
        if witness is not None:
            witness.ask(executor)
        if not task.is_over:
            with run.failing_alone(task):
                commit_absent(run.session(task), task)
        _commit_all(run, task, fetched, witness)
        if not task.is_over:
            with run.failing_alone(task):
                recheck_due_gaps(run.session(task), task, run.options.heal_gaps)
                if witness is not None:
                    witness.finish()
        _finish(run, task)
        if task.chunks:
            _unlock(run, [task])
        else:
            idle.append(task)
    _unlock(run, idle)


def _commit_all(
    run: BackfillRun,
    task: SeriesTask,
    fetched: Iterator[tuple[Chunk, Future[ReadyChunk | None]]],
    witness: SeriesWitness | None,
) -> None:
    """Commit the chunks of one series in order, until all are committed or one fails."""
    for number, (chunk, future) in enumerate(fetched, 1):
        if task.is_over:
            future.cancel()
            continue
        with run.failing_alone(task):
            ready = future.result()
            if ready is not None:
                conflicts = _commit(run, task, chunk, ready)
                if witness is not None and ready.longer is not None and not conflicts:
                    witness.committed.add(ready.origins, ready.longer)
            if number < len(task.chunks):  # after the last one `_finish` writes it
                keep_state(task, run.options.state_dir, run.options.run_id, run.local_now_ms(), "running")
        run.observer.committed(task.wanted.series, _rows_of(task, chunk))


def _rows_of(task: SeriesTask, chunk: Chunk) -> int:
    return task.wanted.series.interval.count(chunk.span.start_ms, chunk.span.end_ms)


def _commit(run: BackfillRun, task: SeriesTask, chunk: Chunk, ready: ReadyChunk) -> int:
    """Commit one chunk with its gaps; return how many stored candles differ from the fetched ones and stayed."""
    session, result = run.session(task), task.result
    series = session.series
    with run.database.transaction(f"save {series} {chunk.span}") as tx:
        saved = save_ohlcv(tx, session.commit, ready.prepared)
        note_gaps(tx, session, task, ready.spans, ready.holes)
    result.saved += saved
    result.chunks += 1
    for one in ready.prepared:
        source = one.record.source
        if one.record.rows:
            task.last_candle_ms = max(one.candles.last_ms, task.last_candle_ms or 0)
        result.rows_by_source[source] = result.rows_by_source.get(source, 0) + one.record.rows
    result.open_gaps += task.gaps_among(ready.uncovered, session.exchange_now_ms())
    task.covered = merge([*task.covered, *ready.spans])
    _log.debug("%s: chunk %s committed, %d inserted, %d already there", series, chunk, saved.inserted, saved.equal)
    report_conflicts(series, saved)
    return saved.conflicts


def _unlock(run: BackfillRun, tasks: list[SeriesTask]) -> None:
    """Release the locks of finished series, for a stream or another run."""
    held = [task.row.id for task in tasks if not task.result.locked]
    if held:
        with run.database.transaction("unlock the series that are done") as tx:
            unlock_series(tx, held)


def _finish(run: BackfillRun, task: SeriesTask) -> None:
    series, result = task.wanted.series, task.result
    if result.locked:
        return
    result.covered_until_ms = task.covered[-1].end_ms if task.covered else None
    result.is_broken = len(task.covered) > 1
    if result.healed:
        read_last_candles(run.database, [task])
    keep_state(task, run.options.state_dir, run.options.run_id, run.local_now_ms(), result.outcome)
    gaps = merge(result.open_gaps)
    result.unexplained = series.interval.count_in(gaps)
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
    # Thousands of series without news, every five minutes, would fill the log files in half a day.
    is_news = (bool(result.chunks) or bool(result.healed)) and not run.options.is_heal
    _log.log(
        logging.INFO if is_news or (result.outcome != "ok" and not run.options.is_heal) else logging.DEBUG,
        "%s: %s, %d inserted, %d already there, %d conflicts, covered to %s",
        series,
        result.outcome,
        result.saved.inserted,
        result.saved.equal,
        result.saved.conflicts,
        shown(result.covered_until_ms),
    )
