"""The trades of a symbol with their ids, as REST, streams and archives tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from core.instrument import Market
from core.series import Series
from demo.candle_rows import Row
from demo.candle_store import CandleStore
from demo.candle_trades import CandleTrades, trades_of
from demo.decimal_text import units_text
from demo.grids import grid_of
from demo.trade_ids import TradeIds

_CANDLES_KEPT = 256


@dataclass(frozen=True, slots=True)
class AggregateTrade:
    """One aggregate trade; numbers as the market writes them."""

    id: int
    at_ms: int
    price: str
    quantity: str
    quantities: tuple[str, ...]  # of each of its trades
    first_id: int
    is_buyer_maker: bool

    @property
    def last_id(self) -> int:
        """The id of its last trade."""
        return self.first_id + len(self.quantities) - 1


class TradeHistory:
    """Trades by time and by id, made of the symbol's finest candles. Times are epoch ms."""

    def __init__(self, store: CandleStore, ids: TradeIds) -> None:
        self._store = store
        self._ids = ids
        self._made = lru_cache(maxsize=_CANDLES_KEPT)(_make)

    def from_time(self, market: Market, symbol: str, start_ms: int, now_ms: int) -> Iterator[AggregateTrade]:
        """Yield the trades from `start_ms` (inclusive) that came before `now_ms`, in order."""
        series = self._ids.finest(market, symbol)
        if series is None:
            return
        candles = self._store.candles(series)
        first = max(0, candles.first_after(start_ms) - 1)
        if first < len(candles) and grid_of(series.interval).later(candles.times[first], 1) <= start_ms:
            first += 1
        for position in range(first, candles.first_after(now_ms)):
            for trade in self.of_candle(series, candles.rows(position, position + 1)[0]):
                if trade.at_ms >= now_ms:
                    return
                if trade.at_ms >= start_ms:
                    yield trade

    def from_id(self, market: Market, symbol: str, first_id: int, now_ms: int) -> Iterator[AggregateTrade]:
        """Yield the trades from `first_id` (inclusive) that came before `now_ms`, in order."""
        series = self._ids.finest(market, symbol)
        if series is None:
            return
        candles = self._store.candles(series)
        position = self._ids.candle_of_aggregate(market, symbol, first_id)
        if position < len(candles):
            trades = self.from_time(market, symbol, candles.times[position], now_ms)
            yield from (trade for trade in trades if trade.id >= first_id)

    def newest(self, market: Market, symbol: str, count: int, now_ms: int) -> list[AggregateTrade]:
        """Return the last `count` trades that came before `now_ms`, in order."""
        series = self._ids.finest(market, symbol)
        found: list[AggregateTrade] = []
        if series is None:
            return found
        candles = self._store.candles(series)
        position = candles.first_after(now_ms)
        while position > 0 and len(found) < count:
            position -= 1
            trades = self.of_candle(series, candles.rows(position, position + 1)[0])
            found = [*(trade for trade in trades if trade.at_ms < now_ms), *found]
        return found[-count:]

    def of_candle(self, series: Series, row: Row) -> list[AggregateTrade]:
        """Return the trades of a candle of the symbol's finest series."""
        if not row[8]:
            return []
        end_ms = grid_of(series.interval).later(row[0], 1)
        first_aggregate = self._ids.first_aggregate(series.market, series.symbol, row[0])
        first_trade = self._ids.first_trade(series.market, series.symbol, row[0])
        return self._made(series.market, tuple(row), end_ms, first_aggregate, first_trade)


def _make(
    market: Market, row: tuple[object, ...], end_ms: int, first_aggregate: int, first_trade: int
) -> list[AggregateTrade]:
    return list(_numbered(trades_of(market, list(row), end_ms), first_aggregate, first_trade))


def _numbered(made: CandleTrades, first_aggregate: int, first_trade: int) -> Iterator[AggregateTrade]:
    for number, one in enumerate(made.aggregates):
        yield AggregateTrade(
            first_aggregate + number,
            one.at_ms,
            units_text(one.price, made.price_decimals),
            units_text(sum(one.quantities), made.quantity_decimals),
            tuple(units_text(each, made.quantity_decimals) for each in one.quantities),
            first_trade + one.first_number,
            one.is_buyer_maker,
        )
