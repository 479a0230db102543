"""What the exchange has now in a committed span, by the cheapest source that stands high enough.

REST and daily files stand above monthly ones (contract section 4, "Defects"): what came from them is not
held against a month's file, and where an archive differs from the table REST has the last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.binance.archives import NO_ARCHIVES, ArchiveIndex, guess_index, has_daily_files
from core.candles import CandleBatch, coalesce, merge_batches
from core.compare import Difference, compare
from core.fetched import FetchedSpan
from core.gaps import Hole
from core.plan import PlanRules, Source, SourceChoice, make_plan
from core.ranges import Span, merge, subtract
from core.series import Series
from core.wanted import WantedSeries
from db.catalog import CatalogRow
from db.ledger import LedgerEntry
from fetcher.binance.exchange import Exchange
from logic.fetching.chunk_fetch import fetch_by_rest, fetch_chunk
from logic.planning.listing import SeriesLife
from logic.planning.series_plan import SeriesPlan


@dataclass(frozen=True, slots=True)
class Reference:
    """All candles that the exchange has in a span, as pieces by source, and the slots that it lacks."""

    spans: tuple[FetchedSpan, ...]
    holes: tuple[Hole, ...]
    batch: CandleBatch  # of all pieces

    @classmethod
    def of(cls, spans: Iterable[FetchedSpan], holes: Iterable[Hole]) -> Reference:
        """Return the pieces in order, with their candles as one batch."""
        ordered = tuple(sorted(spans, key=lambda one: one.span))
        return cls(ordered, tuple(holes), CandleBatch.concat([one.batch for one in ordered]))

    @property
    def label(self) -> str:
        """What the span was held against: rest where any of it came from there, else archive."""
        return "rest" if any(one.source is Source.REST for one in self.spans) else "archive"


@dataclass(frozen=True, slots=True)
class ExchangeCandles:
    """Asks the exchange about committed spans of one series. Raises SeriesError and ExchangeUnavailable."""

    exchange: Exchange
    row: CatalogRow
    choice: SourceChoice

    @property
    def _series(self) -> Series:
        return self.row.series

    @property
    def _page_rows(self) -> int:
        return self.exchange.page_rows(self.row.series.market)

    def fetch(self, entry: LedgerEntry) -> Reference | None:
        """Return what the exchange has in the entry's span; None when the allowed sources do not hold all of it."""
        series, row = self._series, self.row
        rules = PlanRules(self.choice, self._page_rows, chunk_days=1)
        published = NO_ARCHIVES
        if self.choice is not SourceChoice.REST:
            guess = guess_index(series, entry.span, self.exchange.now_ms(series.market))
            by_month = entry.source is Source.ARCHIVE_MONTHLY
            if self.choice is SourceChoice.ARCHIVE and not has_daily_files(series):
                by_month = True  # there is nothing else
            published = ArchiveIndex(guess.months if by_month else frozenset[int](), guess.days)
        plan = make_plan(series, [entry.span], published, rules)
        life = SeriesLife(row.listing_ms, row.delisting_ms, row.status)
        context = SeriesPlan(WantedSeries(series), life, None, plan.chunks, plan.unserved, published, rules)
        parts = [fetch_chunk(context, chunk, self.exchange) for chunk in plan.chunks]
        right = Reference.of(
            (span for part in parts for span in part.spans), (hole for part in parts for hole in part.holes)
        )
        return None if subtract([entry.span], [one.span for one in right.spans]) else right

    def with_word_of_rest(self, span: Span, right: Reference, differences: Sequence[Difference]) -> Reference:
        """Return `right` with what REST says where an archive in it differs from the table.

        A candle that an archive has and REST lacks stays. Without REST (`--against archive`, a vanished
        symbol) `right` comes back as it is.
        """
        if self.choice is not SourceChoice.AUTO:
            return right
        interval = self._series.interval
        stretches = self._stretches(right, differences, [Source.ARCHIVE_MONTHLY, Source.ARCHIVE_DAILY])
        spans = [one.within(part) for one in right.spans for part in subtract([one.span], stretches)]
        holes = list(right.holes)
        for stretch in stretches:
            by_rest = fetch_by_rest(self._series, stretch, self.exchange)
            merged = merge_batches(by_rest.spans[0].batch, right.batch.within(stretch), interval)
            spans.append(FetchedSpan(stretch, merged, Source.REST))
            holes += by_rest.holes
        final = Reference.of(spans, holes)
        lacking = final.batch.missing(interval, span)
        still = [hole for hole in holes if any(hole.span.intersect(one) == hole.span for one in lacking)]
        return Reference(final.spans, tuple(still), final.batch)

    def are_confirmed(self, right: Reference, differences: Sequence[Difference]) -> bool:
        """Whether REST, asked again, gives the same candles: a wrong answer must not pass for a wrong table."""
        slots = merge(slot_of(difference.time_ms, self._series) for difference in differences)
        for stretch in self._stretches(right, differences, [Source.REST]):
            again = fetch_by_rest(self._series, stretch, self.exchange).spans[0].batch
            for slot in slots:
                second = again.within(slot)
                # Where REST has nothing, a candle that an archive has was kept.
                if second.rows and compare(second, right.batch.within(slot)):
                    return False
        return True

    def _stretches(self, right: Reference, differences: Sequence[Difference], sources: Sequence[Source]) -> list[Span]:
        """Return the differing slots that came from `sources`, those that fit into one page together."""
        given = [one.span for one in right.spans if one.source in sources]
        slots = merge(slot_of(difference.time_ms, self._series) for difference in differences)
        inside = merge(part for slot in slots for span in given if (part := slot.intersect(span)) is not None)
        return coalesce(inside, self._series.interval, self._page_rows)


def slot_of(time_ms: int, series: Series) -> Span:
    """Return the slot of the series' grid that `time_ms` falls in."""
    open_ms = series.interval.floor(time_ms)
    return Span(open_ms, series.interval.add(open_ms, 1))
