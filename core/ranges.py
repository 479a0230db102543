"""Arithmetic on half-open time ranges `[start_ms, end_ms)`. Lists are kept sorted and disjoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.times import format_ms


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open range of epoch ms. Raises ValueError when it would be empty or reversed."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"empty or reversed span {self.start_ms}..{self.end_ms}")

    def __str__(self) -> str:
        return f"{format_ms(self.start_ms)} .. {format_ms(self.end_ms)}"

    def intersect(self, other: Span) -> Span | None:
        """Return the common part, or None."""
        start_ms, end_ms = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return Span(start_ms, end_ms) if start_ms < end_ms else None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A half-open range of epoch ms; None as an end means "from the beginning" or "to the end"."""

    start_ms: int | None = None
    end_ms: int | None = None

    @property
    def is_unbounded(self) -> bool:
        """Whether neither end is given."""
        return self.start_ms is None and self.end_ms is None


def span_or_none(start_ms: int, end_ms: int) -> Span | None:
    """Return the span, or None when it would be empty or reversed."""
    return Span(start_ms, end_ms) if start_ms < end_ms else None


def merge(spans: Iterable[Span], max_distance_ms: int = 0) -> list[Span]:
    """Return the union, sorted and disjoint; spans at most `max_distance_ms` apart become one."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start_ms <= merged[-1].end_ms + max_distance_ms:
            merged[-1] = Span(merged[-1].start_ms, max(merged[-1].end_ms, span.end_ms))
        else:
            merged.append(span)
    return merged


def subtract(wanted: Iterable[Span], covered: Iterable[Span]) -> list[Span]:
    """Return the parts of `wanted` that are not in `covered`, sorted and disjoint."""
    holes = merge(covered)
    rest: list[Span] = []
    first = 0
    for span in merge(wanted):
        cursor = span.start_ms
        while first < len(holes) and holes[first].end_ms <= cursor:
            first += 1
        for hole in holes[first:]:
            if hole.start_ms >= span.end_ms:
                break
            if hole.start_ms > cursor:
                rest.append(Span(cursor, hole.start_ms))
            cursor = max(cursor, hole.end_ms)
        if cursor < span.end_ms:
            rest.append(Span(cursor, span.end_ms))
    return rest


def inside(spans: Iterable[Span], scope: Sequence[Span]) -> list[Span]:
    """Return the parts of `spans` that lie in `scope`, in the order of `spans`."""
    return [part for span in spans for one in scope if (part := span.intersect(one)) is not None]


def total_ms(spans: Iterable[Span]) -> int:
    """Return the summed length of disjoint spans."""
    return sum(span.end_ms - span.start_ms for span in spans)
