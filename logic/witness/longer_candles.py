"""Which longer candles can witness the candles of a series, and from where they come."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.archives import Period, month_of
from core.candles import CandleBatch
from core.errors import ArchiveUnavailable
from core.exchange_rules import guess_index
from core.listing import ListingPeriod
from core.ranges import Span, merge
from core.series import Series
from core.sources import AllowedSources, Source
from core.witness import bucket_interval, can_witness, whole_buckets, witness_interval
from fetcher.source import ExchangeSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OriginSpan:
    """A stored span and the source that it came from."""

    span: Span
    source: Source


@dataclass(frozen=True, slots=True)
class WitnessPart:
    """A stretch of whole buckets whose longer candles come by one request, or from one archive file."""

    span: Span
    source: Source
    period: Period | None = None  # the archive file, for the archive sources


@dataclass(frozen=True, slots=True)
class LongerCandles:
    """The longer candles of one series, as its exchange has them."""

    exchange: ExchangeSource
    series: Series
    allowed: AllowedSources

    def parts(self, stored: Iterable[OriginSpan], listing: ListingPeriod) -> list[WitnessPart]:
        """Return what to fetch to witness `stored`: REST for what came from archives, archives for what came by REST.

        Buckets that are not wholly stored are left out, and archive files that are not due yet.
        """
        origins = list(stored)
        whole = whole_buckets(bucket_interval(self.series.interval), (one.span for one in origins), listing)
        parts: list[WitnessPart] = []
        for witness in (Source.REST, Source.ARCHIVE_MONTHLY):
            of = [one.span for one in origins if can_witness(witness, one.source, self.allowed)]
            touched = [self._around(span, whole) for span in merge(of)]
            wanted = merge(span for stretch in touched for span in stretch)
            if witness is Source.REST and self.allowed.rest:
                parts += [WitnessPart(page, Source.REST) for span in wanted for page in self._pages(span)]
            elif witness.is_archive and self.allowed.archives:
                parts += [part for span in wanted for part in self._files(span)]
        return parts

    def fetch(self, part: WitnessPart) -> CandleBatch | None:
        """Return the longer candles of `part`; None where the archive has no usable file of them.

        Raises SeriesError and ExchangeUnavailable.
        """
        if part.period is None:
            return self.exchange.fetch_candles(self._longer, part.span)
        try:
            batch, _ = self.exchange.archives.fetch(self._longer, part.period)
        except ArchiveUnavailable as error:
            _log.info("%s: no witness for %s: %s", self.series, part.span, error)
            return None
        return batch.within(part.span)

    @property
    def _longer(self) -> Series:
        return self.series.of(witness_interval(self.series.interval))

    def _around(self, span: Span, whole: Sequence[Span]) -> list[Span]:
        """Return the buckets that touch `span`, as far as they are whole."""
        bucket = bucket_interval(self.series.interval)
        reach = Span(bucket.floor(span.start_ms), bucket.ceil(span.end_ms))
        return [part for one in whole if (part := one.intersect(reach)) is not None]

    def _pages(self, span: Span) -> Iterator[Span]:
        """Yield parts of `span` that begin and end with buckets and hold about a page of longer candles each."""
        bucket, cursor = bucket_interval(self.series.interval), span.start_ms
        for page in self.exchange.rules(self._longer).pages(span):
            end_ms = span.end_ms if page.end_ms >= span.end_ms else bucket.floor(page.end_ms)
            if end_ms > cursor:
                yield Span(cursor, end_ms)
                cursor = end_ms

    def _files(self, span: Span) -> Iterator[WitnessPart]:
        """Yield the monthly files that should be out by now and hold whole buckets of `span`.

        A month of hours is 20 kB. Its daily files would be sixty requests: what they hold waits for the month's.
        """
        rules, bucket = self.exchange.rules(self._longer), bucket_interval(self.series.interval)
        published = guess_index(rules, span, self.exchange.now_ms(self.series.market))
        for month in map(month_of, sorted(published.months)):
            for whole in whole_buckets(bucket, [month.span], ListingPeriod()):
                if (part := whole.intersect(span)) is not None:
                    yield WitnessPart(part, month.source, month)
