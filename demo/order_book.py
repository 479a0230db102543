"""A made-up order book around the price: a pure function of the instant, in steps of 50 ms.

What a step's book is can be asked for any step, so a snapshot and the changes between two steps agree
by themselves. A level keeps its quantity for two seconds; every step some of them change.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.instrument import Market
from demo.decimal_text import units_text
from demo.prices import OpenCandle, Prices

STEP_MS = 50
LEVELS = 400
"""How many price levels each side has."""

_IDS_PER_STEP = 5
_STEPS_OF_A_QUANTITY = 40
_LARGEST_QUANTITY = 5_003
_DIGITS_OF_A_LEVEL = 6  # levels lie in the sixth digit of the price
_SPOT_LOT_DECIMALS = 5

Levels = list[list[str]]
"""Price and quantity as text; a quantity of zero takes the level out."""


@dataclass(frozen=True, slots=True)
class BookChange:
    """How a book changed after step `before` up to step `after`."""

    before: int
    after: int
    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True)
class _Scale:
    """How a symbol's levels are counted and written."""

    level: int  # price units between two levels
    decimals: int
    lot: int  # quantity units
    quantity_decimals: int

    def text(self, level: int, quantity: int) -> list[str]:
        return [
            units_text(level * self.level, self.decimals),
            units_text(quantity * self.lot, self.quantity_decimals),
        ]


def last_id(step: int) -> int:
    """Return the update id that ends `step`."""
    return step * _IDS_PER_STEP


class OrderBook:
    """The book of one symbol. It stands still while nothing is traded: in halts and after the last candle."""

    def __init__(self, prices: Prices, market: Market, symbol: str) -> None:
        self._prices = prices
        self._market = market
        self._symbol = symbol
        self._scale: _Scale | None = None

    def step_at(self, ms: int) -> int | None:
        """Return the step in which the book is at `ms`, or None before the first candle."""
        candle = self._prices.candle(self._market, self._symbol, ms)
        if candle is None:
            return None
        step = min(ms, candle.end_ms - 1) // STEP_MS
        return step if step * STEP_MS >= candle.row[0] else -(-candle.row[0] // STEP_MS)

    def top(self, step: int, count: int) -> tuple[Levels, Levels]:
        """Return the best `count` bids and asks, best first."""
        scale, best = self._known_scale(step), self._best_bid(step)
        count = min(count, LEVELS)
        bids = [scale.text(level, _quantity(level, step)) for level in range(best, best - count, -1)]
        asks = [scale.text(level, _quantity(level, step)) for level in range(best + 1, best + 1 + count)]
        return bids, asks

    def change(self, before: int, after: int) -> BookChange:
        """Return every level that was touched after step `before` up to `after`, as it is then."""
        scale = self._known_scale(after)
        # After so long every level has another quantity anyway: what lay between does not matter.
        is_short = after - before < _STEPS_OF_A_QUANTITY
        best = [self._best_bid(step) for step in (range(before, after + 1) if is_short else (before, after))]
        low, high, now = min(best), max(best), best[-1]
        bids, asks = [], []
        for level in range(high, low - LEVELS, -1):
            if low < level or level <= high - LEVELS or _is_new(level, before, after):
                is_there = now - LEVELS < level <= now
                bids.append(scale.text(level, _quantity(level, after) if is_there else 0))
        for level in range(low + 1, high + LEVELS + 1):
            if level <= high or level > low + LEVELS or _is_new(level, before, after):
                is_there = now < level <= now + LEVELS
                asks.append(scale.text(level, _quantity(level, after) if is_there else 0))
        return BookChange(before, after, bids, asks)

    def _best_bid(self, step: int) -> int:
        """Return the best bid's level. Steps in a halt have that of the last trade."""
        candle = self._candle(step)
        return candle.price(step * STEP_MS) // self._known_scale(step).level

    def _candle(self, step: int) -> OpenCandle:
        candle = self._prices.candle(self._market, self._symbol, step * STEP_MS)
        if candle is None:
            raise LookupError(f"{self._market}:{self._symbol} has no book at step {step}")
        return candle

    def _known_scale(self, step: int) -> _Scale:
        """Return the scale, which the first price that was asked for decides for good."""
        if self._scale is None:
            candle = self._candle(step)
            quantity_decimals = len(candle.row[5].partition(".")[2])
            lot_decimals = min(quantity_decimals, _SPOT_LOT_DECIMALS)
            level = 10 ** max(0, len(str(candle.corners[0])) - _DIGITS_OF_A_LEVEL)
            self._scale = _Scale(level, candle.decimals, 10 ** (quantity_decimals - lot_decimals), quantity_decimals)
        return self._scale


def _quantity(level: int, step: int) -> int:
    """Return the lots at a price level in a step."""
    return 1 + (level * 2_654_435_761 ^ _age(level, step) * 40_503) % _LARGEST_QUANTITY


def _age(level: int, step: int) -> int:
    return (step + level * 7) // _STEPS_OF_A_QUANTITY


def _is_new(level: int, before: int, after: int) -> bool:
    return _age(level, before) != _age(level, after)


class Books:
    """The order books of all symbols."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._books: dict[tuple[Market, str], OrderBook] = {}

    def book(self, market: Market, symbol: str) -> OrderBook:
        """Return the book of a symbol, also of one that has no candles."""
        return self._books.setdefault((market, symbol), OrderBook(self._prices, market, symbol))
