"""When a candle has closed. Every rule that keeps an unfinished candle out stands here, and nowhere else.

A candle is stored once and never overwritten, so one that is stored too early stays wrong. Four guards, each by itself:

1. `closed_end`: no plan reaches beyond the last candle that has closed by the exchange's clock.
2. `refuse_open`: an answer whose last candle ends after the answer's own Date is refused.
3. `closed_part_of_file`: of an archive, only candles that have closed within its day or month.
4. `unsettled_tail`: the newest candle before an unexplained hole at the end of the data waits for the next run.
"""

from __future__ import annotations

from core.candles import CandleBatch
from core.errors import UnusableAnswer
from core.intervals import Interval
from core.ranges import Span, span_or_none
from core.times import MS_PER_DAY, format_ms

CLOSE_SETTLE_MS = 3_000
"""How long after its end a candle counts as closed.

The last trades of a candle reach the exchange's kline service up to two seconds late (docs/binance.md, Closing of
candles). The margin costs three seconds and saves a frozen, unfinished row.
"""

UNSETTLED_MS = MS_PER_DAY
"""How old a hole at the end of the data has to be to count as a gap: the exchange lags after outages."""
ARCHIVES_UNSETTLED_MS = 14 * MS_PER_DAY
"""The same where archives alone are read; files eight days late were seen (docs/binance.md, Archives)."""


def closed_end(interval: Interval, now_ms: int) -> int:
    """Return the exclusive end of the closed candles at `now_ms`, which is the exchange's clock, epoch ms."""
    return interval.floor(now_ms - CLOSE_SETTLE_MS)


def refuse_open(batch: CandleBatch, interval: Interval, latest_ms: int) -> None:
    """Raise UnusableAnswer when the newest candle ends after `latest_ms`, the latest time of the answer (epoch ms).

    It is unfinished then: the exchange's clock was ahead when it was asked.
    """
    if not batch.rows:
        return
    last_ms = batch.newest_ms
    ends_ms = interval.add(interval.floor(last_ms), 1)
    if ends_ms > latest_ms:
        raise UnusableAnswer(
            f"the candle of {format_ms(last_ms)} ends at {format_ms(ends_ms)}, but the answer's own date is "
            f"{format_ms(latest_ms // 1000 * 1000)}: it is not finished, and the exchange's clock was ahead"
        )


def closed_part_of_file(interval: Interval, period: Span) -> Span | None:
    """Return the part of an archive's period whose candles have closed within it, or None.

    A file may be cut before its last candle has closed (a week that runs into the next month): such a
    candle could be unfinished, or not in it at all.
    """
    return span_or_none(period.start_ms, interval.floor(period.end_ms))


def is_unsettled(hole: Span, wanted: Span, now_ms: int, only_archives: bool) -> bool:
    """Whether a hole is the end of the data so far: it reaches the end of `wanted` and is young at `now_ms`.

    It is no gap yet: it is left uncovered, and the next run asks again.
    """
    return hole.end_ms == wanted.end_ms and hole.end_ms > now_ms - (
        ARCHIVES_UNSETTLED_MS if only_archives else UNSETTLED_MS
    )


def unsettled_tail(interval: Interval, hole: Span, wanted: Span) -> Span:
    """Return the unsettled hole with the candle before it, which may be open still.

    Behind that candle there is nothing although by the clock there should be: either the exchange lags, or the
    clock is ahead and the candle is unfinished.
    """
    if hole.start_ms <= wanted.start_ms:
        return hole
    return Span(interval.add(interval.floor(hole.start_ms), -1), hole.end_ms)
