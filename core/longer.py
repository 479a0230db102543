"""Makes longer candles of shorter ones, digit for digit: the exchange's own longer candles must say the same."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.candles import CandleBatch
from core.columns import DECIMAL_COLUMNS, SCHEMA
from core.intervals import Interval

# Every valid value fits (core/validation.py); no float is involved.
_EXACT = pa.decimal128(38, 18)
_HOW = {"open": "first", "high": "max", "low": "min", "close": "last"}  # all other columns are summed


def make_longer(batch: CandleBatch, interval: Interval) -> CandleBatch:
    """Return the candles of `interval` that the candles of `batch` make, in order; `batch` is valid and ascending.

    A longer candle has the first open, the highest high, the lowest low, the last close and the sums of the volumes
    and trades. It is made of whatever candles are in the batch: the caller knows which are whole. What is made of
    parts, one after the other, can be made into the whole by a second call.
    """
    if not batch.rows:
        return batch
    given = batch.columns
    columns: dict[str, Any] = {"open_time": _opens(given["open_time"], interval)}
    for name in SCHEMA.names[1:]:
        exact = name in DECIMAL_COLUMNS and _HOW.get(name) not in ("first", "last")
        columns[name] = given[name].cast(_EXACT) if exact else given[name]
    # One thread: "first" and "last" are by the order of the rows.
    groups = pa.table(columns).group_by("open_time", use_threads=False)
    made = groups.aggregate([(name, _HOW.get(name, "sum")) for name in SCHEMA.names[1:]])
    values = [made[f"{name}_{_HOW.get(name, 'sum')}"] for name in SCHEMA.names[1:]]
    # The groups come in no certain order.
    return CandleBatch(pa.table([made["open_time"], *values], SCHEMA.names).cast(SCHEMA).sort_by("open_time"))


def _opens(times: pa.ChunkedArray, interval: Interval) -> pa.ChunkedArray:
    """Return the open time of the longer candle that each of `times` (epoch ms, after the epoch) falls in."""
    if interval.step_ms is None:
        return pa.chunked_array([[interval.floor(ms) for ms in times.to_pylist()]], pa.int64())
    step, offset = pa.scalar(interval.step_ms, pa.int64()), pa.scalar(interval.offset_ms, pa.int64())
    slots = pc.divide(pc.subtract(times, offset), step)  # whole numbers: the remainder is dropped
    return pc.add(pc.multiply(slots, step), offset)
