"""Encodes candles in PostgreSQL's binary COPY format, which the server reads in two thirds of the time of text.

All rows of a block have the same number of bytes, so that NumPy can write whole columns at once. Why no library does
this: docs/adr/0006. The format: PostgreSQL manual, "COPY", Binary Format, and `numeric_recv` in the
server's source (digits in base 10,000, leading and trailing zero digits allowed).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.candles import CandleBatch, stacked_decimals
from core.columns import DECIMAL_COLUMNS, SCHEMA

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01: timestamptz is microseconds since then

_BASE = 10_000
_BASE_DIGITS = 4
_DIGITS_IN_64_BITS = 18
_NUMERIC_HEAD_BYTES = 8  # number of digits, weight, sign and scale, two bytes each

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class CopyRows:
    """Encoded candles, ascending, ready to be sent."""

    rows: int
    first_ms: int  # open times of the first and last candle, epoch ms; 0 without rows
    last_ms: int
    stream: pa.Buffer


def encode_candles(batch: CandleBatch) -> CopyRows:
    """Return the candles of `batch` for `copy ... from stdin (format binary)`, columns as in `db.schema.COLUMNS`.

    Every value keeps all its digits, trailing zeros included. The batch must be valid (core.validation).
    """
    times = batch.columns["open_time"]
    first_ms, last_ms = (times[0].as_py(), times[-1].as_py()) if batch.rows else (0, 0)
    # In Arrow's memory, which the next chunk uses again: a bytearray of this size left 40 MiB more with many series.
    stream = pa.BufferOutputStream()
    stream.write(_HEADER)
    for block in batch.blocks():
        stream.write(_encode_block(block))
    stream.write(_TRAILER)
    return CopyRows(batch.rows, first_ms, last_ms, stream.getvalue())


def _encode_block(block: pa.RecordBatch) -> pa.Buffer:
    decimals = stacked_decimals(block)
    before_point, scale = _digits_around_point(decimals)
    after_point = -(-int(scale.max()) // _BASE_DIGITS)
    weight = -(-int(before_point.max()) // _BASE_DIGITS) - 1
    count = weight + 1 + after_point
    whole = _whole_numbers(decimals, int(before_point.max()), after_point * _BASE_DIGITS)
    split = _split if whole.ndim == 1 else _split_wide
    row_type = _row_type(count)
    # Arrow keeps this memory for the next block. NumPy would return arrays of this size to the system each time,
    # and new pages are slow to get; the loop below handles one column at a time for the same reason.
    encoded = pa.allocate_buffer(block.num_rows * row_type.itemsize)
    rows = np.frombuffer(encoded, row_type)
    rows.view(np.uint8).reshape(block.num_rows, -1)[:] = np.frombuffer(_template(row_type, count, weight), np.uint8)
    rows["open_time"]["value"] = (_numbers(block["open_time"]) - _POSTGRES_EPOCH_MS) * 1_000
    rows["trades"]["value"] = _numbers(block["trades"])
    for number, name in enumerate(DECIMAL_COLUMNS):
        column = slice(number * block.num_rows, (number + 1) * block.num_rows)
        field = rows[name]
        field["scale"] = scale[column]
        for position, digits in enumerate(split(whole[column], count), start=1):
            field["digits"][:, -position] = digits
    return encoded


@cache
def _row_type(digits: int) -> np.dtype[np.void]:
    """Return the layout of one row with `digits` base-10,000 digits in each decimal; all numbers are big-endian."""
    head = [("bytes", ">i4"), ("count", ">i2"), ("weight", ">i2"), ("sign", ">i2"), ("scale", ">i2")]
    decimal = [*head, ("digits", ">i2", (digits,))]
    fields: list[tuple[str, object]] = [("fields", ">i2")]
    for name in SCHEMA.names:
        whole = [("bytes", ">i4"), ("value", ">i8" if name == "open_time" else ">i4")]
        fields.append((name, decimal if name in DECIMAL_COLUMNS else whole))
    return np.dtype(fields)


@cache
def _template(row_type: np.dtype[np.void], digits: int, weight: int) -> bytes:
    """Return one row with the bytes that are the same in all rows."""
    row = np.zeros(1, row_type)
    row["fields"] = len(SCHEMA)
    row["open_time"]["bytes"], row["trades"]["bytes"] = 8, 4
    for name in DECIMAL_COLUMNS:
        row[name]["bytes"] = _NUMERIC_HEAD_BYTES + 2 * digits
        row[name]["count"], row[name]["weight"] = digits, weight
    return row.tobytes()


def _numbers(column: pa.Array) -> Integers:
    return np.asarray(column)


def _digits_around_point(decimals: pa.Array) -> tuple[Integers, Integers]:
    """Return how many digits each number has before the decimal point and how many after it."""
    length, point = _numbers(pc.binary_length(decimals)), _numbers(pc.find_substring(decimals, "."))
    return np.where(point < 0, length, point), np.where(point < 0, 0, length - point - 1)


def _whole_numbers(decimals: pa.Array, most_before_point: int, shift: int) -> Integers:
    """Return the numbers times 10^`shift`, which must make them whole numbers.

    The result has one 64-bit integer for each number where all fit, else a row of eight 32-bit words, lowest first.
    """
    if most_before_point + shift <= _DIGITS_IN_64_BITS:
        narrow = decimals.cast(pa.decimal64(_DIGITS_IN_64_BITS, shift))
        return np.frombuffer(narrow.buffers()[1], np.int64, len(narrow), narrow.offset * 8)
    wide = decimals.cast(pa.decimal256(76, shift))
    return np.frombuffer(wide.buffers()[1], np.uint32, 8 * len(wide), wide.offset * 32).reshape(-1, 8)


def _split(values: Integers, count: int) -> Iterator[Integers]:
    """Yield the lowest `count` digits in base 10,000, lowest first."""
    for _ in range(count):
        higher = values // _BASE
        yield values - higher * _BASE
        values = higher


def _split_wide(words: Integers, count: int) -> Iterator[Integers]:
    """Yield the same digits of 256-bit values, given as eight words each, by long division."""
    limbs = [words[:, position].astype(np.int64) for position in reversed(range(8))]
    for _ in range(count):
        remainder = np.zeros(len(words), np.int64)
        for position, limb in enumerate(limbs):
            value = (remainder << 32) | limb
            limbs[position] = value // _BASE
            remainder = value - limbs[position] * _BASE
        yield remainder
