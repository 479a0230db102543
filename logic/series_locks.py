"""Locks series for a run, and waits some minutes for those that another run is working on where that is wanted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from core.series import Series, brief_list
from db.connection import Database
from db.live_status import is_streaming
from db.locks import try_lock_series

LONGEST_WAIT_S = 300.0
"""So long a heal or a verification waits, all series together: a five-minute backfill takes seconds to give them back.

A first backfill of days holds its series longer; the run then does without them and ends with 4.
"""
_STEP_S = 5.0
_MOMENT_S, _MOMENTS = 0.1, 30


class Patience:
    """The waiting of one run for series that others are working on. Not thread-safe."""

    def __init__(self, sleep: Callable[[float], None], longest_s: float = LONGEST_WAIT_S) -> None:
        self._sleep = sleep
        self._steps_left = int(longest_s // _STEP_S)

    def wait(self) -> bool:
        """Sleep some seconds; return whether it is worth trying again. Raises Interrupted."""
        if self._steps_left == 0:
            return False
        self._steps_left -= 1
        self._sleep(_STEP_S)
        return True


def lock_series(
    database: Database, series_ids: Sequence[int], patience: Patience | None, waiting: Callable[[int], None]
) -> set[int]:
    """Lock series for this session and return the ids of those that it now holds.

    Without `patience` another run's are left out at once, or after three seconds where a live stream runs, which has
    a series for moments; with it they are tried again, and `waiting` is called with their number.
    """
    held: set[int] = set()
    moments = _moments_to_wait(database)
    while True:
        with database.transaction("lock the series") as tx:
            held |= try_lock_series(tx, [one for one in series_ids if one not in held])
        left = len(set(series_ids) - held)
        if left == 0:
            return held
        if patience is None:
            if not next(moments, False):
                return held
            time.sleep(_MOMENT_S)
            continue
        waiting(left)
        if not patience.wait():
            return held


def _moments_to_wait(database: Database) -> Iterator[bool]:
    """Yield True for each moment that is worth waiting for a series that a live stream may have."""
    with database.transaction("look for live streams") as tx:
        is_live = is_streaming(tx)
    yield from itertools.repeat(is_live, _MOMENTS)


def left_to_another_run(locked: Sequence[Series]) -> str:
    """Return one sentence about the series, at least one, that another run is working on."""
    return f"another run is working on {brief_list(locked)}; left to that run"
