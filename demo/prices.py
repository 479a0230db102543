"""The last price of a symbol at an instant, by the path of its finest candle."""

from __future__ import annotations

from dataclasses import dataclass

from core.instrument import Market
from demo.candle_path import price_at, price_path
from demo.candle_rows import Row
from demo.candle_store import CandleStore
from demo.grids import grid_of
from demo.trade_ids import TradeIds


@dataclass(frozen=True, slots=True)
class OpenCandle:
    """The candle that an instant falls in, or the last one before it."""

    row: Row
    end_ms: int  # exclusive
    corners: list[int]  # of the price's path, in units
    decimals: int

    def price(self, at_ms: int) -> int:
        """Return the price at `at_ms` in units; after the end, the close."""
        return price_at(self.corners, at_ms - self.row[0], self.end_ms - self.row[0])


class Prices:
    """Candles by instant; each symbol's newest one is kept, as it is asked for again and again."""

    def __init__(self, store: CandleStore, ids: TradeIds) -> None:
        self._store = store
        self._ids = ids
        self._kept: dict[tuple[Market, str], tuple[int, OpenCandle]] = {}

    def candle(self, market: Market, symbol: str, at_ms: int) -> OpenCandle | None:
        """Return the candle that holds `at_ms`, or the last before; None before the first or for an unknown symbol."""
        kept = self._kept.get((market, symbol))
        if kept is not None and kept[0] == self._store.revision and kept[1].row[0] <= at_ms < kept[1].end_ms:
            return kept[1]
        series = self._ids.finest(market, symbol)
        if series is None or not self._store.facts(market, symbol).listed:
            return None
        revision, candles = self._store.revision, self._store.candles(series)
        position = candles.first_after(at_ms) - 1
        if position < 0:
            return None
        row = candles.rows(position, position + 1)[0]
        corners, decimals = price_path(row)
        found = OpenCandle(row, grid_of(series.interval).later(row[0], 1), corners, decimals)
        self._kept[market, symbol] = revision, found
        return found
