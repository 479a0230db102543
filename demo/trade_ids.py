"""The ids of trades: without holes per symbol, counted from the beginning of its finest candles."""

from __future__ import annotations

import re
import threading
from array import array
from bisect import bisect_right
from itertools import accumulate

from core.instrument import Market
from core.series import Series
from demo.candle_rows import CandleRows
from demo.candle_store import CandleStore
from demo.grids import GRIDS

FIRST_TRADE_ID = 1_000_001
FIRST_AGGREGATE_ID = 500_001

# A row of candles as JSON text: close time and trades are its two integers between texts.
_TRADES = re.compile(rb'",\d+,"[^"]*",(\d+),"')
_SHORTEST_FIRST = list(GRIDS)


class TradeIds:
    """Which ids the trades of a candle have. Thread-safe; counts anew when a symbol's candles change."""

    def __init__(self, store: CandleStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._finest: dict[tuple[Market, str], Series] = {}
        self._revision = -1  # of the store, when that was found
        self._counts: dict[Series, tuple[CandleRows, array[int], array[int]]] = {}

    def finest(self, market: Market, symbol: str) -> Series | None:
        """Return the finest series of `symbol`, of whose candles its trades are made; None without any."""
        with self._lock:
            if self._revision != self._store.revision:
                self._revision = self._store.revision
                self._finest = {(one.market, one.symbol): one for one in self._longest_first()}
            return self._finest.get((market, symbol))

    def first_trade(self, market: Market, symbol: str, ms: int) -> int:
        """Return the id of the first trade in candles that open at or after `ms`."""
        candles, trades, _ = self._counted(market, symbol)
        return FIRST_TRADE_ID + _before(trades, candles.first_at_or_after(ms))

    def first_aggregate(self, market: Market, symbol: str, ms: int) -> int:
        """Return the id of the first aggregate trade in candles that open at or after `ms`."""
        candles, _, aggregates = self._counted(market, symbol)
        return FIRST_AGGREGATE_ID + _before(aggregates, candles.first_at_or_after(ms))

    def candle_of_aggregate(self, market: Market, symbol: str, aggregate_id: int) -> int:
        """Return the position of the finest candle that holds the aggregate trade, or the first after all there are."""
        _, _, aggregates = self._counted(market, symbol)
        return bisect_right(aggregates, aggregate_id - FIRST_AGGREGATE_ID)

    def _longest_first(self) -> list[Series]:
        return sorted(self._store.series(), key=lambda one: -_SHORTEST_FIRST.index(one.interval.code))

    def _counted(self, market: Market, symbol: str) -> tuple[CandleRows, array[int], array[int]]:
        """Return the finest candles and, after each of them, how many trades and aggregates there were."""
        series = self.finest(market, symbol)
        if series is None:
            raise KeyError(f"{market}:{symbol} has no candles")
        candles = self._store.candles(series)
        with self._lock:
            counted = self._counts.get(series)
            if counted is None or counted[0] is not candles:
                trades = [int(found) for found in _TRADES.findall(candles.text)]
                after = array("q", accumulate(trades)), array("q", accumulate(map(aggregates_of, trades)))
                counted = candles, *after
                self._counts[series] = counted
            return counted


def aggregates_of(trades: int) -> int:
    """Return how many aggregate trades the `trades` of a candle make: in five, two are filled by one order."""
    return trades - doubles_of(trades)


def doubles_of(trades: int) -> int:
    """Return how many aggregate trades of a candle hold two trades: numbers 1, 5, 9 ..., never the last."""
    return max(0, trades + 1) // 5 if trades > 2 else 0


def is_double(place: int, trades: int) -> bool:
    """Whether aggregate trade `place` (from 0) of a candle with `trades` trades holds two of them."""
    return place % 4 == 1 and place // 4 < doubles_of(trades)


def _before(counts: array[int], position: int) -> int:
    return counts[position - 1] if position else 0
