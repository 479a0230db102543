"""One kline page: JSON rows to a batch of columns, refused unless it is what was asked for."""

from __future__ import annotations

import pyarrow as pa

from core.candles import EXCHANGE_ROW, EXCHANGE_ROW_LENGTH, SCHEMA, CandleBatch
from core.errors import UnusableAnswer
from core.ranges import Span
from core.times import format_ms
from core.validation import validate


def read_page(body: object, window: Span, limit: int) -> CandleBatch:
    """Return the candles of a decoded kline answer whose open time lies in `window`.

    Candles after the window (one still open, say) are left out: they were not asked for. Raises
    UnusableAnswer when the answer is not a list of 12-item rows of the right kinds, holds more rows
    than asked for, goes back before the window, is unsorted or doubled, or holds an impossible candle.
    """
    if not isinstance(body, list):
        raise UnusableAnswer(f"expected a list of candles, got {str(body)[:100]}")
    if len(body) > limit:
        raise UnusableAnswer(f"{len(body)} candles where at most {limit} were asked for")
    if not body:
        return CandleBatch.empty()
    for row in body:
        if not isinstance(row, list) or len(row) != EXCHANGE_ROW_LENGTH:
            raise UnusableAnswer(f"a candle does not have {EXCHANGE_ROW_LENGTH} fields: {str(row)[:200]}")
    columns = list(zip(*body, strict=True))
    try:
        table = pa.table(
            [pa.array(columns[EXCHANGE_ROW[field.name]], type=field.type) for field in SCHEMA], schema=SCHEMA
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise UnusableAnswer(f"a candle has a field of the wrong kind: {error}") from error
    batch = CandleBatch(table)
    validate(batch)
    first_ms = table["open_time"][0].as_py()
    if first_ms < window.start_ms:
        raise UnusableAnswer(f"the answer begins at {format_ms(first_ms)}, before {format_ms(window.start_ms)}")
    return batch.within(window)
