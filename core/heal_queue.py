"""Which series are to be healed next, and when one is tried again. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from core.closing import CLOSE_SETTLE_MS

# A cut concerns many series, which are healed in one run. And what closed before it was missed must count as closed.
_GATHER_MS = CLOSE_SETTLE_MS + 1_000
_FIRST_RETRY_MS = 5_000
_LONGEST_RETRY_MS = 15 * 60_000


@dataclass(slots=True)
class _Waiting:
    since_ms: int
    due_ms: int


class HealQueue:
    """Series that may lack candles, by id. Times are ms of one clock, whichever."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._running: set[int] = set()
        self._tries: dict[int, int] = {}  # heals in a row after which the series still lacked something

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    @property
    def series_ids(self) -> set[int]:
        """The series that wait for their heal or are being healed."""
        return {*self._waiting, *self._running}

    def want(self, series_ids: Collection[int], now_ms: int) -> None:
        """Have series healed soon; one that was tried in vain waits out its time."""
        for series_id in series_ids:
            if series_id not in self._waiting:
                self._waiting[series_id] = _Waiting(now_ms, now_ms + max(_GATHER_MS, self._pause_ms(series_id)))

    def next_due_ms(self) -> int | None:
        """Return when the next heal is due; None when none is wanted."""
        return min((one.due_ms for one in self._waiting.values()), default=None)

    def take(self, now_ms: int, most: int) -> list[int]:
        """Return the series, at most `most`, whose heal begins now: those that have waited longest first."""
        due = sorted((one.since_ms, series_id) for series_id, one in self._waiting.items() if one.due_ms <= now_ms)
        taken = [series_id for _, series_id in due[:most]]
        self.begin(taken)
        return taken

    def begin(self, series_ids: Collection[int]) -> None:
        """Note that these series are being healed now, whether or not they were wanted."""
        for series_id in series_ids:
            self._waiting.pop(series_id, None)
        self._running |= set(series_ids)

    def done(self, series_id: int, is_whole: bool, now_ms: int) -> None:
        """Note the end of a heal; a series that still lacks something is tried again, ever more rarely."""
        self._running.discard(series_id)
        if is_whole:
            self._tries.pop(series_id, None)
            return
        self._tries[series_id] = self._tries.get(series_id, 0) + 1
        self.want([series_id], now_ms)

    def _pause_ms(self, series_id: int) -> int:
        tries = self._tries.get(series_id, 0)
        return 0 if tries == 0 else int(min(_FIRST_RETRY_MS * 2 ** min(tries - 1, 20), _LONGEST_RETRY_MS))
