"""The reference: what the exchange has now in a committed span, from the cheapest source that is reliable enough.

REST and daily files are more reliable than monthly ones (docs/binance.md, Archives): what came from them is not
compared with a monthly file, and where an archive differs from the table, REST decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.archives import NO_ARCHIVES, ArchiveIndex
from core.candles import CandleBatch, coalesce, merge_batches
from core.compare import Difference, compare
from core.exchange_rules import guess_index
from core.fetched import FetchedSpan
from core.gaps import Hole
from core.plan import FetchOptions, make_plan
from core.ranges import Span, merge, subtract
from core.series import Series
from core.sources import AllowedSources, Source
from fetcher.source import ExchangeSource
from logic.fetching.chunk_fetch import fetch_by_rest, fetch_chunk


@dataclass(frozen=True, slots=True)
class Reference:
    """All candles that the exchange has in a span, in parts by source, and the slots that it lacks."""

    spans: tuple[FetchedSpan, ...]
    holes: tuple[Hole, ...]
    batch: CandleBatch  # of all parts

    @classmethod
    def of(cls, spans: Iterable[FetchedSpan], holes: Iterable[Hole]) -> Reference:
        """Return the reference made of these parts, in any order."""
        ordered = tuple(sorted(spans, key=lambda one: one.span))
        return cls(ordered, tuple(holes), CandleBatch.concat([one.batch for one in ordered]))

    @property
    def by_rest(self) -> CandleBatch:
        """The candles of the parts that came by REST."""
        return CandleBatch.concat([one.batch for one in self.spans if not one.source.is_archive])

    @property
    def label(self) -> str:
        """What the span was compared with: "rest" when any part came from REST, else "archive"."""
        return "archive" if all(one.source.is_archive for one in self.spans) else "rest"


@dataclass(frozen=True, slots=True)
class ExchangeReference:
    """Fetches the reference of committed spans of one series. Raises SeriesError and ExchangeUnavailable."""

    exchange: ExchangeSource
    series: Series
    allowed: AllowedSources

    @property
    def _options(self) -> FetchOptions:
        return FetchOptions(self.series, self.exchange.rules(self.series), self.allowed, chunk_days=1)

    def fetch(self, span: Span, source: Source) -> Reference | None:
        """Return the reference of a span that was fetched from `source`; None when no allowed source has all of it."""
        options = self._options
        published = NO_ARCHIVES
        if self.allowed.archives:
            guess = guess_index(options.rules, span, self.exchange.now_ms(self.series.market))
            # Without daily files and without REST, monthly files are the only source.
            only_months = not self.allowed.rest and not options.rules.has_daily_archives
            by_month = source is Source.ARCHIVE_MONTHLY or only_months
            published = ArchiveIndex(guess.months if by_month else frozenset[int](), guess.days)
        plan = make_plan(options, [span], published)
        parts = [fetch_chunk(options, chunk, published, self.exchange) for chunk in plan.chunks]
        found = Reference.of(
            (span for part in parts for span in part.spans), (hole for part in parts for hole in part.holes)
        )
        return None if subtract([span], [one.span for one in found.spans]) else found

    def confirmed_by_rest(self, span: Span, reference: Reference, differences: Sequence[Difference]) -> Reference:
        """Return `reference` with REST's candles in the slots where an archive differs from the table.

        A candle that an archive has and REST lacks stays. Without REST (`--against archive`, an unlisted
        symbol) `reference` is returned unchanged.
        """
        if not self.allowed.rest:
            return reference
        interval = self.series.interval
        stretches = self._stretches(reference, differences, of_archives=True)
        spans = [one.within(part) for one in reference.spans for part in subtract([one.span], stretches)]
        holes = list(reference.holes)
        for stretch in stretches:
            by_rest = fetch_by_rest(self.series, stretch, self.exchange)
            merged = merge_batches(by_rest.spans[0].batch, reference.batch.within(stretch), interval)
            spans.append(FetchedSpan(stretch, merged, Source.REST))
            holes += by_rest.holes
        final = Reference.of(spans, holes)
        lacking = final.batch.missing(interval, span)
        still = [hole for hole in holes if any(hole.span.intersect(one) == hole.span for one in lacking)]
        return Reference(final.spans, tuple(still), final.batch)

    def are_confirmed(self, reference: Reference, differences: Sequence[Difference]) -> bool:
        """Whether REST returns the same candles again: a wrong answer must not be taken for a wrong table."""
        slots = merge(self.series.interval.slot_of(difference.time_ms) for difference in differences)
        for stretch in self._stretches(reference, differences, of_archives=False):
            again = fetch_by_rest(self.series, stretch, self.exchange).spans[0].batch
            for slot in slots:
                second = again.within(slot)
                # Where REST has no candle, the reference may hold that of an archive.
                if second.rows and compare(second, reference.batch.within(slot)):
                    return False
        return True

    def _stretches(self, reference: Reference, differences: Sequence[Difference], of_archives: bool) -> list[Span]:
        """Return the differing slots that came from archives (or not); those that fit into one page are joined."""
        given = [one.span for one in reference.spans if one.source.is_archive is of_archives]
        slots = merge(self.series.interval.slot_of(difference.time_ms) for difference in differences)
        inside = merge(part for slot in slots for span in given if (part := slot.intersect(span)) is not None)
        return coalesce(inside, self.series.interval, self._options.rules.page_rows)
