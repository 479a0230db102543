"""Which trades are missing between those that came: their ids run without holes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Mark(NamedTuple):
    """A trade that came."""

    id: int
    time_ms: int


class IdGap(NamedTuple):
    """Trades that did not come: ids `first_id` to `last_id`, both inclusive, between trades of these times (ms)."""

    first_id: int
    last_id: int
    start_ms: int  # of the trade before
    end_ms: int  # of the trade after

    @property
    def size(self) -> int:
        """How many trades are missing."""
        return self.last_id - self.first_id + 1


def find_gaps(last: Mark | None, came: Iterable[Mark]) -> tuple[list[IdGap], Mark | None]:
    """Return the gaps in front of and between the trades that came, and the newest trade.

    `last` is the newest trade before them, None where there is none: then nothing is missing in front. They may be in
    any order, doubled, or older than `last`.
    """
    gaps: list[IdGap] = []
    for mark in sorted(came):
        if last is None:
            last = mark
        elif mark.id > last.id:
            if mark.id > last.id + 1:
                gaps.append(IdGap(last.id + 1, mark.id - 1, last.time_ms, mark.time_ms))
            last = mark
    return gaps, last


def missing_within(gap: IdGap, there: Iterable[Mark]) -> list[IdGap]:
    """Return what of `gap` is still missing when the trades `there` have come."""
    inside = [mark for mark in there if gap.first_id <= mark.id <= gap.last_id]
    edges = [*inside, Mark(gap.last_id + 1, gap.end_ms)]
    return find_gaps(Mark(gap.first_id - 1, gap.start_ms), edges)[0]
