"""Plans one series: the wanted range inside its listing period, and the chunks to fetch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.archives import NO_ARCHIVES, ArchiveIndex
from core.closing import closed_end
from core.errors import ArchiveUnavailable, SeriesError
from core.exchange_rules import guess_index
from core.listing import ListingPeriod
from core.plan import Chunk, FetchOptions, make_plan, uses_archives
from core.ranges import Span, span_or_none, subtract
from core.sources import AllowedSources
from core.symbol_info import SymbolInfo
from core.wanted import WantedSeries
from fetcher.source import ExchangeSource
from logic.fetching.edges import WantedEdges
from logic.planning.absent_files import absent_spans
from logic.planning.archived_listing import BEFORE_ALL_MS
from logic.planning.listing import StoredCoverage, resolve_listing, wanted_span

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """The operator's options for fetching."""

    allowed: AllowedSources
    chunk_days: int  # length of a REST chunk, rounded up to whole pages


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """The plan of one series."""

    wanted: WantedSeries
    listing: ListingPeriod
    span: Span | None  # the whole wanted range; None when it holds no closed candle yet
    chunks: tuple[Chunk, ...]
    unserved: tuple[Span, ...]  # spans that no allowed source has
    published: ArchiveIndex
    options: FetchOptions
    absent: tuple[Span, ...] = ()  # of `unserved`, those that the archives' listing shows to be in no file

    @property
    def edges(self) -> WantedEdges | None:
        """The edges of the wanted range; None without a range."""
        if self.span is None:
            return None
        return WantedEdges(
            self.options.series.interval,
            self.span,
            only_archives=not self.options.allowed.rest and self.listing.end_ms is None,
            begins_unknown=self.listing.first_ms is None and self.wanted.start_ms is None,
        )


def plan_series(
    wanted: WantedSeries,
    symbols: Mapping[str, SymbolInfo] | None,
    stored: StoredCoverage,
    exchange: ExchangeSource,
    policy: FetchPolicy,
) -> SeriesPlan:
    """Return the plan of one series; requests from the exchange only what is not known yet.

    `symbols` is the market's list, None when only archives are to be used. Raises SeriesError for an unknown symbol,
    ExchangeUnavailable when the market cannot be used.
    """
    series = wanted.series
    rules = exchange.rules(series)
    if symbols is None:
        return _plan_from_archives(
            wanted, stored.covered, exchange, FetchOptions(series, rules, policy.allowed, policy.chunk_days)
        )
    period = resolve_listing(wanted, symbols, stored, exchange, policy.allowed)
    allowed = AllowedSources.ARCHIVE if period.is_unlisted else policy.allowed
    options = FetchOptions(series, rules, allowed, policy.chunk_days)
    span = wanted_span(wanted, period, exchange.now_ms(series.market))
    uncovered = subtract([span], stored.covered) if span is not None else []
    published, is_read = _published(options, uncovered, exchange)
    plan = make_plan(options, uncovered, published)
    absent = tuple(absent_spans(rules, plan.unserved, published)) if is_read else ()
    return SeriesPlan(wanted, period, span, plan.chunks, plan.unserved, published, options, absent)


def _published(options: FetchOptions, uncovered: Sequence[Span], exchange: ExchangeSource) -> tuple[ArchiveIndex, bool]:
    """Return the archive files that exist, and whether their listing was read: only when the plan could use a file."""
    if not options.allowed.archives or not uncovered:
        return NO_ARCHIVES, False
    now_ms = exchange.now_ms(options.series.market)
    reach = Span(uncovered[0].start_ms, uncovered[-1].end_ms)
    guess = guess_index(options.rules, reach, now_ms)
    if options.allowed.rest and not uses_archives(options, uncovered, guess):
        return NO_ARCHIVES, False
    if not options.allowed.rest:  # only files that come later show that one is left out
        reach = Span(reach.start_ms, max(reach.end_ms, now_ms))
    try:
        return exchange.archives.list_published(options.series, reach, guess), True
    except ArchiveUnavailable as error:
        _log.warning("%s: the archive listing cannot be read, file names are guessed: %s", options.series, error)
        return guess, False


def _plan_from_archives(
    wanted: WantedSeries, covered: Sequence[Span], exchange: ExchangeSource, options: FetchOptions
) -> SeriesPlan:
    """Plan from the first archive file to the last, without REST, which is not available everywhere."""
    series = wanted.series
    now_ms = exchange.now_ms(series.market)
    everything = Span(wanted.start_ms or BEFORE_ALL_MS, wanted.end_ms or now_ms)
    try:
        published = exchange.archives.list_published(series, everything)
    except ArchiveUnavailable as error:
        raise SeriesError(f"{series}: {error}") from error
    files = published.months | published.days
    if not files:
        raise SeriesError(f"{series}: the archives hold no file of it in {everything}")
    interval = series.interval
    start_ms, end_ms = interval.ceil(max(everything.start_ms, min(files))), interval.ceil(everything.end_ms)
    span = span_or_none(start_ms, min(end_ms, closed_end(interval, now_ms)))
    plan = make_plan(options, subtract([span], covered) if span else [], published)
    absent = tuple(absent_spans(options.rules, plan.unserved, published))
    return SeriesPlan(wanted, ListingPeriod(), span, plan.chunks, plan.unserved, published, options, absent)
