"""One kline page: JSON rows to a batch of columns, refused unless it is what was asked for."""

from __future__ import annotations

import pyarrow as pa

from core.candles import EXCHANGE_ROW, EXCHANGE_ROW_LENGTH, SCHEMA, CandleBatch
from core.errors import UnusableAnswer
from core.intervals import Interval
from core.ranges import Span
from core.times import format_ms
from core.validation import validate


def read_page(body: object, window: Span, limit: int) -> CandleBatch:
    """Return the candles of a decoded kline answer to a question about `window`.

    Raises UnusableAnswer when the answer is not a list of 12-item rows of the right kinds, holds more
    rows than asked for or one outside the window, is unsorted or doubled, or holds an impossible candle.
    """
    if not isinstance(body, list):
        raise UnusableAnswer(f"expected a list of candles, got {_shown(body)}")
    if len(body) > limit:
        raise UnusableAnswer(f"{len(body)} candles where at most {limit} were asked for")
    if not body:
        return CandleBatch.empty()
    for row in body:
        if not isinstance(row, list) or len(row) != EXCHANGE_ROW_LENGTH:
            raise UnusableAnswer(f"a candle does not have {EXCHANGE_ROW_LENGTH} fields: {_shown(row)}")
    columns = list(zip(*body, strict=True))
    for name in ("open_time", "trades"):
        # Arrow would cut the fraction off a float without a word.
        if any(type(value) is not int for value in columns[EXCHANGE_ROW[name]]):
            raise UnusableAnswer(f"a candle's {name} is not a whole number")
    try:
        table = pa.table(
            [pa.array(columns[EXCHANGE_ROW[field.name]], type=field.type) for field in SCHEMA], schema=SCHEMA
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise UnusableAnswer(f"a candle has a field of the wrong kind: {error}") from error
    batch = CandleBatch(table)
    validate(batch)
    first_ms, last_ms = table["open_time"][0].as_py(), table["open_time"][-1].as_py()
    if first_ms < window.start_ms or last_ms >= window.end_ms:
        raise UnusableAnswer(f"candles of {format_ms(first_ms)} .. {format_ms(last_ms)} where {window} was asked for")
    return batch


def refuse_open(batch: CandleBatch, interval: Interval, latest_ms: int) -> None:
    """Raise UnusableAnswer when the newest candle ends after `latest_ms`, the latest time it can have been.

    It is unfinished then and would be stored for good: the exchange's clock was ahead when it was asked.
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


def _shown(value: object) -> str:
    try:
        return str(value)[:200]
    except RecursionError:
        return "a value that is nested very deep"
