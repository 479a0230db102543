"""Keeps one order book by the exchange's changes to it: never a wrong book, rather none. Pure.

A snapshot alone is old, changes alone have no beginning: a book is a snapshot and every change since. Which change may
follow is the market's rule: docs/binance.md, Order book
Whatever does not follow ends the book, and it starts over with a new snapshot; until then it is not ready.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum, StrEnum

from core.market_data import BookChange, BookSnapshot, Level

MOST_BUFFERED = 10_000
# So many changes from before a snapshot come behind it only when the ids went back.
_MOST_BEFORE = 1_000


class BookRule(Enum):
    """How changes follow each other."""

    SPOT = "first id"  # a change begins right after the one before
    FUTURES = "previous id"  # a change names the last id of the one before; ids between belong to other symbols

    def follows(self, last_id: int, change: BookChange) -> bool:
        """Whether nothing is missing between the update `last_id`, which ended a change, and `change`."""
        if self is BookRule.SPOT:
            return change.first_id <= last_id + 1
        return change.previous_id == last_id

    def joins(self, last_id: int, change: BookChange) -> bool:
        """Whether nothing is missing between a snapshot, which may end within a change, and `change`."""
        if self is BookRule.SPOT:
            return change.first_id <= last_id + 1 <= change.last_id
        return change.first_id <= last_id <= change.last_id or change.previous_id == last_id

    def is_before(self, change: BookChange, last_id: int) -> bool:
        """Whether a snapshot of `last_id` makes `change` useless; on futures one that ends there is still needed."""
        return change.last_id <= last_id if self is BookRule.SPOT else change.last_id < last_id


class BookFault(StrEnum):
    """Why a book has to start over."""

    MISSING = "a change is missing"
    IDS_WENT_BACK = "its update ids went back"
    CROSSED = "its best bid is not below its best ask"
    OLD_SNAPSHOT = "the snapshot is older than the first change"
    TOO_FEW_LEVELS = "prices have moved to where the snapshot did not reach"


class _Side:
    """The levels of one side, from the best to the edge: what lies behind it is not known."""

    def __init__(self, levels: Iterable[Level], limit: int, sign: int) -> None:
        self._sign = sign  # the best level has the lowest price times sign
        self._levels = {sign * Decimal(level[0]): level for level in levels}
        self._order = sorted(self._levels)
        # None: the snapshot had every level.
        self._edge: Decimal | None = self._order[-1] if len(self._order) >= limit else None

    def take(self, levels: Iterable[Level]) -> None:
        known, order, sign, edge = self._levels, self._order, self._sign, self._edge
        for level in levels:
            place = sign * Decimal(level[0])
            if edge is not None and place > edge:
                continue
            if not level[1].strip("0."):
                if known.pop(place, None) is not None:
                    del order[bisect_left(order, place)]
                continue
            if place not in known:
                insort(order, place)
            known[place] = level

    def best(self, count: int) -> tuple[Level, ...]:
        return tuple([self._levels[place] for place in self._order[:count]])

    @property
    def best_price(self) -> Decimal | None:
        return self._sign * self._order[0] if self._order else None

    def has(self, count: int) -> bool:
        """Whether the best `count` levels are known; a side may have fewer in all."""
        return self._edge is None or len(self._order) >= count


class OrderBook:
    """One book. It needs a snapshot at first, and again whenever `take` or `begin` has returned a fault."""

    def __init__(self, rule: BookRule, levels: int) -> None:
        self._rule = rule
        self._fewest = levels  # a book that knows fewer of a side starts over
        self._waiting: deque[BookChange] = deque(maxlen=MOST_BUFFERED)  # without a hole; while there is no snapshot
        self._sides: tuple[_Side, _Side] | None = None
        self._has_joined = False  # a change has followed the snapshot
        self._before = 0  # changes that came behind the snapshot and were from before it
        self.last_id = 0
        self.time_ms = 0  # of the newest change

    @property
    def is_ready(self) -> bool:
        """Whether the book is known, as it was after the update `last_id`."""
        return self._has_joined

    @property
    def needs_snapshot(self) -> bool:
        """Whether `begin` is to be called."""
        return self._sides is None

    def take(self, change: BookChange) -> BookFault | None:
        """Take a change: into the book, or aside until there is a snapshot. One that is known already changes nothing.

        A fault leaves no book; the change is the first one aside.
        """
        if self._sides is None:
            self._put_aside(change)
            return None
        fault = self._apply(change)
        return None if fault is None else self._start_over(fault, change)

    def begin(self, snapshot: BookSnapshot) -> BookFault | None:
        """Make the book of a snapshot and the changes since. Changes that are of use for a newer one stay aside."""
        while self._waiting and self._rule.is_before(self._waiting[0], snapshot.last_id):
            self._waiting.popleft()
        if self._waiting and not self._rule.joins(snapshot.last_id, self._waiting[0]):
            return BookFault.OLD_SNAPSHOT
        self._sides = (_Side(snapshot.bids, snapshot.limit, -1), _Side(snapshot.asks, snapshot.limit, 1))
        self.last_id, self.time_ms, self._before = snapshot.last_id, 0, 0
        changes, self._waiting = self._waiting, deque(maxlen=MOST_BUFFERED)
        while changes:
            change = changes.popleft()
            if (fault := self._apply(change)) is not None:
                self._start_over(fault, change)
                for later in changes:
                    self._put_aside(later)
                return fault
        return None

    def reset(self) -> None:
        """Forget the book and what is aside: changes may have been lost that nothing tells of."""
        self._sides, self._has_joined = None, False
        self._waiting.clear()

    def best(self, count: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Return the best bids and asks, best first: `count` of each, or all there are. Only of a book that is ready.

        `count` is at most the `levels` that the book was made for.
        """
        assert self._sides is not None and self._has_joined, "a book that is not ready has no levels"  # noqa: S101
        bids, asks = self._sides
        return bids.best(count), asks.best(count)

    def _apply(self, change: BookChange) -> BookFault | None:
        assert self._sides is not None  # noqa: S101 - both callers have seen to it
        if self._has_joined:
            if change.last_id <= self.last_id:  # doubled or late, unless it was sent later than the newest one
                return BookFault.IDS_WENT_BACK if change.time_ms > self.time_ms else None
            if not self._rule.follows(self.last_id, change):
                return BookFault.MISSING
        elif self._rule.is_before(change, self.last_id):
            self._before += 1
            return BookFault.IDS_WENT_BACK if self._before > _MOST_BEFORE else None
        elif not self._rule.joins(self.last_id, change):
            return BookFault.MISSING
        bids, asks = self._sides
        bids.take(change.bids)
        asks.take(change.asks)
        self._has_joined, self.last_id, self.time_ms = True, change.last_id, change.time_ms
        if not (bids.has(self._fewest) and asks.has(self._fewest)):
            return BookFault.TOO_FEW_LEVELS
        bid, ask = bids.best_price, asks.best_price
        return BookFault.CROSSED if bid is not None and ask is not None and bid >= ask else None

    def _start_over(self, fault: BookFault, change: BookChange) -> BookFault:
        self.reset()
        self._waiting.append(change)
        return fault

    def _put_aside(self, change: BookChange) -> None:
        """Keep a change. Those before a hole are of no use: a snapshot that covers the hole covers them too."""
        if self._waiting:
            newest = self._waiting[-1]
            if change.last_id <= newest.last_id and change.time_ms <= newest.time_ms:
                return
            if change.last_id <= newest.last_id or not self._rule.follows(newest.last_id, change):
                self._waiting.clear()
        self._waiting.append(change)
