"""Which range of a series is expected to be stored. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.intervals import Interval, closed_end
from core.ranges import Span, merge, span_or_none

_BEFORE_ALL_MS = -1
_END_OF_TIME_MS = 4_102_444_800_000  # 2100


@dataclass(frozen=True, slots=True)
class SeriesBounds:
    """What bounds a series, epoch ms, as far as it is known: its life and what the operator wants of it."""

    listing_ms: int | None  # open time of the exchange's first candle
    delisting_ms: int | None  # end of its last candle
    wanted_from_ms: int | None = None
    wanted_until_ms: int | None = None
    is_active: bool = True  # an unattended run takes it: all of its wanted range is expected


def expected_spans(
    interval: Interval,
    bounds: SeriesBounds,
    covered: Sequence[Span],
    start_ms: int | None,
    end_ms: int | None,
    now_ms: int,
) -> list[Span]:
    """Return the grid ranges whose candles should be there, half-open, ascending and disjoint.

    What was fetched, and for an active series all of its wanted range: from the listing (or what is
    wanted later than that) to the end of what was fetched, which the last run took to the last closed
    candle, or to the delisting. Of a series fetched ad hoc (not active), from the first to the last
    candle fetched. With `start_ms` or `end_ms` (epoch ms) exactly that range, inside the series' life
    and the closed candles.
    """
    first_ms = None if bounds.listing_ms is None else interval.floor(bounds.listing_ms)
    after_ms = None if bounds.delisting_ms is None else interval.ceil(bounds.delisting_ms)
    begin_ms = covered[0].start_ms if covered else None
    stop_ms = covered[-1].end_ms if covered else None
    spans = list(covered)
    if bounds.is_active:
        begin_ms = _latest(first_ms, _ceil(interval, bounds.wanted_from_ms)) if first_ms is not None else begin_ms
        if after_ms is not None:
            stop_ms = _earliest(after_ms, _ceil(interval, bounds.wanted_until_ms), closed_end(interval, now_ms))
    if start_ms is not None:
        begin_ms = _latest(interval.ceil(start_ms), first_ms)
    if end_ms is not None:
        stop_ms = _earliest(interval.ceil(end_ms), closed_end(interval, now_ms), after_ms)
    if start_ms is not None or end_ms is not None:
        spans = []
    whole = None if begin_ms is None or stop_ms is None else span_or_none(begin_ms, stop_ms)
    # A silent symbol is asked for some days after its last candle, before it counts as delisted.
    life = span_or_none(
        _BEFORE_ALL_MS if first_ms is None else first_ms, _END_OF_TIME_MS if after_ms is None else after_ms
    )
    if life is None:
        return []
    expected = merge([*spans, *([whole] if whole is not None else [])])
    return [part for span in expected if (part := span.intersect(life)) is not None]


def _ceil(interval: Interval, ms: int | None) -> int | None:
    return None if ms is None else interval.ceil(ms)


def _latest(*times: int | None) -> int:
    return max(ms for ms in times if ms is not None)


def _earliest(*times: int | None) -> int:
    return min(ms for ms in times if ms is not None)
