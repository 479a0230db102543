"""Generated candles that many tests ask for: made once a process, which costs more than what is done with them."""

from __future__ import annotations

import functools

from core.ranges import Span
from core.series import Series
from demo.candle_store import CandleStore
from demo.generated_market import generate_series


def generated_store(
    series: Series, span: Span, seed: int, halts: tuple[Span, ...] = (), off_grid: tuple[Span, ...] = ()
) -> CandleStore:
    """Return a store of its own with `generate_series` of the same arguments."""
    return _made_once(series, span, seed, halts, off_grid).copy()


@functools.lru_cache(maxsize=12)  # some ten megabytes each
def _made_once(
    series: Series, span: Span, seed: int, halts: tuple[Span, ...], off_grid: tuple[Span, ...]
) -> CandleStore:
    store = CandleStore()
    store.add(series, generate_series(series, span, seed, halts=halts, off_grid=off_grid))
    return store
