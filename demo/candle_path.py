"""A stored candle as it stands while it is still open: the same for REST and for streams."""

from __future__ import annotations

from demo.candle_rows import Row
from demo.decimal_text import scaled_text, units_of, units_text

_VOLUMES = (5, 7, 9, 10)
_LEGS = 3


def in_progress(row: Row, end_ms: int, now_ms: int) -> Row:
    """Return the candle `row`, which ends at `end_ms` (exclusive), as it stands at `now_ms`.

    The price goes in straight lines from the open to one extreme, to the other and to the close; high
    and low are those so far. Volumes and trades are the share of the time that has passed, cut off:
    never what they will be, so a client that stores it has stored something wrong. Only a candle
    without trades looks as it will.
    """
    passed, length = max(0, now_ms - row[0]), end_ms - row[0]
    unfinished = list(row)
    unfinished[2:5] = _prices(row, passed, length)
    unfinished[6] = end_ms - 1
    for position in _VOLUMES:
        unfinished[position] = scaled_text(row[position], passed, length)
    unfinished[8] = trades_before(row, end_ms, now_ms)
    return unfinished


def trades_before(row: Row, end_ms: int, now_ms: int) -> int:
    """Return how many of the candle's trades came before `now_ms`; they are spread evenly."""
    passed, length = now_ms - row[0], end_ms - row[0]
    return int(row[8] * min(max(0, passed), length) // length)


def trade_ms(row: Row, end_ms: int, number: int) -> int:
    """Return when trade `number` (from 0) of the candle comes: the inverse of `trades_before`."""
    return int(row[0] - (-(number + 1) * (end_ms - row[0]) // row[8]) - 1)


def price_path(row: Row) -> tuple[list[int], int]:
    """Return the four corners of the price's path in units, and how many decimals a unit stands for."""
    decimals = max(len(row[position].partition(".")[2]) for position in (1, 2, 3, 4))
    open_, high, low, close = (units_of(row[position], decimals) for position in (1, 2, 3, 4))
    extremes = [low, high] if close >= open_ else [high, low]
    return [open_, *extremes, close], decimals


def price_at(corners: list[int], passed: int, length: int) -> int:
    """Return the price in units when `passed` of `length` is over: on the finest step that the corners share."""
    leg, within = divmod(min(max(0, passed), length - 1) * _LEGS, length)
    begin, end = corners[leg], corners[leg + 1]
    step = price_step(corners)
    return begin + (end - begin) // step * within // length * step


def price_step(units: list[int]) -> int:
    """Return the largest power of ten that divides all `units`: a tick, or a multiple of it; 1 for zeros."""
    step = 1
    while step < 10**8 and all(one % (step * 10) == 0 for one in units):
        step *= 10
    return step


def _prices(row: Row, passed: int, length: int) -> list[str]:
    """Return high, low and close so far."""
    corners, decimals = price_path(row)
    close = price_at(corners, passed, length)
    leg = min(max(0, passed), length - 1) * _LEGS // length
    seen = [*corners[: leg + 1], close]
    return [units_text(one, decimals) for one in (max(seen), min(seen), close)]
