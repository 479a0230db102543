"""When a candle has closed. All rules that keep unfinished candles out of the database are in this file.

A candle is stored once and never overwritten, so one that is stored too early stays wrong. Four independent guards:

1. `closed_end`: a plan ends at the last candle that has closed by the exchange's clock.
2. `refuse_open`: an answer is refused when its last candle ends after the answer's own Date header.
3. `closed_part_of_file`: of an archive file, only candles that closed within its day or month are used.
4. `unsettled_tail`: where the end of the data is missing, the last candle before it is left to the next run too.
"""

from __future__ import annotations

from core.candles import CandleBatch
from core.errors import UnusableAnswer
from core.intervals import Interval
from core.ranges import Span, span_or_none
from core.times import MS_PER_DAY, format_ms

CLOSE_SETTLE_MS = 3_000
"""How long after its end a candle counts as closed.

The last trades of a candle reach the exchange's kline service up to two seconds late
(docs/binance.md, Closing of candles). Without this margin an unfinished candle could be stored for good.
"""

UNSETTLED_MS = MS_PER_DAY
"""A hole at the end of the data is a gap only when it is older than this: after outages the exchange lags."""
ARCHIVES_UNSETTLED_MS = 14 * MS_PER_DAY
"""The same when only archives are read; files eight days late were seen (docs/binance.md, Archives)."""


def closed_end(interval: Interval, now_ms: int) -> int:
    """Return the exclusive end of the closed candles, epoch ms; `now_ms` is the exchange's clock, epoch ms."""
    return interval.floor(now_ms - CLOSE_SETTLE_MS)


def refuse_open(batch: CandleBatch, interval: Interval, latest_ms: int) -> None:
    """Raise UnusableAnswer when the newest candle ends after `latest_ms`, the latest possible time of the answer.

    Such a candle is unfinished: the clock that the request was planned by was ahead. Times are epoch ms.
    """
    times = [batch.newest_ms] if batch.rows else []
    times += [one.open_ms for one in batch.unusable]
    if not times:
        return
    last_ms = max(times)
    ends_ms = interval.add(interval.floor(last_ms), 1)
    if ends_ms > latest_ms:
        raise UnusableAnswer(
            f"the candle of {format_ms(last_ms)} ends at {format_ms(ends_ms)}, but the answer's own date is "
            f"{format_ms(latest_ms // 1000 * 1000)}: it is not finished, and the exchange's clock was ahead"
        )


def closed_part_of_file(interval: Interval, period: Span) -> Span | None:
    """Return the part of an archive's `period` whose candles closed within it, or None when there is none.

    The last candle may close after the file's period (a week that runs into the next month). The file may hold
    it unfinished or not at all.
    """
    return span_or_none(period.start_ms, interval.floor(period.end_ms))


def is_unsettled(hole: Span, wanted: Span, now_ms: int, only_archives: bool) -> bool:
    """Whether `hole` is unsettled: it reaches the end of `wanted` and is recent at `now_ms`, the exchange's clock.

    An unsettled hole is not a gap yet. It stays uncovered, so the next run requests it again.
    """
    return hole.end_ms == wanted.end_ms and hole.end_ms > now_ms - (
        ARCHIVES_UNSETTLED_MS if only_archives else UNSETTLED_MS
    )


def unsettled_tail(interval: Interval, hole: Span, wanted: Span) -> Span:
    """Return the unsettled `hole` extended by the candle before it, which may still be open.

    By the clock there should be candles after it. Either the exchange lags, or the clock is ahead and that candle
    is unfinished.
    """
    if hole.start_ms <= wanted.start_ms:
        return hole
    return Span(interval.add(interval.floor(hole.start_ms), -1), hole.end_ms)
