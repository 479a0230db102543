"""Holes at the edges of the wanted range that are not gaps: an unsettled end, the time before the first file."""

from __future__ import annotations

from dataclasses import dataclass

from core.closing import is_unsettled, unsettled_tail
from core.fetched import FetchedChunk
from core.intervals import Interval
from core.ranges import Span, subtract


@dataclass(frozen=True, slots=True)
class WantedEdges:
    """The whole wanted range of a series, and what is known of its two edges."""

    interval: Interval
    span: Span
    only_archives: bool  # only archive files, which appear late, are read at the end
    begins_unknown: bool  # not known whether the series has candles from the start on

    def is_edge(self, hole: Span, now_ms: int) -> bool:
        """Whether `hole` is not a gap. `now_ms` is the exchange's clock, epoch ms."""
        if hole.end_ms == self.span.end_ms:
            return is_unsettled(hole, self.span, now_ms, self.only_archives)
        return self.begins_unknown and hole.start_ms == self.span.start_ms

    def exclude(self, fetched: FetchedChunk, now_ms: int) -> FetchedChunk:
        """Return the chunk without the holes that are not gaps: they stay uncovered, so the next run fetches them.

        The candle before an unsettled hole at the end is left out too (core/closing.py, guard 4).
        """
        edges = [
            unsettled_tail(self.interval, hole.span, self.span) if hole.span.end_ms == self.span.end_ms else hole.span
            for hole in fetched.holes
            if self.is_edge(hole.span, now_ms)
        ]
        if not edges:
            return fetched
        spans = [one.within(part) for one in fetched.spans for part in subtract([one.span], edges)]
        return FetchedChunk(
            tuple(spans),
            tuple(hole for hole in fetched.holes if not any(hole.span.intersect(edge) for edge in edges)),
            (*fetched.uncovered, *edges),
        )
