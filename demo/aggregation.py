"""Longer candles from shorter ones, as the exchange's own agree with each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from core.intervals import INTERVALS, Interval
from demo.decimal_text import Ticks
from demo.grids import grid_of

FINER = {
    "3m": "1m",
    "5m": "1m",
    "15m": "5m",
    "30m": "15m",
    "1h": "30m",
    "2h": "1h",
    "4h": "2h",
    "6h": "2h",
    "8h": "4h",
    "12h": "4h",
    "1d": "12h",
    "3d": "1d",
    "1w": "1d",
    "1M": "1d",
}
"""From which interval each is aggregated, in an order in which that one is there already."""


def aggregate(candles: Iterable[Ticks], shorter: Interval, longer: Interval) -> Iterator[Ticks]:
    """Yield the `longer` candles of the `shorter` ones (in order). A slot without any gives none.

    The close time is the slot's own, unless the last candle in it was cut short by a halt.
    """
    short_grid, long_grid = grid_of(shorter), grid_of(longer)
    for open_ms, group in groupby(candles, key=lambda candle: long_grid.floor(candle[0])):
        parts = list(group)
        first, last = parts[0], parts[-1]
        is_cut = last[6] + 1 < short_grid.later(last[0], 1)
        yield (
            open_ms,
            first[1],
            max(part[2] for part in parts),
            min(part[3] for part in parts),
            last[4],
            sum(part[5] for part in parts),
            last[6] if is_cut else long_grid.later(open_ms, 1) - 1,
            sum(part[7] for part in parts),
            sum(part[8] for part in parts),
            sum(part[9] for part in parts),
            sum(part[10] for part in parts),
        )


def all_intervals(candles: list[Ticks], wanted: Iterable[str]) -> Iterator[tuple[Interval, list[Ticks]]]:
    """Yield each of the `wanted` intervals (codes) with its candles, made of the 1m `candles`."""
    wanted_codes = set(wanted)
    made = {"1m": candles}
    if "1m" in wanted_codes:
        yield INTERVALS["1m"], candles
    for code, finer in FINER.items():
        made[code] = list(aggregate(made[finer], INTERVALS[finer], INTERVALS[code]))
        if code in wanted_codes:
            yield INTERVALS[code], made[code]
