"""When streamed candles should have been audited."""

from __future__ import annotations

from core.intervals import INTERVALS
from core.provisional import OVERDUE_MS, ProvisionalCandles
from core.ranges import Span
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time

START_MS = parse_time("2024-03-01")


def test_without_provisional_rows_nothing_is_overdue() -> None:
    none = ProvisionalCandles.of(INTERVALS["1m"], [])
    assert none == ProvisionalCandles(0, None)
    assert not none.is_overdue(START_MS)


def test_the_oldest_candle_counts_from_its_end() -> None:
    rows = [
        (Span(START_MS + MS_PER_HOUR, START_MS + 2 * MS_PER_HOUR), 60),
        (Span(START_MS, START_MS + MS_PER_HOUR), 60),
    ]
    provisional = ProvisionalCandles.of(INTERVALS["1m"], rows)
    assert provisional == ProvisionalCandles(120, START_MS + MS_PER_MINUTE)
    assert not provisional.is_overdue(START_MS + MS_PER_MINUTE + OVERDUE_MS)
    assert provisional.is_overdue(START_MS + MS_PER_MINUTE + OVERDUE_MS + 1)


def test_a_day_is_not_overdue_on_the_day_that_it_holds() -> None:
    provisional = ProvisionalCandles.of(INTERVALS["1d"], [(Span(START_MS, START_MS + MS_PER_DAY), 1)])
    assert provisional.since_ms == START_MS + MS_PER_DAY
    assert not provisional.is_overdue(START_MS + MS_PER_DAY + MS_PER_HOUR)
