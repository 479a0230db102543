"""Reads one kline page from JSON into a batch; refuses an answer that does not fit the request."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pyarrow as pa

from core.binance.row import ROW_LENGTH, ROW_POSITIONS
from core.candles import CandleBatch
from core.columns import SCHEMA
from core.errors import UnusableAnswer
from core.ranges import Span
from core.times import format_ms
from core.validation import without_impossible


def read_page(body: object, window: Span, limit: int) -> CandleBatch:
    """Return the candles of a decoded kline answer to a request for `window` with `limit`.

    Rows that cannot be candles are its `unusable`, as the exchange sent them. Raises UnusableAnswer when the answer
    is not a list of 12-item rows of the right types, has more than `limit` rows or one outside the window, is not
    strictly ascending, or has too many impossible candles.
    """
    if not isinstance(body, list):
        raise UnusableAnswer(f"expected a list of candles, got {_shown(body)}")
    if len(body) > limit:
        raise UnusableAnswer(f"{len(body)} candles where at most {limit} were asked for")
    if not body:
        return CandleBatch.empty()
    for row in body:
        if not isinstance(row, list) or len(row) != ROW_LENGTH:
            raise UnusableAnswer(f"a candle does not have {ROW_LENGTH} fields: {_shown(row)}")
    columns = list(zip(*body, strict=True))
    for name in ("open_time", "trades"):
        # Arrow would silently cut off the fraction of a float.
        if any(type(value) is not int for value in columns[ROW_POSITIONS[name]]):
            raise UnusableAnswer(f"a candle's {name} is not a whole number")
    try:
        table = pa.table(
            [pa.array(columns[ROW_POSITIONS[field.name]], type=field.type) for field in SCHEMA], schema=SCHEMA
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise UnusableAnswer(f"a candle has a field of the wrong kind: {error}") from error
    batch = without_impossible(CandleBatch(table))
    first_ms, last_ms = table["open_time"][0].as_py(), table["open_time"][-1].as_py()
    if first_ms < window.start_ms or last_ms >= window.end_ms:
        raise UnusableAnswer(f"candles of {format_ms(first_ms)} .. {format_ms(last_ms)} where {window} was asked for")
    if not batch.unusable:
        return batch
    sent = {row[0]: orjson.dumps(row).decode() for row in body}
    return replace(batch, unusable=tuple(replace(one, row=sent[one.open_ms]) for one in batch.unusable))


def _shown(value: object) -> str:
    try:
        return str(value)[:200]
    except RecursionError:
        return "a value that is nested very deep"
