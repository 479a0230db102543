"""Which candles should be there, against sets of slots."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.closing import CLOSE_SETTLE_MS
from core.expected import earlier_listing, expected_spans
from core.intervals import INTERVALS, Interval
from core.listing import ListingPeriod
from core.ranges import Span, TimeRange, merge
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time

HOUR = INTERVALS["1h"]
DAY_0 = parse_time("2024-01-15")
NOW = DAY_0 + 40 * MS_PER_HOUR
SLOTS = 40  # of which the property tests speak


@dataclass(frozen=True, slots=True)
class SeriesBounds:
    """Where a series' candles are looked for: its listing, and what an unattended run wants of it."""

    listing_ms: int | None
    end_ms: int | None
    wanted_from_ms: int | None = None
    wanted_until_ms: int | None = None
    is_active: bool = True  # an unattended run takes it

    @property
    def listing(self) -> ListingPeriod:
        return ListingPeriod(self.listing_ms, self.end_ms)

    @property
    def wanted(self) -> TimeRange | None:
        return TimeRange(self.wanted_from_ms, self.wanted_until_ms) if self.is_active else None


NOTHING_KNOWN = SeriesBounds(None, None)


def hour(number: float) -> int:
    return DAY_0 + int(number * MS_PER_HOUR)


def hours(start: float, end: float) -> Span:
    return Span(hour(start), hour(end))


def expected_in(
    interval: Interval, bounds: SeriesBounds, covered: list[Span], asked: TimeRange, now_ms: int
) -> list[Span]:
    return expected_spans(interval, bounds.listing, bounds.wanted, covered, asked, now_ms)


def expected(
    bounds: SeriesBounds,
    covered: list[Span],
    start_ms: int | None = None,
    end_ms: int | None = None,
    now_ms: int = NOW,
) -> list[Span]:
    return expected_in(HOUR, bounds, covered, TimeRange(start_ms, end_ms), now_ms)


def test_of_an_active_series_everything_from_its_listing_to_the_end_of_what_was_fetched_is_expected() -> None:
    bounds = SeriesBounds(hour(2), None)
    assert expected(bounds, [hours(5, 8), hours(12, 20)]) == [hours(2, 20)]


def test_of_an_active_series_the_time_before_what_is_wanted_is_not_expected() -> None:
    bounds = SeriesBounds(hour(2), None, wanted_from_ms=hour(6.5))
    assert expected(bounds, [hours(9, 20)]) == [hours(7, 20)]
    assert expected(replace(bounds, wanted_from_ms=hour(1)), [hours(9, 20)]) == [hours(2, 20)]


def test_what_was_fetched_is_expected_though_it_is_no_longer_wanted() -> None:
    bounds = SeriesBounds(hour(2), None, wanted_from_ms=hour(15))
    assert expected(bounds, [hours(3, 5), hours(12, 20)]) == [hours(3, 5), hours(12, 20)]


def test_a_delisted_series_is_expected_up_to_its_last_candle() -> None:
    bounds = SeriesBounds(hour(2), hour(30))
    assert expected(bounds, [hours(2, 20)]) == [hours(2, 30)]
    assert expected(bounds, []) == [hours(2, 30)]


def test_a_delisted_series_is_expected_up_to_what_is_wanted() -> None:
    bounds = SeriesBounds(hour(2), hour(30), wanted_until_ms=hour(24.5))
    assert expected(bounds, [hours(2, 20)]) == [hours(2, 25)]
    assert expected(replace(bounds, wanted_until_ms=hour(35)), [hours(2, 20)]) == [hours(2, 30)]


def test_nothing_is_expected_of_a_series_that_ended_before_what_is_wanted() -> None:
    assert expected(SeriesBounds(hour(2), hour(10), wanted_from_ms=hour(15)), []) == []


def test_a_series_that_is_not_active_is_expected_from_its_first_to_its_last_fetched_candle() -> None:
    bounds = SeriesBounds(hour(2), hour(30), wanted_from_ms=hour(1), wanted_until_ms=hour(28), is_active=False)
    assert expected(bounds, [hours(5, 8), hours(12, 20)]) == [hours(5, 20)]
    assert expected(bounds, []) == []


def test_a_series_of_unknown_listing_is_expected_from_its_first_fetched_candle() -> None:
    assert expected(NOTHING_KNOWN, [hours(5, 8), hours(12, 20)]) == [hours(5, 20)]
    assert expected(replace(NOTHING_KNOWN, wanted_from_ms=hour(1)), [hours(5, 8)]) == [hours(5, 8)]
    assert expected(NOTHING_KNOWN, []) == []


def test_a_listing_inside_a_candle_takes_that_candle_along() -> None:
    assert expected(SeriesBounds(hour(2.5), None), [hours(4, 8)]) == [hours(2, 8)]


def test_a_delisting_inside_a_candle_takes_that_candle_along() -> None:
    assert expected(SeriesBounds(hour(2), hour(9.5)), []) == [hours(2, 10)]


@pytest.mark.parametrize("is_active", [True, False])
def test_bounds_of_the_operator_are_taken_as_they_are(is_active: bool) -> None:
    bounds = SeriesBounds(hour(2), None, wanted_from_ms=hour(12), wanted_until_ms=hour(14), is_active=is_active)
    assert expected(bounds, [hours(12, 14)], hour(4), hour(9)) == [hours(4, 9)]
    assert expected(bounds, [hours(12, 14)], hour(4.5), hour(9.5)) == [hours(5, 10)]
    assert expected(bounds, [], hour(4), hour(9)) == [hours(4, 9)]


def test_bounds_of_the_operator_stay_inside_the_life_of_the_series() -> None:
    bounds = SeriesBounds(hour(6), hour(30))
    assert expected(bounds, [hours(8, 20)], hour(0), hour(35)) == [hours(6, 30)]
    assert expected(bounds, [hours(8, 20)], hour(31), hour(35)) == []
    assert expected(bounds, [hours(8, 20)], hour(0), hour(6)) == []


def test_with_a_start_alone_the_end_is_that_of_what_is_expected_anyway() -> None:
    assert expected(SeriesBounds(hour(2), None), [hours(8, 20)], start_ms=hour(15)) == [hours(15, 20)]
    assert expected(SeriesBounds(hour(2), hour(30)), [hours(8, 20)], start_ms=hour(15)) == [hours(15, 30)]
    assert expected(SeriesBounds(hour(2), None), [hours(8, 20)], start_ms=hour(25)) == []


def test_with_an_end_alone_the_start_is_that_of_what_is_expected_anyway() -> None:
    covered = [hours(8, 20)]
    assert expected(SeriesBounds(hour(2), None), covered, end_ms=hour(30)) == [hours(2, 30)]
    assert expected(SeriesBounds(hour(2), None, wanted_from_ms=hour(5)), covered, end_ms=hour(7)) == [hours(5, 7)]
    assert expected(SeriesBounds(hour(2), None, is_active=False), covered, end_ms=hour(15)) == [hours(8, 15)]


def test_an_empty_or_reversed_range_of_the_operator_expects_nothing() -> None:
    bounds = SeriesBounds(hour(2), None)
    assert expected(bounds, [hours(8, 20)], hour(9), hour(9)) == []
    assert expected(bounds, [hours(8, 20)], hour(12), hour(9)) == []


def test_what_was_fetched_before_a_later_listing_stays_expected_and_nothing_between_the_two() -> None:
    bounds, covered = SeriesBounds(hour(20), None), [hours(2, 9), hours(20, 30)]
    assert expected(bounds, covered) == covered
    assert expected(bounds, covered, hour(5), hour(25)) == [hours(5, 9), hours(20, 25)]
    assert earlier_listing(HOUR, bounds.listing, covered) == [hours(2, 9)]
    assert earlier_listing(HOUR, SeriesBounds(hour(20.5), None).listing, [hours(20, 30)]) == []
    assert earlier_listing(HOUR, ListingPeriod(), covered) == []


@pytest.mark.parametrize(("late_ms", "last"), [(-1, 9), (0, 10), (1, 10)])
def test_a_candle_that_has_not_closed_is_not_expected(late_ms: int, last: int) -> None:
    bounds, now_ms = SeriesBounds(hour(2), None), hour(10) + CLOSE_SETTLE_MS + late_ms
    assert expected(bounds, [hours(2, 5)], hour(3), hour(20), now_ms) == [hours(3, last)]


def test_the_candle_in_which_a_series_ended_is_not_expected_before_it_has_closed() -> None:
    # The last candle of a week: the symbol ended on Tuesday, the candle's end is next Monday.
    week, monday = INTERVALS["1w"], parse_time("2024-01-15")
    bounds = SeriesBounds(parse_time("2024-01-01"), week.add(monday, 1))
    covered = [Span(parse_time("2024-01-01"), monday)]
    wednesday = monday + 2 * MS_PER_DAY
    assert expected_in(week, bounds, covered, TimeRange(), wednesday) == covered
    assert expected_in(week, bounds, covered, TimeRange(parse_time("2024-01-08"), None), wednesday) == [
        Span(parse_time("2024-01-08"), monday)
    ]
    next_wednesday = wednesday + 7 * MS_PER_DAY
    assert expected_in(week, bounds, covered, TimeRange(), next_wednesday) == [
        Span(parse_time("2024-01-01"), week.add(monday, 1))
    ]


any_interval = st.sampled_from(sorted(INTERVALS)).map(INTERVALS.__getitem__)
slot_ranges = st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(1, 8)), max_size=4)
# A place is a slot's number and whether it is that slot's open time or a moment inside it.
places = st.tuples(st.integers(0, SLOTS), st.booleans())
maybe_places = st.none() | places
all_bounds = st.tuples(maybe_places, maybe_places, maybe_places, maybe_places)


class Grid:
    """Slots of one interval by number, from January 2020."""

    def __init__(self, interval: Interval) -> None:
        self.interval = interval
        self.first = interval.index(interval.ceil(parse_time("2020-01-01")))

    def open_of(self, number: int) -> int:
        return self.interval.open_of(self.first + number)

    def place(self, place: tuple[int, bool] | None) -> int | None:
        if place is None:
            return None
        number, is_inside = place
        return self.open_of(number) + (500 if is_inside else 0)

    def covered(self, ranges: list[tuple[int, int]]) -> list[Span]:
        return merge(Span(self.open_of(start), self.open_of(start + length)) for start, length in ranges)

    def numbers(self, spans: list[Span]) -> set[int]:
        return {
            index - self.first
            for span in spans
            for index in range(self.interval.index(span.start_ms), self.interval.index(span.end_ms))
        }

    def model(self, bounds: SeriesBounds, fetched: set[int], start: int | None, end: int | None, now: int) -> set[int]:
        """Return the numbers of the expected slots, slot by slot."""
        is_whole = start is None and end is None
        wanted_from, wanted_until = bounds.wanted_from_ms, bounds.wanted_until_ms
        lives_to_the_end = bounds.is_active and bounds.end_ms is not None

        def is_expected(number: int) -> bool:
            opens, closes = self.open_of(number), self.open_of(number + 1)
            is_listed = bounds.listing_ms is None or closes > bounds.listing_ms
            if not is_listed and number in fetched:  # when the ticker was another contract's
                is_asked = end is None or (opens < end and closes + CLOSE_SETTLE_MS <= now)
                return is_asked and (start is None or opens >= start)
            if not is_listed or (bounds.end_ms is not None and opens >= bounds.end_ms):
                return False
            if number in fetched and is_whole:
                return True
            if start is not None:
                begun = opens >= start and (bounds.listing_ms is None or closes > bounds.listing_ms)
            elif bounds.is_active and bounds.listing_ms is not None:
                begun = closes > bounds.listing_ms and (wanted_from is None or opens >= wanted_from)
            else:
                begun = any(other <= number for other in fetched)
            if end is not None:
                alive = bounds.end_ms is None or opens < bounds.end_ms
                goes_on = opens < end and alive and closes + CLOSE_SETTLE_MS <= now
            elif lives_to_the_end:
                goes_on = opens < bounds.end_ms and (wanted_until is None or opens < wanted_until)
            else:
                goes_on = any(other >= number for other in fetched)
            return begun and goes_on

        return {number for number in range(-1, SLOTS + 20) if is_expected(number)}


@given(any_interval, all_bounds, st.booleans(), slot_ranges, maybe_places, maybe_places, st.integers(0, 12))
def test_expected_slots_are_those_of_a_model_slot_by_slot(
    interval: Interval,
    life_and_wish: tuple[tuple[int, bool] | None, ...],
    is_active: bool,
    ranges: list[tuple[int, int]],
    start: tuple[int, bool] | None,
    end: tuple[int, bool] | None,
    later: int,
) -> None:
    grid = Grid(interval)
    bounds = SeriesBounds(*(grid.place(place) for place in life_and_wish), is_active=is_active)
    covered = grid.covered(ranges)
    start_ms, end_ms = grid.place(start), grid.place(end)
    now_ms = grid.open_of(SLOTS + 8 + later) + 1000  # when all that was fetched has closed
    found = expected_in(interval, bounds, covered, TimeRange(start_ms, end_ms), now_ms)
    assert grid.numbers(found) == grid.model(bounds, grid.numbers(covered), start_ms, end_ms, now_ms)
    assert found == merge(found)
    assert all(interval.floor(ms) == ms for span in found for ms in (span.start_ms, span.end_ms))


@given(any_interval, maybe_places, slot_ranges, st.integers(0, SLOTS), st.integers(0, SLOTS), st.integers(0, 10**9))
def test_ranges_of_the_operator_end_with_the_closed_candles(
    interval: Interval,
    listing: tuple[int, bool] | None,
    ranges: list[tuple[int, int]],
    start: int,
    now: int,
    inside_ms: int,
) -> None:
    grid = Grid(interval)
    now_ms = min(grid.open_of(now) + inside_ms, grid.open_of(now + 1) - 1)
    bounds = SeriesBounds(grid.place(listing), None)
    covered = grid.covered(ranges)
    found = expected_in(interval, bounds, covered, TimeRange(grid.open_of(start), grid.open_of(SLOTS)), now_ms)
    assert grid.numbers(found) == grid.model(
        bounds, grid.numbers(covered), grid.open_of(start), grid.open_of(SLOTS), now_ms
    )
    assert all(span.end_ms + CLOSE_SETTLE_MS <= now_ms for span in found)
