"""An exchange's order book, its changes and its snapshots, made up. What it does is not taken from core."""

from __future__ import annotations

import random
from decimal import Decimal

from core.market_data import BookChange, BookSnapshot, Level
from core.order_book import BookRule

_UPDATES_OF_A_CHANGE = 6
_CADENCE_MS = 100
Sides = tuple[tuple[Level, ...], tuple[Level, ...]]


class BookWorld:
    """A book whose price wanders. `states` has it as it was after each update id that ended a change."""

    def __init__(self, rule: BookRule, seed: int, depth: int = 40) -> None:
        self._rule = rule
        self._random = random.Random(seed)
        self._middle = 10_000
        self._bids = {price: self._level(price) for price in range(self._middle - depth, self._middle)}
        self._asks = {price: self._level(price) for price in range(self._middle + 1, self._middle + 1 + depth)}
        self._depth = depth
        self._id = 1_000
        self._now_ms = 1_700_000_000_000
        self.states: dict[int, Sides] = {}

    def change(self) -> BookChange:
        """Let some updates happen and return them as one change."""
        before, first, touched = self._id, 0, set()
        for _ in range(self._random.randint(1, _UPDATES_OF_A_CHANGE)):
            self._id += 1 if self._rule is BookRule.SPOT else self._random.randint(1, 9)
            first = first or self._id
            touched |= self._update()
        self._now_ms += _CADENCE_MS
        self.states[self._id] = self.sides()
        return BookChange(
            self._now_ms,
            first,
            self._id,
            before if self._rule is BookRule.FUTURES else None,
            [self._bids.get(price) or _level(price, 0) for is_bid, price in sorted(touched) if is_bid],
            [self._asks.get(price) or _level(price, 0) for is_bid, price in sorted(touched) if not is_bid],
        )

    def snapshot(self, limit: int) -> BookSnapshot:
        """Return the book of now."""
        bids, asks = self.sides()
        return BookSnapshot(self._id, limit, bids[:limit], asks[:limit])

    def sides(self) -> Sides:
        """Return all bids and asks of now, best first."""
        bids = tuple([self._bids[price] for price in sorted(self._bids, reverse=True)])
        asks = tuple([self._asks[price] for price in sorted(self._asks)])
        return bids, asks

    def _update(self) -> set[tuple[bool, int]]:
        """Change one level, or move the price by one step; return the levels that were touched."""
        if self._random.random() < 0.2:
            return self._move(self._random.random() < 0.5)
        is_bid, away = self._random.random() < 0.5, self._random.randint(2, self._depth)
        side, price = (self._bids, self._middle - away) if is_bid else (self._asks, self._middle + away)
        if price in side and self._random.random() < 0.3:
            del side[price]
        else:
            side[price] = self._level(price)
        return {(is_bid, price)}

    def _move(self, is_up: bool) -> set[tuple[bool, int]]:
        self._middle += 1 if is_up else -1
        taken, given = (self._asks, self._bids) if is_up else (self._bids, self._asks)
        gone = [price for price in taken if (price <= self._middle) == is_up or price == self._middle]
        for price in gone:
            del taken[price]
        best = self._middle - 1 if is_up else self._middle + 1
        given[best] = self._level(best)
        return {(not is_up, price) for price in gone} | {(is_up, best)}

    def _level(self, price: int) -> Level:
        return _level(price, self._random.randint(1, 99_999))


def _level(price: int, quantity: int) -> Level:
    return f"{Decimal(price) / 100:.4f}", f"{Decimal(quantity) / 1000:.8f}"
