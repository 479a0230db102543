"""Which ranges of a series the table should hold. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from core.closing import closed_end
from core.intervals import Interval
from core.listing import ListingPeriod
from core.ranges import Span, TimeRange, inside, merge, span_or_none, subtract
from core.times import END_OF_TIME_MS

_BEFORE_ALL_MS = -1


def expected_spans(
    interval: Interval,
    listing: ListingPeriod,
    wanted: TimeRange | None,
    covered: Sequence[Span],
    asked: TimeRange,
    now_ms: int,
) -> list[Span]:
    """Return the grid ranges whose candles should be stored: half-open, ascending and disjoint.

    - With a range in `asked`: exactly that range, limited to the listing period and to closed candles.
    - With `wanted` (an unattended run fetches the series): all that was fetched (`covered`), and the wanted range from
      its start or the listing, whichever is later, to the end of what was fetched or to the delisting.
    - Without `wanted` (the series was fetched ad hoc): from the first to the last candle fetched.

    What was fetched before the listing (`earlier_listing`) stays expected: it is another asset's under the same ticker.
    `now_ms` is the exchange's clock, epoch ms.
    """
    first_ms = None if listing.first_ms is None else interval.floor(listing.first_ms)
    after_ms = None if listing.end_ms is None else interval.ceil(listing.end_ms)
    begin_ms = covered[0].start_ms if covered else None
    stop_ms = covered[-1].end_ms if covered else None
    spans = list(covered)
    if wanted is not None:
        begin_ms = _latest(first_ms, _ceil(interval, wanted.start_ms)) if first_ms is not None else begin_ms
        if after_ms is not None:
            stop_ms = _earliest(after_ms, _ceil(interval, wanted.end_ms), closed_end(interval, now_ms))
    if asked.start_ms is not None:
        begin_ms = _latest(interval.ceil(asked.start_ms), first_ms)
    if asked.end_ms is not None:
        stop_ms = _earliest(interval.ceil(asked.end_ms), closed_end(interval, now_ms), after_ms)
    if not asked.is_unbounded:
        spans = []
    whole = None if begin_ms is None or stop_ms is None else span_or_none(begin_ms, stop_ms)
    # A dormant symbol was fetched for some days past its last candle before it counted as delisted.
    listed = span_or_none(
        _BEFORE_ALL_MS if first_ms is None else first_ms, END_OF_TIME_MS if after_ms is None else after_ms
    )
    expected = merge([*spans, *([whole] if whole is not None else [])])
    earlier = inside(earlier_listing(interval, listing, covered), _asked_spans(interval, asked, now_ms))
    return merge([*earlier, *(inside(expected, [listed]) if listed is not None else [])])


def earlier_listing(interval: Interval, listing: ListingPeriod, covered: Sequence[Span]) -> list[Span]:
    """Return what of `covered` lies before the listing: it was fetched when the ticker was another contract's.

    Only a relisting moves the listing to a later time (docs/binance.md, Listings and reused tickers).
    """
    if listing.first_ms is None:
        return []
    return subtract(covered, [Span(interval.floor(listing.first_ms), END_OF_TIME_MS)])


def _asked_spans(interval: Interval, asked: TimeRange, now_ms: int) -> list[Span]:
    """Return the asked range on the grid, without bounds all time; nothing for a reversed one."""
    start_ms = _BEFORE_ALL_MS if asked.start_ms is None else interval.ceil(asked.start_ms)
    end_ms = END_OF_TIME_MS
    if asked.end_ms is not None:
        end_ms = min(interval.ceil(asked.end_ms), closed_end(interval, now_ms))
    span = span_or_none(start_ms, end_ms)
    return [] if span is None else [span]


def _ceil(interval: Interval, ms: int | None) -> int | None:
    return None if ms is None else interval.ceil(ms)


def _latest(*times: int | None) -> int:
    return max(ms for ms in times if ms is not None)


def _earliest(*times: int | None) -> int:
    return min(ms for ms in times if ms is not None)
