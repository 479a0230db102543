"""What makes a batch of candles fit to be stored. Checked once, where candles enter; trusted afterwards."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from core.candles import DECIMAL_COLUMNS, CandleBatch
from core.errors import UnusableAnswer
from core.times import format_ms

# Plain decimals only, as the exchange writes them: no sign, no exponent, no NaN, no empty text.
# The bounds keep every value inside the exact decimal type below; real ones are far smaller.
_DECIMAL = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"
_EXACT = pa.decimal128(38, 18)
_MAX_TRADES = 2**31 - 1  # the column is a PostgreSQL integer


def validate(batch: CandleBatch) -> None:
    """Return when every candle is possible; raise UnusableAnswer naming the first that is not.

    Checked: no empty cell; decimals in plain notation; prices above zero, low <= open, close <= high;
    volumes and trade counts not negative; open times strictly ascending.
    """
    if batch.rows == 0:
        return
    columns = batch.columns
    for name in columns.column_names:
        _refuse_where(batch, pc.is_null(columns[name]), f"{name} is missing")
    for name in DECIMAL_COLUMNS:
        plain = pc.match_substring_regex(columns[name], _DECIMAL)
        _refuse_where(batch, pc.invert(plain), f"{name} is not a plain decimal number")
    trades = columns["trades"]
    bad_count = pc.or_(pc.less(trades, 0), pc.greater(trades, _MAX_TRADES))
    _refuse_where(batch, bad_count, f"trades is outside 0..{_MAX_TRADES}")

    open_, high, low, close = (columns[name].cast(_EXACT) for name in ("open", "high", "low", "close"))
    _refuse_where(batch, pc.less_equal(low, pa.scalar(0, _EXACT)), "a price is not above zero")
    too_low = pc.or_(pc.less(high, open_), pc.less(high, close))
    too_high = pc.or_(pc.greater(low, open_), pc.greater(low, close))
    _refuse_where(batch, pc.or_(too_low, too_high), "open or close lies outside low..high")

    _refuse_unsorted(batch)


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


def _refuse_where(batch: CandleBatch, bad: pa.ChunkedArray, why: str) -> None:
    if pc.any(bad).as_py():
        index = int(pc.index(bad, True).as_py())
        raise UnusableAnswer(f"impossible candle, {why}: {batch.row_text(index)}")
