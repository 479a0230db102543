"""Gaps in the ids of trades."""

from hypothesis import given
from hypothesis import strategies as st

from core.id_sequence import IdGap, Mark, find_gaps, missing_within


def marks(*ids: int) -> list[Mark]:
    return [Mark(one, 1_000 * one) for one in ids]


def test_the_first_trade_ever_has_no_gap_in_front() -> None:
    assert find_gaps(None, marks(7, 8)) == ([], Mark(8, 8_000))


def test_a_jump_is_a_gap_with_the_times_of_its_neighbours() -> None:
    assert find_gaps(Mark(3, 3_000), marks(4, 7, 9)) == (
        [IdGap(5, 6, 4_000, 7_000), IdGap(8, 8, 7_000, 9_000)],
        Mark(9, 9_000),
    )


def test_doubled_older_and_swapped_trades_are_no_gaps() -> None:
    assert find_gaps(Mark(3, 3_000), marks(5, 4, 4, 2, 6)) == ([], Mark(6, 6_000))
    assert find_gaps(Mark(3, 3_000), []) == ([], Mark(3, 3_000))


def test_what_came_late_closes_its_part_of_a_gap() -> None:
    gap = IdGap(4, 9, 3_000, 10_000)
    assert missing_within(gap, marks(*range(4, 10))) == []
    assert missing_within(gap, []) == [gap]
    assert missing_within(gap, marks(5, 6, 20)) == [IdGap(4, 4, 3_000, 5_000), IdGap(7, 9, 6_000, 10_000)]
    assert gap.size == 6


@given(st.lists(st.lists(st.integers(1, 60), max_size=12), max_size=8))
def test_what_came_and_what_is_missing_is_everything_up_to_the_newest(batches: list[list[int]]) -> None:
    last, came, gaps = Mark(0, 0), set[int](), list[IdGap]()
    for batch in batches:
        found, newest = find_gaps(last, marks(*batch))
        assert newest is not None
        last = newest
        gaps += found
        came |= {*batch}
    there = marks(*sorted(came))
    missing = [
        one for gap in gaps for part in missing_within(gap, there) for one in range(part.first_id, part.last_id + 1)
    ]
    assert sorted([*missing, *came]) == [*range(1, last.id + 1)]
