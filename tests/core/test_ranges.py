"""Range arithmetic against sets of integers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ranges import Span, merge, span_or_none, subtract, total_ms
from core.times import parse_time

spans = st.builds(lambda start, length: Span(start, start + length), st.integers(0, 60), st.integers(1, 15))
several = st.lists(spans, max_size=8)


def points(of: list[Span]) -> set[int]:
    return {ms for span in of for ms in range(span.start_ms, span.end_ms)}


def is_sorted_and_apart(of: list[Span]) -> bool:
    return all(left.end_ms < right.start_ms for left, right in itertools.pairwise(of))


@pytest.mark.parametrize(("start_ms", "end_ms"), [(5, 5), (5, 4), (0, -1)])
def test_an_empty_or_reversed_span_cannot_be_made(start_ms: int, end_ms: int) -> None:
    with pytest.raises(ValueError, match="empty or reversed span"):
        Span(start_ms, end_ms)
    assert span_or_none(start_ms, end_ms) is None


def test_a_span_with_something_in_it_is_itself() -> None:
    assert span_or_none(4, 5) == Span(4, 5)


def test_a_span_reads_as_its_two_ends() -> None:
    span = Span(parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))
    assert str(span) == "2023-03-24T12:40Z .. 2023-03-24T14:00Z"


@given(several)
def test_merge_is_the_union_sorted_and_disjoint(some: list[Span]) -> None:
    merged = merge(some)
    assert points(merged) == points(some)
    assert is_sorted_and_apart(merged)


@given(several, st.integers(0, 5))
def test_merge_fills_exactly_the_holes_up_to_the_distance(some: list[Span], distance: int) -> None:
    plain, joined = merge(some), merge(some, distance)
    holes = [Span(left.end_ms, right.start_ms) for left, right in itertools.pairwise(plain)]
    small = [hole for hole in holes if hole.end_ms - hole.start_ms <= distance]
    assert points(joined) == points(plain) | points(small)
    assert is_sorted_and_apart(joined)


@given(several, several)
def test_subtract_is_the_difference_of_the_sets(wanted: list[Span], covered: list[Span]) -> None:
    rest = subtract(wanted, covered)
    assert points(rest) == points(wanted) - points(covered)
    assert is_sorted_and_apart(rest)


@given(spans, spans)
def test_intersect_is_the_intersection_of_the_sets(one: Span, other: Span) -> None:
    common = one.intersect(other)
    assert points([common] if common else []) == points([one]) & points([other])
    assert common == other.intersect(one)


@given(several)
def test_total_is_the_number_of_points(some: list[Span]) -> None:
    assert total_ms(merge(some)) == len(points(some))


def test_half_open_neighbours_touch_but_do_not_overlap() -> None:
    assert merge([Span(0, 5), Span(5, 9)]) == [Span(0, 9)]
    assert Span(0, 5).intersect(Span(5, 9)) is None
    assert subtract([Span(0, 9)], [Span(5, 9)]) == [Span(0, 5)]


def test_arguments_are_read_once_and_left_as_they_are() -> None:
    wanted, covered = [Span(5, 9), Span(0, 3)], [Span(1, 2)]
    assert subtract(iter(wanted), iter(covered)) == [Span(0, 1), Span(2, 3), Span(5, 9)]
    assert (wanted, covered) == ([Span(5, 9), Span(0, 3)], [Span(1, 2)])
