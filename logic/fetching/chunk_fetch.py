"""Fetches one chunk from its source and completes or replaces what that source lacks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.binance.archives import Period
from core.candles import CandleBatch, coalesce, merge_batches
from core.errors import ArchiveUnavailable
from core.fetched import FetchedSpan
from core.gaps import Answer, Hole
from core.plan import Chunk, Source, SourceChoice, finer_chunks
from core.ranges import Span, merge, subtract
from core.series import Series
from core.times import MS_PER_DAY
from fetcher.binance.exchange import Exchange
from logic.planning.series_plan import SeriesPlan

_log = logging.getLogger(__name__)

# The exchange lags after outages. A hole that reaches up to now and is younger than this is not a
# gap yet but the end of the data: it is left uncovered, and the next run asks again.
_YOUNG_TAIL_MS = MS_PER_DAY
# The archives of a symbol's last days can come this late; a slip of eight days was seen (contract section 4).
_ARCHIVES_OUT_MS = 14 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class FetchedChunk:
    """What a chunk brought: spans to save, their holes with what was answered, and what is left uncovered."""

    spans: tuple[FetchedSpan, ...]
    holes: tuple[Hole, ...] = ()
    uncovered: tuple[Span, ...] = ()


def fetch_chunk(plan: SeriesPlan, chunk: Chunk, exchange: Exchange) -> FetchedChunk:
    """Return the chunk's candles. Raises SeriesError or ExchangeUnavailable.

    An archive file that is not there or cannot be trusted is replaced by finer files, then by REST;
    slots that an archive lacks are asked for by REST (unless only archives are allowed).
    """
    series = plan.wanted.series
    if chunk.period is None:
        return _leave_edges_open(plan, fetch_by_rest(series, chunk.span, exchange), exchange)
    try:
        batch, checksum = exchange.archives.fetch(series, chunk.period)
    except ArchiveUnavailable as error:
        finer = finer_chunks(chunk, series, plan.published, plan.rules)
        if finer.chunks:
            _log.info("%s: %s; using finer sources", series, error)
        else:
            _log.warning("%s: %s; nothing finer is allowed", series, error)
        parts = [fetch_chunk(plan, part, exchange) for part in finer.chunks]
        return FetchedChunk(
            tuple(span for part in parts for span in part.spans),
            tuple(hole for part in parts for hole in part.holes),
            (*finer.unserved, *(span for part in parts for span in part.uncovered)),
        )
    return _leave_edges_open(plan, _complete(plan, chunk, chunk.period, batch, checksum, exchange), exchange)


def finished_part(series: Series, period: Period) -> Span:
    """Return the part of an archive file that can be trusted: candles that have closed within its period.

    A file may be cut before its last candle has closed (a week that runs into the next month): such a
    candle could be unfinished, or not in it at all.
    """
    return Span(period.span.start_ms, series.interval.floor(period.span.end_ms))


def fetch_by_rest(series: Series, span: Span, exchange: Exchange) -> FetchedChunk:
    """Return what REST has in `span`. Raises SeriesError or ExchangeUnavailable."""
    batch = exchange.rest(series.market).fetch_binance_ohlcv(series, span.start_ms, span.end_ms)
    now_ms = exchange.now_ms(series.market)
    holes = batch.missing(series.interval, span)
    return FetchedChunk(
        (FetchedSpan(span, batch, Source.REST),),
        tuple(Hole(hole, (Answer(Source.REST, hole, now_ms, now_ms),)) for hole in holes),
    )


def _leave_edges_open(plan: SeriesPlan, fetched: FetchedChunk, exchange: Exchange) -> FetchedChunk:
    """Return the chunk without the holes that are no gaps: the end of the data so far, the time before an archive."""
    now_ms = exchange.now_ms(plan.wanted.series.market)
    interval = plan.wanted.series.interval
    # Behind the newest candle there is nothing although by the clock there should be: either the exchange lags, or the
    # clock is ahead and that candle is still open. It is left for the next run too, for it could not be mended.
    edges = [
        Span(interval.add(interval.floor(hole.span.start_ms), -1), hole.span.end_ms)
        if plan.span is not None and hole.span.end_ms == plan.span.end_ms and hole.span.start_ms > plan.span.start_ms
        else hole.span
        for hole in fetched.holes
        if is_edge(plan, hole.span, now_ms)
    ]
    if not edges:
        return fetched
    spans = [one.within(part) for one in fetched.spans for part in subtract([one.span], edges)]
    return FetchedChunk(
        tuple(spans),
        tuple(hole for hole in fetched.holes if not any(hole.span.intersect(edge) for edge in edges)),
        (*fetched.uncovered, *edges),
    )


def is_edge(plan: SeriesPlan, hole: Span, now_ms: int) -> bool:
    """Whether a hole is no gap: the end of the data so far, or the time before an archive of unknown beginning."""
    if plan.span is None:
        return False
    if hole.end_ms == plan.span.end_ms:
        only_archives = plan.rules.choice is SourceChoice.ARCHIVE and plan.life.delisting_ms is None
        return hole.end_ms > now_ms - (_ARCHIVES_OUT_MS if only_archives else _YOUNG_TAIL_MS)
    begins_unknown = plan.life.listing_ms is None and plan.wanted.start_ms is None
    return begins_unknown and hole.start_ms == plan.span.start_ms


def _complete(
    plan: SeriesPlan, chunk: Chunk, period: Period, whole: CandleBatch, checksum: str, exchange: Exchange
) -> FetchedChunk:
    """Return the archive's candles with its holes asked for by REST, each span with its own source."""
    series = plan.wanted.series
    now_ms = exchange.now_ms(series.market)
    finished = finished_part(series, period).intersect(chunk.span)
    unfinished = subtract([chunk.span], [finished] if finished is not None else [])
    batch = CandleBatch.empty()
    archive_lacks: list[Hole] = []
    if finished is not None:
        batch = whole.within(finished)
        for span in batch.missing(series.interval, finished):
            archive_lacks.append(Hole(span, (Answer(chunk.source, span, now_ms, now_ms, checksum=checksum),)))
    if plan.rules.choice is SourceChoice.ARCHIVE:
        return FetchedChunk(_archived(chunk, batch, checksum, unfinished), tuple(archive_lacks), tuple(unfinished))
    # Holes near each other fit into one page; the rows between them come by REST as well then.
    lacking = merge([*unfinished, *(hole.span for hole in archive_lacks)])
    stretches = coalesce(lacking, series.interval, plan.rules.page_rows)
    spans = list(_archived(chunk, batch, checksum, stretches))
    holes: list[Hole] = []
    for stretch in stretches:
        by_rest = fetch_by_rest(series, stretch, exchange)
        archived = batch.within(stretch)
        found = by_rest.spans[0].batch
        merged = merge_batches(found, archived, series.interval)
        if merged.rows > found.rows:
            _log.warning("%s: the archive has candles in %s that REST lacks; kept", series, stretch)
        spans.append(FetchedSpan(stretch, merged, Source.REST))
        holes += lacked_by_both(by_rest.holes, [*archive_lacks, *map(Hole, unfinished)])
    return FetchedChunk(tuple(sorted(spans, key=lambda item: item.span)), tuple(holes))


def lacked_by_both(first: Sequence[Hole], second: Sequence[Hole]) -> list[Hole]:
    """Return the slots that neither of two sources has, with the answers of both."""
    both = []
    for one in first:
        for other in second:
            if (span := one.span.intersect(other.span)) is not None:
                both.append(Hole(span, (*one.answers, *other.answers)))
    return both


def _archived(chunk: Chunk, batch: CandleBatch, checksum: str, without: Sequence[Span]) -> tuple[FetchedSpan, ...]:
    return tuple(
        FetchedSpan(part, batch.within(part), chunk.source, checksum) for part in subtract([chunk.span], without)
    )
