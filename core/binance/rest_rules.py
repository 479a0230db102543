"""What a kline page may ask for and what it costs, per market (contract section 2)."""

from __future__ import annotations

from collections.abc import Iterator

from core.intervals import Interval
from core.ranges import Span
from core.series import Market
from core.times import MS_PER_DAY

MAX_ROWS = {Market.SPOT: 1000, Market.UM: 1500, Market.CM: 1500}
# Most rows per weight: spot pays 2 whatever the page holds; futures pay 2 up to 499 rows, 10 for 1500.
BEST_ROWS = {Market.SPOT: 1000, Market.UM: 499, Market.CM: 499}
# Published budgets per minute (contract section 3); the live figure is read from exchangeInfo.
PUBLISHED_WEIGHT_PER_MINUTE = {Market.SPOT: 6000, Market.UM: 2400, Market.CM: 2400}
# COIN-M refuses a longer start..end (-4088, "Maximum time interval is 200 days").
COIN_M_MAX_SPAN_MS = 200 * MS_PER_DAY


def page_rows(market: Market, wanted: int | None) -> int:
    """Return the page size to ask for: `wanted` clamped to the market's maximum, or the best one."""
    return BEST_ROWS[market] if wanted is None else max(1, min(wanted, MAX_ROWS[market]))


def page_weight(market: Market, limit: int) -> int:
    """Return the request weight of a kline page with `limit` rows."""
    if market is Market.SPOT:
        return 2
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


def pages(market: Market, interval: Interval, span: Span, rows: int) -> Iterator[Span]:
    """Yield the windows that cover `span`, each holding at most `rows` grid open times.

    A window never holds more candles than a page, so the answer is complete whether the market
    counts rows from the start (spot, USD-M) or from the end of the range (COIN-M).
    """
    cursor = span.start_ms
    while cursor < span.end_ms:
        grid = interval.floor(cursor)
        end_ms = min(interval.add(grid, rows), span.end_ms)
        if market is Market.CM:
            end_ms = min(end_ms, cursor + COIN_M_MAX_SPAN_MS)
        yield Span(cursor, end_ms)
        cursor = end_ms
