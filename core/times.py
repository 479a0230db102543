"""Converts epoch milliseconds (UTC) to ISO text and back. Inside the project every time is epoch ms."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

MS_PER_SECOND = 1_000
MS_PER_MINUTE = 60 * MS_PER_SECOND
MS_PER_HOUR = 60 * MS_PER_MINUTE
MS_PER_DAY = 24 * MS_PER_HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Binance began in 2017; the bounds catch typing errors such as 20223-01-01.
_EARLIEST_MS = 1_230_768_000_000  # 2009-01-01, the first bitcoin block
END_OF_TIME_MS = 4_102_444_800_000
"""2100-01-01, later than any candle."""


def to_datetime(ms: int) -> datetime:
    """Return the aware UTC datetime of `ms`, exact to the millisecond."""
    return _EPOCH + timedelta(milliseconds=ms)


def from_datetime(moment: datetime) -> int:
    """Return the epoch ms of an aware datetime; microseconds below a millisecond are cut off."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def format_ms(ms: int) -> str:
    """Return the shortest exact ISO 8601 text in UTC: a date, or a time with minutes, seconds or milliseconds.

    A number too large for a date (such as microseconds taken for milliseconds) is returned as `<number> ms`, so that
    a message about it does not fail.
    """
    try:
        moment = to_datetime(ms)
    except OverflowError:
        return f"{ms} ms"
    if ms % MS_PER_DAY == 0:
        return moment.strftime("%Y-%m-%d")
    if ms % MS_PER_MINUTE == 0:
        return moment.strftime("%Y-%m-%dT%H:%MZ")
    if ms % MS_PER_SECOND == 0:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def iso_ms(ms: int) -> str:
    """Return ISO 8601 with seconds and `Z`, for machines; with milliseconds only when they are not zero."""
    text = to_datetime(ms).replace(tzinfo=None).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return f"{text}Z"


def parse_time(value: object) -> int:
    """Return epoch ms of an ISO date or time; a time without a zone is UTC.

    Accepts text and the `date`/`datetime` objects that YAML makes of unquoted dates.
    Raises ValueError, which names the value and the accepted forms.
    """
    moment: datetime
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise ValueError(_time_help(value)) from error
    else:
        raise ValueError(_time_help(value))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ms = from_datetime(moment)
    if not _EARLIEST_MS <= ms < END_OF_TIME_MS:
        raise ValueError(f"{value!s} is outside 2009-01-01 .. 2100-01-01")
    return ms


def _time_help(value: object) -> str:
    return f"{value!r} is not an ISO date or time, such as 2023-01-31 or 2023-01-31T14:30 (UTC)"


def first_of_month(ms: int) -> int:
    """Return the epoch ms of 00:00 UTC on the first day of the month that holds `ms`."""
    moment = to_datetime(ms)
    return from_datetime(datetime(moment.year, moment.month, 1, tzinfo=UTC))


def add_months(month_start_ms: int, months: int) -> int:
    """Return the start of the month that is `months` after (or, negative, before) the one of `month_start_ms`."""
    moment = to_datetime(month_start_ms)
    index = moment.year * 12 + moment.month - 1 + months
    return from_datetime(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC))
