"""Generated candles that many tests ask for: made once a process, which costs more than what is done with them."""

from __future__ import annotations

import functools

from core.ranges import Span
from core.series import Series
from demo.candle_rows import CandleRows
from demo.candle_store import CandleStore
from demo.generated_market import generate_series


@functools.lru_cache(maxsize=32)  # the largest are some ten megabytes each, most are small
def generated_rows(
    series: Series, span: Span, seed: int = 0, halts: tuple[Span, ...] = (), off_grid: tuple[Span, ...] = ()
) -> CandleRows:
    """Return what `generate_series` makes of the same arguments."""
    return CandleRows.of(generate_series(series, span, seed, halts=halts, off_grid=off_grid))


def generated_store(
    series: Series, span: Span, seed: int, halts: tuple[Span, ...] = (), off_grid: tuple[Span, ...] = ()
) -> CandleStore:
    """Return a store of its own with `generate_series` of the same arguments."""
    store = CandleStore()
    store.add(series, generated_rows(series, span, seed, halts, off_grid))
    return store
