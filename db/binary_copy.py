"""Candles in PostgreSQL's binary COPY format, which the server reads at two thirds of the price of text.

A row is a fixed number of bytes within a batch, so that NumPy writes whole columns at once. Why not a
library: docs/adr/0006. The format: PostgreSQL manual, "COPY", Binary Format, and `numeric_recv` in the
server's source (digits to the base 10,000, leading and trailing zero digits allowed).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.candles import CandleBatch, stacked_decimals
from core.columns import DECIMAL_COLUMNS, SCHEMA

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01, where timestamptz counts its microseconds from

_BASE = 10_000
_BASE_DIGITS = 4
_DIGITS_IN_64_BITS = 18
_NUMERIC_HEAD_BYTES = 8  # number of digits, weight, sign, scale: two bytes each

Integers = npt.NDArray[np.int64]
BaseDigits = list[npt.NDArray[np.int16]]


@dataclass(frozen=True, slots=True)
class CopyRows:
    """Candles in ascending order, ready to be sent."""

    rows: int
    first_ms: int  # open times of the first and the last; 0 without rows
    last_ms: int
    stream: pa.Buffer


def encode_candles(batch: CandleBatch) -> CopyRows:
    """Return the candles of `batch` for `copy ... from stdin (format binary)`, columns as in `db.schema.COLUMNS`.

    Every value keeps its digits, trailing zeros included. The batch has to be valid (core.validation).
    """
    times = batch.columns["open_time"]
    first_ms, last_ms = (times[0].as_py(), times[-1].as_py()) if batch.rows else (0, 0)
    stream = pa.BufferOutputStream()
    stream.write(_HEADER)
    for block in batch.blocks():
        stream.write(_encode_block(block))
    stream.write(_TRAILER)
    return CopyRows(batch.rows, first_ms, last_ms, stream.getvalue())


def _encode_block(block: pa.RecordBatch) -> bytearray:
    digits, weight, scales = _base_digits(stacked_decimals(block))
    row_type = _row_type(len(digits))
    encoded = bytearray(_template(row_type, len(digits), weight) * block.num_rows)
    rows = np.frombuffer(encoded, row_type)
    rows["open_time"]["value"] = (_numbers(block["open_time"]) - _POSTGRES_EPOCH_MS) * 1_000
    rows["trades"]["value"] = _numbers(block["trades"])
    for number, name in enumerate(DECIMAL_COLUMNS):
        column = slice(number * block.num_rows, (number + 1) * block.num_rows)
        field = rows[name]
        field["scale"] = scales[column]
        for position, digit in enumerate(digits):
            field["digits"][:, position] = digit[column]
    return encoded


@cache
def _row_type(digits: int) -> np.dtype[np.void]:
    """Return the layout of one row, with so many digits in each decimal; all numbers are big-endian."""
    head = [("bytes", ">i4"), ("count", ">i2"), ("weight", ">i2"), ("sign", ">i2"), ("scale", ">i2")]
    decimal = [*head, ("digits", ">i2", (digits,))]
    fields: list[tuple[str, object]] = [("fields", ">i2")]
    for name in SCHEMA.names:
        whole = [("bytes", ">i4"), ("value", ">i8" if name == "open_time" else ">i4")]
        fields.append((name, decimal if name in DECIMAL_COLUMNS else whole))
    return np.dtype(fields)


@cache
def _template(row_type: np.dtype[np.void], digits: int, weight: int) -> bytes:
    """Return one row with everything in it that is the same for all rows."""
    row = np.zeros(1, row_type)
    row["fields"] = len(SCHEMA)
    row["open_time"]["bytes"], row["trades"]["bytes"] = 8, 4
    for name in DECIMAL_COLUMNS:
        row[name]["bytes"] = _NUMERIC_HEAD_BYTES + 2 * digits
        row[name]["count"], row[name]["weight"] = digits, weight
    return row.tobytes()


def _numbers(column: pa.Array) -> Integers:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def _base_digits(column: pa.Array) -> tuple[BaseDigits, int, Integers]:
    """Return the digits to the base 10,000, highest first, the first one's weight, and each value's scale."""
    length = _numbers(pc.binary_length(column))
    point = _numbers(pc.find_substring(column, "."))
    before_point = np.where(point < 0, length, point)
    scale = np.where(point < 0, 0, length - point - 1)
    after_point = -(-int(scale.max()) // _BASE_DIGITS)
    shift = after_point * _BASE_DIGITS
    if before_point.max() + shift <= _DIGITS_IN_64_BITS:
        narrow = column.cast(pa.decimal64(_DIGITS_IN_64_BITS, shift))
        digits = _split(np.frombuffer(narrow.buffers()[1], np.int64, len(narrow), narrow.offset * 8))
    else:
        wide = column.cast(pa.decimal256(76, shift))
        digits = _split_wide(np.frombuffer(wide.buffers()[1], np.uint32, 8 * len(wide), wide.offset * 32))
    digits += [np.zeros(len(scale), np.int16)] * (after_point - len(digits))
    return digits[::-1], len(digits) - after_point - 1, scale


def _split(values: Integers) -> BaseDigits:
    """Return the digits to the base 10,000, lowest first, as many as the largest value needs."""
    digits: BaseDigits = []
    while not digits or values.any():
        quotient = values // _BASE
        digits.append((values - quotient * _BASE).astype(np.int16))
        values = quotient
    return digits


def _split_wide(words: npt.NDArray[np.uint32]) -> BaseDigits:
    """Return the same for 256-bit values of eight little-endian words each: long division, word by word."""
    limbs = [words[position::8].astype(np.int64) for position in reversed(range(8))]
    digits: BaseDigits = []
    while not digits or any(limb.any() for limb in limbs):
        remainder = np.zeros(len(limbs[0]), np.int64)
        for position, limb in enumerate(limbs):
            value = (remainder << 32) | limb
            limbs[position] = value // _BASE
            remainder = value - limbs[position] * _BASE
        digits.append(remainder.astype(np.int16))
    return digits
