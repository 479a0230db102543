"""When a symbol trades: sessions, and the halts between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.intervals import Interval
from core.ranges import Span, subtract
from demo.grids import grid_of

OFF_GRID_SHIFT_MS = 14_789
"""How late the candles of an off-grid session open, as after the halt of 2018-02-09."""

FLAT_CANDLES_BEFORE_HALT = 12
"""How many candles before a halt have no trade: matching stops before the candles do (as on 2023-03-24)."""

_LAST_CANDLE_CUT_MS = 18_353  # the last candle before the halt of 2023-03-24 closed that much early


@dataclass(frozen=True, slots=True)
class Session:
    """A stretch of uninterrupted trading."""

    span: Span
    shift_ms: int = 0  # how far the candles open behind the grid
    ends_in_halt: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A candle to be made: its times in epoch ms, and whether it has no trades."""

    open_ms: int
    close_ms: int  # inclusive, as the exchange writes it
    is_flat: bool


def sessions(span: Span, halts: Sequence[Span], off_grid: Sequence[Span]) -> list[Session]:
    """Return the sessions in `span` between `halts`; those that open inside `off_grid` are shifted."""
    halt_starts = {halt.start_ms for halt in halts}
    return [
        Session(
            piece,
            shift_ms=OFF_GRID_SHIFT_MS if any(s.start_ms <= piece.start_ms < s.end_ms for s in off_grid) else 0,
            ends_in_halt=piece.end_ms in halt_starts,
        )
        for piece in subtract([span], halts)
    ]


def slots(interval: Interval, session: Session) -> Iterator[Slot]:
    """Yield the candles of `session` in order. Before a halt some are flat and the last closes early."""
    grid, end_ms = grid_of(interval), session.span.end_ms
    flat_from_ms = end_ms
    if session.ends_in_halt:
        flat_from_ms = grid.later(grid.floor(end_ms), -FLAT_CANDLES_BEFORE_HALT)
    grid_ms = grid.ceil(session.span.start_ms)
    while grid_ms + session.shift_ms < end_ms:
        next_ms = grid.later(grid_ms, 1)
        open_ms, close_ms = grid_ms + session.shift_ms, next_ms + session.shift_ms - 1
        if session.ends_in_halt and next_ms + session.shift_ms >= end_ms:
            close_ms = max(open_ms, close_ms - _LAST_CANDLE_CUT_MS)
        yield Slot(open_ms, close_ms, open_ms >= flat_from_ms)
        grid_ms = next_ms
