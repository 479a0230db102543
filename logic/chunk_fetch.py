"""Fetches one chunk from its source and completes or replaces what that source lacks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.candles import CandleBatch, coalesce, merge_batches, missing_spans
from core.errors import ArchiveUnavailable
from core.fetched import FetchedSpan
from core.plan import Chunk, Source, SourceChoice, finer_chunks
from core.ranges import Span, subtract
from core.series import Series
from core.times import MS_PER_DAY
from logic.exchange import Exchange
from logic.series_plan import SeriesPlan

_log = logging.getLogger(__name__)

# A hole that ends less than this before now may still be filled by the exchange (it lags after
# outages): it is not entered as covered, and the next run asks again.
YOUNG_HOLE_MS = MS_PER_DAY


@dataclass(frozen=True, slots=True)
class FetchedChunk:
    """What a chunk brought: spans to save, and holes that are not explained yet."""

    spans: tuple[FetchedSpan, ...]
    open_holes: tuple[Span, ...] = ()


def fetch_chunk(plan: SeriesPlan, chunk: Chunk, exchange: Exchange) -> FetchedChunk:
    """Return the chunk's candles. Raises SeriesError or ExchangeUnavailable.

    An archive file that is not there or cannot be trusted is replaced by finer files, then by REST;
    slots that an archive lacks are asked for by REST (unless only archives are allowed).
    """
    series = plan.wanted.series
    if chunk.period is None:
        return fetch_by_rest(series, chunk.span, exchange)
    try:
        batch, checksum = exchange.archives.fetch(series, chunk.period)
    except ArchiveUnavailable as error:
        _log.info("%s: %s; using finer sources", series, error)
        finer = finer_chunks(chunk, series, plan.published, plan.rules)
        parts = [fetch_chunk(plan, part, exchange) for part in finer.chunks]
        return FetchedChunk(
            tuple(span for part in parts for span in part.spans),
            (*finer.unserved, *(hole for part in parts for hole in part.open_holes)),
        )
    # A file may be cut before its last candle has closed (a week that runs into the next month):
    # such a candle could be unfinished, so it is left to REST.
    finished_until_ms = series.interval.floor(chunk.period.span.end_ms)
    batch = batch.within(Span(chunk.span.start_ms, min(chunk.span.end_ms, finished_until_ms)))
    return _complete(plan, chunk, batch, checksum, exchange)


def fetch_by_rest(series: Series, span: Span, exchange: Exchange) -> FetchedChunk:
    """Return what REST has in `span`; holes that ended less than a day ago are left open.

    Raises SeriesError or ExchangeUnavailable.
    """
    batch = exchange.rest(series.market).fetch_binance_ohlcv(series, span.start_ms, span.end_ms)
    young = _young(missing_spans(batch.open_times(), series.interval, span), exchange.now_ms(series.market))
    covered = subtract([span], young)
    return FetchedChunk(
        tuple(FetchedSpan(part, batch.within(part), Source.REST) for part in covered),
        tuple(young),
    )


def _young(holes: Sequence[Span], now_ms: int) -> list[Span]:
    return [hole for hole in holes if hole.end_ms > now_ms - YOUNG_HOLE_MS]


def _complete(plan: SeriesPlan, chunk: Chunk, batch: CandleBatch, checksum: str, exchange: Exchange) -> FetchedChunk:
    """Return the archive's candles with its holes asked for by REST, each span with its own source."""
    series = plan.wanted.series
    holes = missing_spans(batch.open_times(), series.interval, chunk.span)
    if plan.rules.choice is SourceChoice.ARCHIVE:
        return FetchedChunk(_archived(chunk, batch, checksum, holes), tuple(holes))
    # Holes near each other fit into one page; the rows between them come by REST as well then.
    stretches = coalesce(holes, series.interval, plan.rules.page_rows)
    spans = list(_archived(chunk, batch, checksum, stretches))
    open_holes: list[Span] = []
    for stretch in stretches:
        by_rest = fetch_by_rest(series, stretch, exchange)
        open_holes += by_rest.open_holes
        for part in by_rest.spans:
            archived = batch.within(part.span)
            merged = merge_batches(part.batch, archived, series.interval)
            if merged.rows > part.batch.rows:
                _log.warning("%s: the archive has candles in %s that REST lacks; kept", series, part.span)
            spans.append(FetchedSpan(part.span, merged, Source.REST))
    return FetchedChunk(tuple(sorted(spans, key=lambda item: item.span)), tuple(open_holes))


def _archived(chunk: Chunk, batch: CandleBatch, checksum: str, without: Sequence[Span]) -> tuple[FetchedSpan, ...]:
    return tuple(
        FetchedSpan(part, batch.within(part), chunk.source, checksum) for part in subtract([chunk.span], without)
    )
