"""Statistics of the last 24 hours of a symbol, for streams and REST (docs/binance.md, Tickers)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.instrument import Market
from core.times import MS_PER_DAY, MS_PER_MINUTE
from demo.candle_path import in_progress
from demo.candle_rows import CandleRows, Row
from demo.candle_store import CandleStore
from demo.decimal_text import units_of, units_text
from demo.grids import grid_of
from demo.order_book import Books
from demo.trade_history import TradeHistory
from demo.trade_ids import TradeIds

_WEIGHTED_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class DayTicker:
    """The last 24 hours, numbers as the market writes them."""

    symbol: str
    open_ms: int
    close_ms: int
    first_id: int
    last_id: int
    trades: int
    price_change: str
    price_change_percent: str
    weighted_average: str
    previous_close: str  # of the trade before the window
    last: str
    last_quantity: str
    bid: list[str]  # price and quantity
    ask: list[str]
    open: str
    high: str
    low: str
    volume: str
    quote_volume: str


@dataclass(frozen=True, slots=True)
class _Sum:
    """Closed candles added up, in units of the text's decimals."""

    high: int
    low: int
    volume: int
    quote: int
    trades: int


class DayTickers:
    """Makes tickers of a symbol's finest candles. What closed candles add up to is kept until the next closes."""

    def __init__(self, store: CandleStore, ids: TradeIds, history: TradeHistory, books: Books) -> None:
        self._store = store
        self._ids = ids
        self._history = history
        self._books = books
        self._kept: dict[tuple[Market, str], tuple[CandleRows, int, int, _Sum]] = {}

    def ticker(self, market: Market, symbol: str, now_ms: int) -> DayTicker | None:
        """Return the symbol's last 24 hours at `now_ms`, or None where nothing was traded in them."""
        series = self._ids.finest(market, symbol)
        if series is None or not self._store.facts(market, symbol).listed:
            return None
        candles = self._store.candles(series)
        # On futures the window begins at a whole minute.
        from_ms = now_ms - MS_PER_DAY
        from_ms -= from_ms % MS_PER_MINUTE if market is not Market.SPOT else 0
        first, last = candles.first_at_or_after(from_ms), candles.first_after(now_ms)
        if first == last:
            return None
        newest = candles.rows(last - 1, last)[0]
        end_ms = grid_of(series.interval).later(newest[0], 1)
        if end_ms > now_ms:
            newest = in_progress(newest, end_ms, now_ms)
        return self._made(market, symbol, (candles, first, last), newest, (from_ms, now_ms))

    def _made(
        self, market: Market, symbol: str, window: tuple[CandleRows, int, int], newest: Row, span: tuple[int, int]
    ) -> DayTicker | None:
        candles, first, _ = window
        opening = candles.rows(first, first + 1)[0]
        decimals = tuple(len(newest[position].partition(".")[2]) for position in (4, 5, 7))
        total = _added(self._closed(market, symbol, window), newest, decimals)
        step = self._books.book(market, symbol).step_at(span[1])
        trades = self._history.newest(market, symbol, 1, span[1])
        if step is None or not trades or not total.volume:
            return None
        opened, closed = (Decimal(text) for text in (opening[1], newest[4]))
        # The mean price: quote volume by volume; on COIN-M the volume counts contracts and the price itself stands in.
        weighted = Decimal(total.quote).scaleb(-decimals[2]) / Decimal(total.volume).scaleb(-decimals[1])
        previous = candles.rows(first - 1, first)[0][4] if first else opening[1]
        bids, asks = self._books.book(market, symbol).top(step, 1)
        first_id = self._ids.first_trade(market, symbol, opening[0])
        return DayTicker(
            symbol,
            *span,
            first_id,
            first_id + total.trades - 1,
            total.trades,
            price_change=f"{closed - opened:.{decimals[0]}f}",
            price_change_percent=f"{(closed - opened) / opened * 100:.3f}",
            weighted_average=f"{closed if market is Market.CM else weighted:.{_WEIGHTED_DECIMALS}f}",
            previous_close=previous,
            last=newest[4],
            last_quantity=trades[-1].quantities[-1],
            bid=bids[0],
            ask=asks[0],
            open=opening[1],
            high=units_text(total.high, decimals[0]),
            low=units_text(total.low, decimals[0]),
            volume=units_text(total.volume, decimals[1]),
            quote_volume=units_text(total.quote, decimals[2]),
        )

    def _closed(self, market: Market, symbol: str, window: tuple[CandleRows, int, int]) -> _Sum | None:
        """Return all candles of the window but the newest, added up."""
        candles, first, last = window
        kept = self._kept.get((market, symbol))
        if kept is not None and kept[0] is candles and kept[1:3] == (first, last):
            return kept[3]
        total = None
        rows = candles.rows(first, last - 1)
        if rows:
            decimals = tuple(len(rows[0][position].partition(".")[2]) for position in (4, 5, 7))
            for row in rows:
                total = _added(total, row, decimals)
        if total is not None:
            self._kept[market, symbol] = candles, first, last, total
        return total


def _added(total: _Sum | None, row: Row, decimals: tuple[int, ...]) -> _Sum:
    high, low = units_of(row[2], decimals[0]), units_of(row[3], decimals[0])
    volume, quote = units_of(row[5], decimals[1]), units_of(row[7], decimals[2])
    if total is None:
        return _Sum(high, low, volume, quote, row[8])
    return _Sum(
        max(total.high, high), min(total.low, low), total.volume + volume, total.quote + quote, total.trades + row[8]
    )
