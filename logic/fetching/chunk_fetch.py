"""Fetches one chunk from its source; what that source lacks is fetched from finer files or REST."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.archives import ArchiveIndex, Period
from core.candles import CandleBatch, coalesce, merge_batches
from core.closing import closed_part_of_file
from core.errors import ArchiveUnavailable
from core.fetched import FetchedChunk, FetchedSpan
from core.gaps import Answer, Hole
from core.plan import Chunk, FetchOptions, finer_chunks
from core.ranges import Span, merge, subtract
from core.series import Series
from core.sources import Source
from fetcher.source import ExchangeSource

_log = logging.getLogger(__name__)


def fetch_chunk(options: FetchOptions, chunk: Chunk, published: ArchiveIndex, exchange: ExchangeSource) -> FetchedChunk:
    """Return all that the allowed sources have of the chunk. Raises SeriesError or ExchangeUnavailable.

    An archive file that does not exist or is invalid is replaced by finer files, then by REST.
    Slots that an archive lacks are requested by REST, unless only archives are allowed.
    """
    series = options.series
    if chunk.period is None:
        return fetch_by_rest(series, chunk.span, exchange)
    try:
        batch, checksum = exchange.archives.fetch(series, chunk.period)
    except ArchiveUnavailable as error:
        finer = finer_chunks(options, chunk, published)
        if finer.chunks:
            _log.info("%s: %s; using finer sources", series, error)
        else:
            _log.warning("%s: %s; nothing finer is allowed", series, error)
        parts = [fetch_chunk(options, part, published, exchange) for part in finer.chunks]
        return FetchedChunk(
            tuple(span for part in parts for span in part.spans),
            tuple(hole for part in parts for hole in part.holes),
            (*finer.unserved, *(span for part in parts for span in part.uncovered)),
        )
    return _complete(options, _ArchivedChunk(chunk, chunk.period, batch, checksum), exchange)


def fetch_by_rest(series: Series, span: Span, exchange: ExchangeSource) -> FetchedChunk:
    """Return what REST has in `span`. Raises SeriesError or ExchangeUnavailable."""
    batch = exchange.fetch_candles(series, span)
    now_ms = exchange.now_ms(series.market)
    holes = batch.missing(series.interval, span)
    return FetchedChunk(
        (FetchedSpan(span, batch, Source.REST),),
        tuple(Hole(hole, (Answer(Source.REST, hole, now_ms, now_ms),)) for hole in holes),
    )


@dataclass(frozen=True, slots=True)
class _ArchivedChunk:
    """A chunk and the archive file that was read for it; the file may cover more than the chunk."""

    chunk: Chunk
    period: Period
    batch: CandleBatch
    checksum: str

    def spans_without(self, left_out: Sequence[Span]) -> list[FetchedSpan]:
        """Return the file's candles inside the chunk, without those in `left_out`."""
        return [
            FetchedSpan(part, self.batch.within(part), self.period.source, self.checksum)
            for part in subtract([self.chunk.span], left_out)
        ]


def _complete(options: FetchOptions, archived: _ArchivedChunk, exchange: ExchangeSource) -> FetchedChunk:
    """Return the archive's candles, with its holes fetched by REST; each span has its own source."""
    series, chunk = options.series, archived.chunk
    file_has = closed_part_of_file(series.interval, archived.period.span)
    closed = file_has.intersect(chunk.span) if file_has is not None else None
    not_closed = subtract([chunk.span], [closed] if closed is not None else [])
    lacked = _lacked_by_archive(series, archived, closed, exchange.now_ms(series.market))
    if not options.allowed.rest:
        return FetchedChunk(tuple(archived.spans_without(not_closed)), tuple(lacked), tuple(not_closed))
    # Holes that fit into one page are fetched together; the rows between them then come from REST as well.
    lacking = merge([*not_closed, *(hole.span for hole in lacked)])
    stretches = coalesce(lacking, series.interval, options.rules.page_rows)
    spans = archived.spans_without(stretches)
    holes: list[Hole] = []
    for stretch in stretches:
        by_rest = fetch_by_rest(series, stretch, exchange)
        found = by_rest.spans[0].batch
        # Candles that did not close within the file's period are not used from it.
        trusted = stretch.intersect(closed) if closed is not None else None
        of_file = archived.batch.within(trusted) if trusted is not None else CandleBatch.empty()
        merged = merge_batches(found, of_file, series.interval)
        if merged.rows > found.rows:
            _log.warning("%s: the archive has candles in %s that REST lacks; kept", series, stretch)
        spans.append(FetchedSpan(stretch, merged, Source.REST))
        holes += lacked_by_both(by_rest.holes, [*lacked, *map(Hole, not_closed)])
    return FetchedChunk(tuple(sorted(spans, key=lambda item: item.span)), tuple(holes))


def _lacked_by_archive(series: Series, archived: _ArchivedChunk, closed: Span | None, now_ms: int) -> list[Hole]:
    """Return the slots of the closed part that the file lacks, with the file as evidence."""
    if closed is None:
        return []
    return [
        Hole(span, (Answer(archived.period.source, span, now_ms, now_ms, checksum=archived.checksum),))
        for span in archived.batch.within(closed).missing(series.interval, closed)
    ]


def lacked_by_both(first: Sequence[Hole], second: Sequence[Hole]) -> list[Hole]:
    """Return the slots that both sources lack, with the answers of both."""
    both = []
    for one in first:
        for other in second:
            if (span := one.span.intersect(other.span)) is not None:
                both.append(Hole(span, (*one.answers, *other.answers)))
    return both
