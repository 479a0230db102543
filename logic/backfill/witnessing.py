"""Holds what a backfill has just committed of a series against longer candles from another source.

The longer candles are fetched while the last chunks are saved. What cannot be compared now (a bucket that is not whole,
a file that is not out yet, an exchange that does not answer) is left to `verify`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

from core.candles import CandleBatch
from core.errors import ExchangeUnavailable, SeriesError
from core.longer import make_longer
from core.witness import bucket_interval, whole_buckets
from logic.backfill.run import BackfillRun
from logic.backfill.series_task import SeriesTask
from logic.planning.series_plan import SeriesPlan
from logic.witness.comparing import Witnessing
from logic.witness.longer_candles import OriginSpan, WitnessPart

_log = logging.getLogger(__name__)

# A backfill compares at most so many pages of candles one by one; `verify --against longer` compares the rest.
_MOST_PAGES = 20


@dataclass(slots=True)
class Committed:
    """What a run has committed of one series, as the candles of a bucket that it makes."""

    origins: list[OriginSpan] = field(default_factory=list)
    made: list[CandleBatch] = field(default_factory=list)

    def add(self, origins: list[OriginSpan], made: CandleBatch) -> None:
        """Add a committed chunk. Chunks come in order of time."""
        self.origins += origins
        self.made.append(made)


@dataclass(slots=True)
class SeriesWitness:
    """The witnesses of one series in one backfill."""

    run: BackfillRun
    task: SeriesTask
    plan: SeriesPlan
    parts: list[WitnessPart]
    committed: Committed = field(default_factory=Committed)
    _asked: list[tuple[WitnessPart, Future[CandleBatch | None]]] = field(default_factory=list)

    @classmethod
    def of(cls, run: BackfillRun, task: SeriesTask) -> SeriesWitness | None:
        """Return the witnesses of what is planned; None where none is wanted or can be had now."""
        plan = task.plan
        if plan is None or not task.chunks or not run.options.witness:
            return None
        planned = [OriginSpan(chunk.span, chunk.source) for chunk in task.chunks]
        parts = Witnessing(run.session(task), plan.options.allowed, planned).parts(plan.listing)
        return cls(run, task, plan, parts) if parts else None

    def made(self, batches: list[CandleBatch]) -> CandleBatch:
        """Return what a chunk makes."""
        return make_longer(CandleBatch.concat(batches), bucket_interval(self.task.wanted.series.interval))

    def ask(self, executor: Executor) -> None:
        """Begin to fetch the longer candles."""
        witnessing = self._witnessing()
        self._asked = [(part, executor.submit(witnessing.fetch, part)) for part in self.parts]

    def finish(self) -> None:
        """Compare, record what is witnessed, and count in the result what other sources contradict."""
        task, result = self.task, self.task.result
        if task.is_over or result.healed:
            for _, future in self._asked:
                future.cancel()
            return
        witnessing = self._witnessing()
        bucket = bucket_interval(task.wanted.series.interval)
        try:
            stored = make_longer(CandleBatch.concat(self.committed.made), bucket)
            findings = witnessing.compare(stored, self._heard())
        except (SeriesError, ExchangeUnavailable) as error:
            _log.info("%s: not witnessed in this run: %s", task.wanted.series, error)
            return
        witnessing.keep(findings)
        result.contradicted = len(findings.contradicted)

    def _witnessing(self) -> Witnessing:
        options = self.plan.options
        most_candles = _MOST_PAGES * options.rules.page_rows
        return Witnessing(self.run.session(self.task), options.allowed, self.committed.origins, most_candles)

    def _heard(self) -> Iterator[tuple[WitnessPart, CandleBatch]]:
        """Yield the longer candles that came, as far as their buckets were committed whole."""
        series, spans = self.task.wanted.series, (one.span for one in self.committed.origins)
        whole = whole_buckets(bucket_interval(series.interval), spans, self.plan.listing)
        for part, future in self._asked:
            try:
                longer = future.result()
            except (SeriesError, ExchangeUnavailable) as error:
                _log.info("%s: no witness for %s: %s", series, part.span, error)
                continue
            for one in whole:
                if longer is not None and (inside := part.span.intersect(one)) is not None:
                    yield replace(part, span=inside), longer.within(inside)
