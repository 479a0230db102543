"""Page limits and weights of Binance's klines (docs/binance.md, Klines)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.archives import Period
from core.binance.publishing import BinancePublishing, has_daily_files, has_usable_monthly_files
from core.instrument import Market
from core.intervals import Interval
from core.ranges import Span
from core.series import Series
from core.times import MS_PER_DAY, parse_time

MAX_ROWS = {Market.SPOT: 1000, Market.UM: 1500, Market.CM: 1500}
# The most rows per weight: on spot every page costs 2; on futures 499 rows cost 2 and 1500 cost 10.
BEST_ROWS = {Market.SPOT: 1000, Market.UM: 499, Market.CM: 499}
# Published limits per minute (docs/binance.md, Weight and bans); the present one is read from exchangeInfo.
PUBLISHED_WEIGHT_PER_MINUTE = {Market.SPOT: 6000, Market.UM: 2400, Market.CM: 2400}
# The most levels of a side that a snapshot of an order book may have, and its weight.
BOOK_LIMIT = {Market.SPOT: 5000, Market.UM: 1000, Market.CM: 1000}
BOOK_WEIGHT = {Market.SPOT: 250, Market.UM: 20, Market.CM: 20}
# COIN-M refuses a longer range (error -4088, "Maximum time interval is 200 days").
COIN_M_MAX_SPAN_MS = 200 * MS_PER_DAY


# After two halts, by whole days.
_OFF_GRID = (
    Span(parse_time("2017-12-04"), parse_time("2017-12-19")),
    Span(parse_time("2018-02-09"), parse_time("2018-02-11")),
)


def page_rows(market: Market, wanted: int | None) -> int:
    """Return the page size: `wanted` within the market's limits; for None the one with the most rows per weight."""
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


@dataclass(frozen=True, slots=True)
class BinanceRules:
    """The rules of one series (core.exchange_rules.SeriesRules)."""

    series: Series
    page_rows: int

    @property
    def interval(self) -> Interval:
        """The candle interval of the series."""
        return self.series.interval

    @property
    def weight_per_minute(self) -> int:
        """The published limit of request weight per minute: one for spot, one for futures."""
        return PUBLISHED_WEIGHT_PER_MINUTE[self.series.market]

    @property
    def has_daily_archives(self) -> bool:
        """False for 3d, 1w and 1M."""
        return has_daily_files(self.series.interval)

    @property
    def has_monthly_archives(self) -> bool:
        """False for 1s: its monthly files are too large, daily ones are used."""
        return has_usable_monthly_files(self.series.interval)

    def page_weight(self, rows: int) -> int:
        """Return the request weight of a kline page with a limit of `rows`."""
        return page_weight(self.series.market, rows)

    def pages(self, span: Span) -> Iterator[Span]:
        """Yield the windows that cover `span`, each holding at most a page's grid open times.

        A window never holds more candles than a page, so the answer is complete whether the market
        returns the oldest rows of a range (spot, USD-M) or the newest (COIN-M).
        """
        interval = self.series.interval
        cursor = span.start_ms
        while cursor < span.end_ms:
            end_ms = min(interval.add(interval.floor(cursor), self.page_rows), span.end_ms)
            if self.series.market is Market.CM:
                end_ms = min(end_ms, cursor + COIN_M_MAX_SPAN_MS)
            yield Span(cursor, end_ms)
            cursor = end_ms

    def opens_off_grid(self, time_ms: int) -> bool:
        """Whether spot candles opened beside the minute around `time_ms` (docs/binance.md, Halts and lost records)."""
        known = self.series.market is Market.SPOT
        return known and any(span.start_ms <= time_ms < span.end_ms for span in _OFF_GRID)

    def archive_due_ms(self, period: Period) -> int:
        """Return the time (epoch ms) by which the file of `period` should be published."""
        return BinancePublishing(self.interval).archive_due_ms(period)

    def archive_possible_ms(self, period: Period) -> int:
        """Return the earliest time (epoch ms) at which the file of `period` may be published."""
        return BinancePublishing(self.interval).archive_possible_ms(period)
