"""What one series needs in this run: the range wanted inside its life, and the chunks that fetch it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.binance.archives import NO_ARCHIVES, ArchiveIndex, guess_index
from core.errors import ArchiveUnavailable, SeriesError
from core.intervals import closed_end
from core.plan import Chunk, PlanRules, Source, SourceChoice, make_plan
from core.ranges import Span, span_or_none, subtract
from core.symbol_info import SymbolInfo
from core.wanted import WantedSeries
from fetcher.binance.exchange import Exchange
from logic.planning.archived_listing import BEFORE_ALL_MS
from logic.planning.listing import UNLISTED, KnownLife, SeriesLife, learn_life, wanted_span

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """One series' part of the run."""

    wanted: WantedSeries
    life: SeriesLife
    span: Span | None  # the whole range wanted; None when there is nothing yet
    chunks: tuple[Chunk, ...]
    unserved: tuple[Span, ...]  # what the allowed sources cannot give
    published: ArchiveIndex
    rules: PlanRules


def plan_series(
    wanted: WantedSeries,
    facts: Mapping[str, SymbolInfo] | None,
    known: KnownLife,
    covered: Sequence[Span],
    exchange: Exchange,
    choice: SourceChoice,
    chunk_days: int,
) -> SeriesPlan:
    """Return the plan of one series; asks the exchange only for what is not known yet.

    `facts` is the market's symbol list, None when only archives are to be used; `known` is what the
    catalog says of the symbol's life. Raises SeriesError for an unknown symbol, ExchangeUnavailable
    when the market cannot be asked.
    """
    rules = PlanRules(choice, exchange.page_rows(wanted.series.market), chunk_days)
    if facts is None:
        return _plan_from_archives(wanted, covered, exchange, rules)
    life = learn_life(wanted, facts, known, covered, exchange, choice)
    if life.status == UNLISTED:
        rules = replace(rules, choice=SourceChoice.ARCHIVE)
    span = wanted_span(wanted, life, exchange.now_ms(wanted.series.market))
    uncovered = subtract([span], covered) if span is not None else []
    published = _published(wanted, uncovered, exchange, rules)
    plan = make_plan(wanted.series, uncovered, published, rules)
    return SeriesPlan(wanted, life, span, plan.chunks, plan.unserved, published, rules)


def _published(wanted: WantedSeries, uncovered: Sequence[Span], exchange: Exchange, rules: PlanRules) -> ArchiveIndex:
    """Return which archive files exist; the listing is read only when a file could be worth using."""
    if rules.choice is SourceChoice.REST or not uncovered:
        return NO_ARCHIVES
    series = wanted.series
    reach = Span(uncovered[0].start_ms, uncovered[-1].end_ms)
    guess = guess_index(series, reach, exchange.now_ms(series.market))
    by_rest = rules.choice is not SourceChoice.ARCHIVE
    if by_rest and all(chunk.source is Source.REST for chunk in make_plan(series, uncovered, guess, rules).chunks):
        return NO_ARCHIVES
    try:
        return exchange.archives.list_published(series, reach)
    except ArchiveUnavailable as error:
        _log.warning("%s: the archive listing cannot be read, file names are guessed: %s", series, error)
        return guess


def _plan_from_archives(
    wanted: WantedSeries, covered: Sequence[Span], exchange: Exchange, rules: PlanRules
) -> SeriesPlan:
    """Plan without REST: from the first archive file to the last. For places that REST does not serve."""
    series = wanted.series
    everything = Span(wanted.start_ms or BEFORE_ALL_MS, wanted.end_ms or exchange.now_ms(series.market))
    try:
        published = exchange.archives.list_published(series, everything)
    except ArchiveUnavailable as error:
        raise SeriesError(f"{series}: {error}") from error
    files = published.months | published.days
    life = SeriesLife(None, None, None)
    if not files:
        raise SeriesError(f"{series}: the archives hold no file of it in {everything}")
    interval = series.interval
    start_ms, end_ms = interval.ceil(max(everything.start_ms, min(files))), interval.ceil(everything.end_ms)
    span = span_or_none(start_ms, min(end_ms, closed_end(interval, exchange.now_ms(series.market))))
    plan = make_plan(series, subtract([span], covered) if span else [], published, rules)
    return SeriesPlan(wanted, life, span, plan.chunks, plan.unserved, published, rules)
