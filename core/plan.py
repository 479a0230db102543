"""Turns the ranges to fetch into ordered, disjoint chunks, each with its cheapest source.

Pure arithmetic. The unit of cost is one request, about a tenth of a second. Request weight is converted by the budget
per minute, bytes by the speed of an ordinary line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.archives import NO_ARCHIVES, ArchiveIndex, Cadence, Period, day_of, days_in, month_of
from core.exchange_rules import SeriesRules
from core.ranges import Span, merge, subtract
from core.series import Series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span that is fetched from one source and committed in one transaction."""

    span: Span
    source: Source
    period: Period | None = None  # the archive file, for the archive sources

    def __str__(self) -> str:
        return f"{self.span} from {self.source}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The chunks of one series in order, and the spans that no allowed source has."""

    chunks: tuple[Chunk, ...]
    unserved: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How one series may be fetched: the rules of its exchange and the operator's settings."""

    series: Series
    rules: SeriesRules
    allowed: AllowedSources
    chunk_days: int  # length of a REST chunk, rounded up to whole pages


_ARCHIVE_REQUESTS = 2  # the zip and its CHECKSUM
_ARCHIVE_BYTES_PER_ROW = 50  # measured: BTCUSDT 1m months of 2025 are 2.2 MB for 44,640 rows
_BYTES_PER_REQUEST_TIME = 500_000  # 5 MB/s for a tenth of a second
_REQUESTS_PER_MINUTE = 2_400  # four in parallel, a tenth of a second each; half of the default workers, to be cautious
_REST_BYTES_PER_ROW = 160


def make_plan(options: FetchOptions, uncovered: Iterable[Span], published: ArchiveIndex) -> Plan:
    """Return the chunks that fetch `uncovered`, in order.

    `published` are the archive files that exist. Where REST is not allowed, what no file holds is returned as
    `unserved`.
    """
    chunks: list[Chunk] = []
    by_rest: list[Span] = []
    for piece in _cut(merge(uncovered), lambda ms: month_of(ms).span.end_ms):
        archived = _archive_chunks(options, piece, published) if options.allowed.archives else []
        chunks += archived
        by_rest += subtract([piece], [chunk.span for chunk in archived])
    by_rest = merge(by_rest)
    if not options.allowed.rest:
        return Plan(tuple(sorted(chunks, key=_start)), tuple(by_rest))
    interval, rows = options.series.interval, rest_chunk_rows(options)
    for span in _cut(by_rest, lambda ms: interval.add(interval.floor(ms), rows)):
        chunks.append(Chunk(span, Source.REST))
    return Plan(tuple(sorted(chunks, key=_start)))


def uses_archives(options: FetchOptions, uncovered: Iterable[Span], published: ArchiveIndex) -> bool:
    """Whether a plan for `uncovered` would use any of the `published` files; checked month by month."""
    return any(
        _archive_chunks(options, piece, published)
        for piece in _cut(merge(uncovered), lambda ms: month_of(ms).span.end_ms)
    )


def rest_chunk_rows(options: FetchOptions) -> int:
    """Return how many candles a REST chunk holds: `chunk_days`, rounded up to whole pages.

    A page that is cut at the end of a day would cost the weight of a full one.
    """
    rows, page_rows = options.chunk_days * MS_PER_DAY / options.series.interval.typical_ms, options.rules.page_rows
    return math.ceil(rows / page_rows) * page_rows


def finer_chunks(options: FetchOptions, chunk: Chunk, published: ArchiveIndex) -> Plan:
    """Return the plan that replaces an archive chunk whose file cannot be used: daily files, then REST.

    A published month has daily files too. They may not be listed, so they are assumed to exist.
    """
    file = chunk.period
    if file is not None and file.cadence is Cadence.MONTHLY and options.rules.has_daily_archives:
        days = published.days | days_in(file)
        return make_plan(options, [chunk.span], ArchiveIndex(frozenset(), days))
    return make_plan(options, [chunk.span], NO_ARCHIVES)


def _start(chunk: Chunk) -> int:
    return chunk.span.start_ms


def _cut(spans: Iterable[Span], next_boundary: Callable[[int], int]) -> Iterator[Span]:
    for span in spans:
        cursor = span.start_ms
        while cursor < span.end_ms:
            end_ms = min(next_boundary(cursor), span.end_ms)
            yield Span(cursor, end_ms)
            cursor = end_ms


def _archive_chunks(options: FetchOptions, piece: Span, published: ArchiveIndex) -> list[Chunk]:
    """Return the archive chunks that are cheaper than REST inside `piece`, which lies in one month."""
    only_archives = not options.allowed.rest
    daily: list[Chunk] = []
    daily_cost = 0.0
    for span in _cut([piece], lambda ms: day_of(ms).span.end_ms):
        day = day_of(span.start_ms)
        rest_cost = _rest_cost(options, span)
        file_cost = _archive_cost(options.series, day)
        if published.has(day) and (only_archives or file_cost < rest_cost):
            daily.append(Chunk(span, day.source, day))
            daily_cost += file_cost
        else:
            daily_cost += math.inf if only_archives else rest_cost
    month = month_of(piece.start_ms)
    usable = published.has(month) and options.rules.has_monthly_archives
    if usable and _archive_cost(options.series, month) < daily_cost:
        return [Chunk(piece, month.source, month)]
    return daily


def _archive_cost(series: Series, period: Period) -> float:
    return _ARCHIVE_REQUESTS + _archive_bytes(series, period) / _BYTES_PER_REQUEST_TIME


def _archive_bytes(series: Series, period: Period) -> int:
    return series.interval.count(period.span.start_ms, period.span.end_ms) * _ARCHIVE_BYTES_PER_ROW


def _rest_cost(options: FetchOptions, span: Span) -> float:
    """Return the cost of the span as a share of full pages: adjacent spans are fetched together."""
    rules = options.rules
    page = 1 + rules.page_weight(rules.page_rows) * _REQUESTS_PER_MINUTE / rules.weight_per_minute
    return options.series.interval.count(span.start_ms, span.end_ms) / rules.page_rows * page


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected cost of a plan."""

    chunks: dict[str, int]  # by source
    rows: int  # upper bound: what is not at the exchange is not known yet
    requests: int
    weight: int
    bytes: int

    def __add__(self, other: Estimate) -> Estimate:
        sources = {*self.chunks, *other.chunks}
        return Estimate(
            {source: self.chunks.get(source, 0) + other.chunks.get(source, 0) for source in sorted(sources)},
            self.rows + other.rows,
            self.requests + other.requests,
            self.weight + other.weight,
            self.bytes + other.bytes,
        )

    def seconds(self, weight_per_minute: float, workers: int, rows_per_second: int = 20_000) -> float:
        """Return a rough duration: that of the slowest of weight budget, requests and database."""
        return max(
            self.weight / weight_per_minute * 60 if self.weight > weight_per_minute else 0.0,
            self.requests * 0.15 / workers,
            self.rows / rows_per_second,
        )


NOTHING = Estimate({}, 0, 0, 0, 0)


def estimate(options: FetchOptions, chunks: Iterable[Chunk]) -> Estimate:
    """Return the expected cost of fetching `chunks`."""
    series, rules = options.series, options.rules
    total = NOTHING
    for chunk in chunks:
        rows = series.interval.count(chunk.span.start_ms, chunk.span.end_ms)
        if chunk.period is not None:
            one = Estimate({chunk.source: 1}, rows, _ARCHIVE_REQUESTS, 0, _archive_bytes(series, chunk.period))
        else:
            limits = [
                min(rules.page_rows, max(1, series.interval.count(page.start_ms, page.end_ms)))
                for page in rules.pages(chunk.span)
            ]
            weight = sum(map(rules.page_weight, limits))
            one = Estimate({chunk.source: 1}, rows, len(limits), weight, rows * _REST_BYTES_PER_ROW)
        total = total + one
    return total
