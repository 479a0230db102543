"""Which archive files of a series are published, and since when (docs/binance.md, Archives)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.series import Series
from core.times import MS_PER_DAY, MS_PER_HOUR, to_datetime
from demo.archive_names import Cadence, Period, archive_key, day_of, has_daily_files, month_of
from demo.candle_store import CandleStore

_PUBLISHING_HOUR_MS = 8 * MS_PER_HOUR


def published_ms(period: Period) -> int:
    """Return when the file of `period` appears, epoch ms.

    A day's the day after at 08:00 UTC; a month's on the first Monday of the next month at 08:00 UTC.
    """
    if period.cadence == Cadence.DAILY:
        return period.span.end_ms + _PUBLISHING_HOUR_MS
    days_to_monday = -to_datetime(period.span.end_ms).weekday() % 7
    return period.span.end_ms + days_to_monday * MS_PER_DAY + _PUBLISHING_HOUR_MS


def is_published(store: CandleStore, series: Series, period: Period, now_ms: int) -> bool:
    """Whether the file of `period` is there at `now_ms`: its time has come and it has rows.

    A recorded file is there when its time has come; of a recorded series only whole periods are.
    """
    if published_ms(period) > now_ms:
        return False
    if period.cadence == Cadence.DAILY and not has_daily_files(series):
        return False
    if store.file(archive_key(series, period)) is not None:
        return True
    candles = store.candles(series)
    first = candles.first_at_or_after(period.span.start_ms)
    has_rows = first < len(candles) and candles.times[first] < period.span.end_ms
    return has_rows and store.archives_hold(series, period.span)


def published_periods(store: CandleStore, series: Series, cadence: Cadence, now_ms: int) -> Iterator[Period]:
    """Yield the periods whose files are there at `now_ms`, in order."""
    period_of: Callable[[int], Period] = month_of if cadence == Cadence.MONTHLY else day_of
    candles = store.candles(series)
    position = 0
    while position < len(candles):
        period = period_of(candles.times[position])
        if is_published(store, series, period, now_ms):
            yield period
        position = candles.first_at_or_after(period.span.end_ms)
