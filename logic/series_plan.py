"""What one series needs in this run: its life at the exchange, the range wanted, the chunks that fetch it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.archive_names import NO_ARCHIVES, ArchiveIndex, guess_index
from core.errors import ArchiveUnavailable, SeriesError
from core.intervals import closed_end
from core.plan import Chunk, PlanRules, Source, SourceChoice, make_plan
from core.ranges import Span, span_or_none, subtract
from core.series import Market, suggest
from core.symbol_facts import SymbolFacts
from core.wanted import WantedSeries
from logic.exchange import Exchange

_log = logging.getLogger(__name__)

# Before the exchange existed: where a search for the first archive begins.
_BEFORE_ALL_MS = 1_483_228_800_000  # 2017-01-01


@dataclass(frozen=True, slots=True)
class SeriesLife:
    """The series at the exchange. Times are epoch ms; `delisting_ms` is the exclusive end of its last candle."""

    listing_ms: int | None
    delisting_ms: int | None
    status: str | None


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
    facts: Mapping[str, SymbolFacts] | None,
    known_listing_ms: int | None,
    covered: Sequence[Span],
    exchange: Exchange,
    choice: SourceChoice,
    chunk_days: int,
) -> SeriesPlan:
    """Return the plan of one series; asks the exchange only for what is not known yet.

    `facts` is the market's symbol list, None when only archives are to be used. Raises SeriesError
    for an unknown symbol, ExchangeUnavailable when the market cannot be asked.
    """
    rules = PlanRules(choice, exchange.page_rows(wanted.series.market), chunk_days)
    if facts is None:
        return _plan_from_archives(wanted, covered, exchange, rules)
    life = _learn_life(wanted, facts, known_listing_ms, exchange)
    span = _wanted_span(wanted, life, exchange.now_ms(wanted.series.market))
    uncovered = subtract([span], covered) if span is not None else []
    published = _published(wanted, uncovered, exchange, rules)
    plan = make_plan(wanted.series, uncovered, published, rules)
    return SeriesPlan(wanted, life, span, plan.chunks, plan.unserved, published, rules)


def _learn_life(
    wanted: WantedSeries, facts: Mapping[str, SymbolFacts], known_listing_ms: int | None, exchange: Exchange
) -> SeriesLife:
    series = wanted.series
    symbol = facts.get(series.symbol)
    if symbol is None:
        raise SeriesError(
            f"market {series.market} has no symbol {series.symbol}{suggest(series.symbol, list(facts))}; "
            "correct symbols.yml or --symbols"
        )
    if symbol.is_pending:
        return SeriesLife(None, None, symbol.status)
    rest = exchange.rest(series.market)
    listing_ms = known_listing_ms if known_listing_ms is not None else rest.find_listing(series)
    if listing_ms is None:
        raise SeriesError(
            f"{series}: the exchange lists the symbol ({symbol.status}) but has no candle of it by REST; "
            "try again later, or --source archive"
        )
    delisting_ms: int | None = None
    if not symbol.is_trading:
        if series.market is Market.CM:
            # Its newest candle cannot be asked for without knowing when it was (200 days at most).
            delisting_ms = symbol.delivery_ms
        else:
            last_ms = rest.find_last_candle(series)
            delisting_ms = None if last_ms is None else series.interval.add(series.interval.floor(last_ms), 1)
    return SeriesLife(listing_ms, delisting_ms, symbol.status)


def _wanted_span(wanted: WantedSeries, life: SeriesLife, now_ms: int) -> Span | None:
    """Return the grid range wanted, inside the symbol's life and the closed candles."""
    if life.listing_ms is None:
        return None
    interval = wanted.series.interval
    start_ms = interval.floor(life.listing_ms)
    if wanted.start_ms is not None:
        start_ms = max(start_ms, interval.ceil(wanted.start_ms))
    end_ms = closed_end(interval, now_ms)
    if life.delisting_ms is not None:
        end_ms = min(end_ms, interval.ceil(life.delisting_ms))
    if wanted.end_ms is not None:
        # An end inside a candle leaves that candle's open time inside the range.
        end_ms = min(end_ms, interval.ceil(wanted.end_ms))
    return span_or_none(start_ms, end_ms)


def _published(wanted: WantedSeries, uncovered: Sequence[Span], exchange: Exchange, rules: PlanRules) -> ArchiveIndex:
    """Return which archive files exist; the listing is read only when a file could be worth using."""
    if rules.choice is SourceChoice.REST or not uncovered:
        return NO_ARCHIVES
    series = wanted.series
    reach = Span(uncovered[0].start_ms, uncovered[-1].end_ms)
    guess = guess_index(series, reach, exchange.now_ms(series.market))
    if all(chunk.source is Source.REST for chunk in make_plan(series, uncovered, guess, rules).chunks):
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
    everything = Span(wanted.start_ms or _BEFORE_ALL_MS, wanted.end_ms or exchange.now_ms(series.market))
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
