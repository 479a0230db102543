"""When a series that should grow stands still."""

from __future__ import annotations

import pytest

from core.intervals import INTERVALS
from core.listing import UNLISTED, ListingPeriod
from core.ranges import TimeRange
from core.sources import Source
from core.staleness import NewestCoverage, is_stale
from core.times import MS_PER_MINUTE, parse_time

TRADING = ListingPeriod(0, status="TRADING")


def stale(
    code: str,
    until: str,
    now: str,
    source: Source = Source.REST,
    listing: ListingPeriod = TRADING,
    end_ms: int | None = None,
) -> bool:
    newest = NewestCoverage(parse_time(until), source)
    return is_stale(INTERVALS[code], listing, TimeRange(None, end_ms), newest, parse_time(now))


@pytest.mark.parametrize(
    ("code", "until", "fresh", "late"),
    [
        ("1s", "2024-03-01T10:00", "2024-03-02T10:00", "2024-03-02T10:01"),
        ("1m", "2024-03-01T10:00", "2024-03-02T10:01", "2024-03-02T10:02"),  # a run a day is enough
        ("1h", "2024-03-01T10:00", "2024-03-02T11:00", "2024-03-02T11:01"),
        ("1d", "2024-03-01", "2024-03-03", "2024-03-03T00:01"),
        ("1w", "2024-03-04", "2024-03-12", "2024-03-12T00:01"),
        ("1M", "2024-03-01", "2024-04-02", "2024-04-02T00:01"),
    ],
)
def test_a_series_stands_still_when_a_candle_that_closed_a_day_ago_lacks(
    code: str, until: str, fresh: str, late: str
) -> None:
    assert not stale(code, until, fresh)
    assert stale(code, until, late)
    assert stale(code, until, "2027-01-01")


def test_archives_come_late() -> None:
    assert not stale("1m", "2024-03-01", "2024-03-04", Source.ARCHIVE_DAILY)
    assert stale("1m", "2024-03-01", "2024-03-04T00:02", Source.ARCHIVE_DAILY)
    assert not stale("1d", "2024-03-01", "2024-03-05", Source.ARCHIVE_MONTHLY)
    assert stale("1d", "2024-03-01", "2024-03-05T00:01", Source.ARCHIVE_DAILY)
    assert not stale("1w", "2024-01-29", "2024-03-20", Source.ARCHIVE_MONTHLY)  # February's file comes in March
    assert stale("1w", "2024-01-29", "2024-03-24", Source.ARCHIVE_MONTHLY)


@pytest.mark.parametrize(
    "listing",
    [
        ListingPeriod(0, parse_time("2024-03-01"), "BREAK"),
        ListingPeriod(0, parse_time("2024-03-01"), UNLISTED),
        ListingPeriod(0, parse_time("2024-03-01"), "TRADING", dormant_checked_ms=1),
        ListingPeriod(None, None, "PENDING_TRADING", is_pending=True),
    ],
)
def test_a_symbol_that_has_ended_or_not_begun_does_not_stand_still(listing: ListingPeriod) -> None:
    assert not stale("1m", "2024-03-01", "2027-01-01", listing=listing)


def test_nor_does_one_that_has_reached_its_wanted_end() -> None:
    end_ms = parse_time("2024-03-01")
    assert not stale("1m", "2024-03-01", "2027-01-01", end_ms=end_ms)
    assert not stale("1M", "2024-04-01", "2027-01-01", end_ms=end_ms + MS_PER_MINUTE)  # its last candle is in
    assert stale("1m", "2024-02-29T23:59", "2027-01-01", end_ms=end_ms)


def test_a_machine_whose_clock_is_behind_sees_nothing_standing_still() -> None:
    assert not stale("1m", "2024-03-01", "2024-02-01")
