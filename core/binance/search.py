"""Finds the first and the last candle of a series on each of Binance's markets (docs/binance.md, Ranges)."""

from __future__ import annotations

from core.asking import Asking, Bounds, Question
from core.binance.rules import COIN_M_MAX_SPAN_MS
from core.instrument import Market
from core.quorum import first_by_quorum, oldest_by_halving
from core.ranges import Span
from core.series import Series
from core.times import MS_PER_DAY

_COIN_M_BEGINS_MS = 1_577_836_800_000  # 2020-01-01; COIN-M futures opened in the summer of 2020


def any_candle_in(span: Span) -> Asking[int | None]:
    """Return the open time of a candle in `span` (COIN-M: the newest; at most 200 days), or None."""
    return first_by_quorum(Question(span, 1, may_be_open=True))


def first_candle(series: Series, from_ms: int, now_ms: int) -> Asking[int | None]:
    """Return the open time of the series' first candle from `from_ms` on, or None. Times are epoch ms."""
    if series.market is not Market.CM:
        # The window ends in the future: a first candle may open between request and answer.
        window = Span(from_ms, max(from_ms, now_ms) + MS_PER_DAY)
        return first_by_quorum(Question(window, 1, Bounds.START, may_be_open=True))
    return _first_by_stretches(series, from_ms, now_ms)


def _first_by_stretches(series: Series, from_ms: int, now_ms: int) -> Asking[int | None]:
    """Find the first stretch of 200 days that has a candle, then search it: COIN-M returns the newest rows of a range.

    The onboard date cannot be the start: the first 1M candle opens before it.
    """
    cursor = max(from_ms, series.interval.floor(_COIN_M_BEGINS_MS))
    while cursor < now_ms:
        stretch = Span(cursor, min(cursor + COIN_M_MAX_SPAN_MS, now_ms))
        newest_ms = yield from any_candle_in(stretch)
        if newest_ms is not None:
            return (yield from oldest_by_halving(series.interval, stretch.start_ms, newest_ms, any_candle_in))
        cursor = stretch.end_ms
    return None


def last_candle(series: Series, listing_ms: int | None, now_ms: int) -> Asking[int | None]:
    """Return the open time of the newest candle, closed or not, or None. Times are epoch ms.

    COIN-M is searched backwards from now, 200 days at a time, to `listing_ms` (None: to the start of the market),
    because there a request without bounds reaches back only 200 days.
    """
    if series.market is Market.CM:
        return _last_by_stretches(series, listing_ms, now_ms)
    return first_by_quorum(Question(Span(0, now_ms + MS_PER_DAY), 1, Bounds.NONE, may_be_open=True))


def _last_by_stretches(series: Series, listing_ms: int | None, now_ms: int) -> Asking[int | None]:
    begins_ms = series.interval.floor(_COIN_M_BEGINS_MS if listing_ms is None else listing_ms)
    end_ms = now_ms + 1  # exclusive: a candle may open at `now_ms`
    while end_ms > begins_ms:
        stretch = Span(max(begins_ms, end_ms - COIN_M_MAX_SPAN_MS), end_ms)
        newest_ms = yield from any_candle_in(stretch)
        if newest_ms is not None:
            return newest_ms
        end_ms = stretch.start_ms
    return None
