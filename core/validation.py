"""Checks that a batch of candles may be stored. Done once, where candles enter; later code relies on it."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from core.candles import CandleBatch, UnusableCandle, characters, stacked_decimals
from core.columns import DECIMAL_COLUMNS
from core.errors import UnusableAnswer
from core.times import format_ms

# Plain decimals only, as the exchange writes them: no sign, no exponent, no NaN, no empty text.
# Within these bounds every value fits the exact decimal type below; real values are far smaller.
_DECIMAL = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"
_MOST_BEFORE_POINT, _MOST_AFTER_POINT = 20, 18
_EXACT = pa.decimal128(38, 18)
_FEW_UNUSABLE, _MOST_UNUSABLE = 3, 100
_MAX_TRADES = 2**31 - 1  # the column is a PostgreSQL integer
# Types are given explicitly: to infer one, Arrow looks for an optional module each time, which is slow.
_NO_PRICE = pa.scalar(0, _EXACT)
_FEWEST, _MOST = pa.scalar(0, pa.int64()), pa.scalar(_MAX_TRADES, pa.int64())
_ZERO, _ONE = pa.scalar(0, pa.int32()), pa.scalar(1, pa.int32())


def without_impossible(batch: CandleBatch) -> CandleBatch:
    """Return the candles of `batch` that are possible, with the others as its `unusable`.

    Checked: no empty cell; decimals in plain notation; prices above zero, low <= open, close <= high;
    volumes and trade counts not negative; open times strictly ascending.
    Raises UnusableAnswer when the candles are out of order, or when so many are not possible that
    the whole answer is not to be believed: more than 3 and more than a tenth, or more than 100.
    """
    _refuse_unsorted(batch)
    unusable = list[UnusableCandle]()
    most = min(_MOST_UNUSABLE, max(_FEW_UNUSABLE, batch.rows // 10))
    for row, why in impossible_rows(batch):
        if len(unusable) >= most:
            first = unusable[0]
            raise UnusableAnswer(f"impossible candle, {first.why}: {first.row}; at least {len(unusable)} more")
        open_ms = batch.open_times()[row]
        unusable.append(UnusableCandle(open_ms, batch.row_text(row), why))
    kept = batch.without([one.open_ms for one in unusable]) if unusable else batch
    return CandleBatch(kept.columns, (*batch.unusable, *unusable))


def impossible_rows(batch: CandleBatch) -> Iterator[tuple[int, str]]:
    """Yield each row of `batch` that cannot be a candle, with what is wrong with it.

    Each row is judged by itself: they may be in any order, and of many series.
    """
    first = 0
    for block in batch.blocks():
        left, rows = block, list(range(first, first + block.num_rows))
        while left.num_rows and (bad := _first_bad(left)):
            row, why = bad
            yield rows.pop(row), why
            left = pa.concat_batches([left.slice(0, row), left.slice(row + 1)])
        first += block.num_rows


def _first_bad(block: pa.RecordBatch) -> tuple[int, str] | None:
    """Return the row of an impossible candle and what is wrong with it, or None."""
    for name in block.schema.names:
        if block[name].null_count:
            return _first_true(pc.is_null(block[name])), f"{name} is missing"
    decimals = stacked_decimals(block)
    if not _are_plain_at_a_glance(decimals):
        bad_text = pc.invert(pc.match_substring_regex(decimals, _DECIMAL))
        if pc.any(bad_text).as_py():
            column, row = divmod(_first_true(bad_text), block.num_rows)
            return row, f"{DECIMAL_COLUMNS[column]} is not a plain decimal number"
    trades = block["trades"]
    bad_count = pc.or_(pc.less(trades, _FEWEST), pc.greater(trades, _MOST))
    open_, high, low, close = (block[name].cast(_EXACT) for name in ("open", "high", "low", "close"))
    outside = pc.or_(
        pc.less(high, pc.max_element_wise(open_, close)), pc.greater(low, pc.min_element_wise(open_, close))
    )
    for bad, why in (
        (bad_count, f"trades is outside 0..{_MAX_TRADES}"),
        (pc.less_equal(low, _NO_PRICE), "a price is not above zero"),
        (outside, "open or close lies outside low..high"),
    ):
        if pc.any(bad).as_py():
            return _first_true(bad), why
    return None


def _are_plain_at_a_glance(decimals: pa.Array) -> bool:
    """Whether all texts match `_DECIMAL`, in a third of its time; False when only the expression can tell."""
    point, length = pc.find_substring(decimals, "."), pc.binary_length(decimals)
    has_point = pc.greater_equal(point, _ZERO)
    # Only digits, and exactly one point in each text that has any.
    if bytes(characters(decimals)).translate(None, b"0123456789") != b"." * pc.sum(has_point).as_py():
        return False
    before = pc.if_else(has_point, point, length)
    after = pc.subtract(length, before)  # the point among them
    needless_zero = pc.and_(pc.greater(before, _ONE), pc.starts_with(decimals, "0"))
    fewest_before, most_before = pc.min_max(before).values()
    return bool(
        fewest_before.as_py() >= 1
        and most_before.as_py() <= _MOST_BEFORE_POINT
        and pc.max(after).as_py() <= 1 + _MOST_AFTER_POINT
        and not pc.any(pc.equal(after, _ONE)).as_py()
        and not pc.any(needless_zero).as_py()
    )


def _first_true(flags: pa.Array) -> int:
    return int(pc.index(flags, True).as_py())


def _refuse_unsorted(batch: CandleBatch) -> None:
    times = batch.columns["open_time"].combine_chunks()
    if batch.rows < 2:
        return
    not_after = pc.less_equal(times.slice(1), times.slice(0, batch.rows - 1))
    if pc.any(not_after).as_py():
        index = int(pc.index(not_after, True).as_py()) + 1
        raise UnusableAnswer(
            f"candles are doubled or out of order: {format_ms(times[index].as_py())} "
            f"follows {format_ms(times[index - 1].as_py())}"
        )
