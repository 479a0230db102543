"""Many aggregate trades of one instrument in Arrow, as an archive holds them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from core.errors import UnusableAnswer
from core.ranges import Span

TRADE_SCHEMA = pa.schema(
    {
        "agg_id": pa.int64(),
        "price": pa.string(),
        "quantity": pa.string(),
        "first_trade_id": pa.int64(),
        "last_trade_id": pa.int64(),
        "time": pa.int64(),  # epoch ms
        "is_buyer_maker": pa.bool_(),
    }
)
# Plain decimals within the bounds of core/validation.py, with a digit that is not 0.
_DECIMAL = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"


def check_trades(trades: pa.Table, span: Span) -> None:
    """Raise UnusableAnswer when trades of one file cannot be: ids ascending, times inside `span`, prices above zero."""
    if any(column.null_count for column in trades.columns):
        raise UnusableAnswer("a value is missing")
    for name in ("price", "quantity"):
        text = trades[name]
        if not _all(pc.match_substring_regex(text, _DECIMAL)) or not _all(pc.match_substring_regex(text, "[1-9]")):
            raise UnusableAnswer(f"{name} is not a plain decimal number above zero")
    ids, times = trades["agg_id"].combine_chunks(), trades["time"].combine_chunks()
    is_wrong = not _all(pc.greater(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))))
    if is_wrong or not _all(pc.greater_equal(ids, pa.scalar(0, pa.int64()))):
        raise UnusableAnswer("ids are doubled, out of order or negative")
    if not _all(pc.less_equal(trades["first_trade_id"], trades["last_trade_id"])):
        raise UnusableAnswer("a trade whose last id comes before its first")
    bounds = pc.min_max(times)
    first, last = bounds["min"].as_py(), bounds["max"].as_py()
    if trades.num_rows and not span.start_ms <= first <= last < span.end_ms:
        raise UnusableAnswer(f"a trade lies outside {span}")


def _all(flags: pa.ChunkedArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())
