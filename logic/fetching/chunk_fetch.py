"""Fetches one chunk from its source; what that source lacks is fetched from finer files or REST."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.archives import ArchiveIndex
from core.candles import CandleBatch, coalesce, merge_batches
from core.closing import closed_part_of_file
from core.errors import ArchiveUnavailable
from core.fetched import FetchedChunk, FetchedSpan, ReadFile
from core.gaps import Answer, Hole
from core.plan import Chunk, FetchOptions, finer_chunks
from core.ranges import Span, merge, subtract
from core.series import Series
from core.sources import Source
from fetcher.source import ExchangeSource

_log = logging.getLogger(__name__)


def fetch_chunk(options: FetchOptions, chunk: Chunk, published: ArchiveIndex, exchange: ExchangeSource) -> FetchedChunk:
    """Return all that the allowed sources have of the chunk. Raises SeriesError or ExchangeUnavailable.

    An archive file that does not exist or is invalid, or has a row that cannot be a candle, is replaced by finer
    files, then by REST. Slots that an archive lacks are requested by REST, unless only archives are allowed.
    """
    series = options.series
    if chunk.period is None:
        return fetch_by_rest(series, chunk.span, exchange)
    try:
        batch, checksum = exchange.archives.fetch(series, chunk.period)
    except ArchiveUnavailable as error:
        return _from_finer(options, chunk, published, exchange, str(error))
    archived = _ArchivedChunk(chunk, ReadFile.of(options.rules, chunk.period, batch, checksum))
    if batch.unusable:
        bad, name = batch.unusable[0], chunk.period.text
        why = f"archive {name} holds unusable rows: impossible candle, {bad.why}: {bad.row}"
        finer = _from_finer(options, chunk, published, exchange, why)
        # Where nothing finer can be had, the row of a verified file is what the exchange has.
        return _complete(options, archived, exchange) if finer.uncovered else finer
    return _complete(options, archived, exchange)


def _from_finer(
    options: FetchOptions, chunk: Chunk, published: ArchiveIndex, exchange: ExchangeSource, why: str
) -> FetchedChunk:
    """Return the chunk from daily files or REST, because of `why`."""
    finer = finer_chunks(options, chunk, published)
    if finer.chunks:
        _log.info("%s: %s; using finer sources", options.series, why)
    else:
        _log.warning("%s: %s; nothing finer is allowed", options.series, why)
    parts = [fetch_chunk(options, part, published, exchange) for part in finer.chunks]
    return FetchedChunk(
        tuple(span for part in parts for span in part.spans),
        tuple(hole for part in parts for hole in part.holes),
        (*finer.unserved, *(span for part in parts for span in part.uncovered)),
    )


def fetch_by_rest(series: Series, span: Span, exchange: ExchangeSource) -> FetchedChunk:
    """Return what REST has in `span`. Raises SeriesError or ExchangeUnavailable."""
    batch = exchange.fetch_candles(series, span)
    now_ms = exchange.now_ms(series.market)
    unusable = [(series.interval.slot_of(one.open_ms), one) for one in batch.unusable]
    for _, one in unusable:
        _log.warning("%s: the exchange's row for a candle cannot be one, %s; left out: %s", series, one.why, one.row)
    lacking = subtract(batch.missing(series.interval, span), [slot for slot, _ in unusable])
    holes = [Hole(hole, (Answer(Source.REST, hole, now_ms, now_ms),)) for hole in lacking]
    holes += [Hole(slot, (Answer(Source.REST, slot, now_ms, now_ms, unusable=one.row),)) for slot, one in unusable]
    return FetchedChunk((FetchedSpan(span, batch, Source.REST),), tuple(sorted(holes, key=lambda hole: hole.span)))


@dataclass(frozen=True, slots=True)
class _ArchivedChunk:
    """A chunk and the archive file that was read for it; the file may cover more than the chunk."""

    chunk: Chunk
    file: ReadFile

    def spans_without(self, left_out: Sequence[Span]) -> list[FetchedSpan]:
        """Return the file's candles inside the chunk, without those in `left_out`."""
        return [
            FetchedSpan(part, self.file.batch.within(part), self.file.period.source, self.file.checksum)
            for part in subtract([self.chunk.span], left_out)
        ]


def _complete(options: FetchOptions, archived: _ArchivedChunk, exchange: ExchangeSource) -> FetchedChunk:
    """Return the archive's candles, with its holes fetched by REST; each span has its own source."""
    series, chunk, file = options.series, archived.chunk, archived.file
    file_has = closed_part_of_file(series.interval, file.period.span)
    closed = file_has.intersect(chunk.span) if file_has is not None else None
    not_closed = subtract([chunk.span], [closed] if closed is not None else [])
    now_ms = exchange.now_ms(series.market)
    lacked = file.holes(series.interval, closed, now_ms) if closed is not None else []
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
        of_file = file.batch.within(trusted) if trusted is not None else CandleBatch.empty()
        merged = merge_batches(found, of_file, series.interval)
        if merged.rows > found.rows:
            _log.warning("%s: the archive has candles in %s that REST lacks; kept", series, stretch)
        spans.append(FetchedSpan(stretch, merged, Source.REST))
        holes += lacked_by_both(by_rest.holes, [*lacked, *map(Hole, not_closed)])
    return FetchedChunk(tuple(sorted(spans, key=lambda item: item.span)), tuple(holes))


def lacked_by_both(first: Sequence[Hole], second: Sequence[Hole]) -> list[Hole]:
    """Return the slots that both sources lack, with the answers of both."""
    both = []
    for one in first:
        for other in second:
            if (span := one.span.intersect(other.span)) is not None:
                both.append(Hole(span, (*one.answers, *other.answers)))
    return both
