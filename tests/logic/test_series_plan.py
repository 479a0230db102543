"""When a plan reads the archive listing: only where a file would be worth using."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from stored_series import addresses_of

from core.archives import ArchiveIndex
from core.exchange_rules import guess_index
from core.listing import ListingPeriod
from core.plan import FetchOptions, make_plan, uses_archives
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.planning.listing import StoredCoverage
from logic.planning.series_plan import FetchPolicy, SeriesPlan, plan_series

BTC, HOURLY, MONTHLY = parse_series("BTCUSDT"), parse_series("BTCUSDT/1h"), parse_series("BTCUSDT/1M")
BEGIN_MS, NOW_MS = parse_time("2024-02-01"), parse_time("2024-04-20T12:00")


@pytest.fixture(scope="module")
def replay() -> Iterator[ReplayExchange]:
    store = CandleStore()
    for series in (BTC, HOURLY, MONTHLY):
        store.add(series, generate_series(series, Span(BEGIN_MS, NOW_MS), 1))
    with ReplayExchange(store, ReplayClock(NOW_MS, speed=0.0)) as exchange:
        yield exchange


def planned(
    replay: ReplayExchange,
    folder: Path,
    series: Series = BTC,
    covered: Sequence[Span] = (),
    allowed: AllowedSources = AllowedSources.AUTO,
) -> tuple[SeriesPlan, int]:
    """Return the plan of a series whose beginning is known, and how often an archive listing was read for it."""
    exchange = BinanceExchange(addresses_of(replay, folder), lambda _seconds: None, replay.clock.now_ms)
    symbols = exchange.open_market(series.market, None) if allowed.rest else None
    replay.clear_requests()
    stored = StoredCoverage(ListingPeriod(BEGIN_MS, None, "TRADING"), covered, NOW_MS)
    plan = plan_series(WantedSeries(series, BEGIN_MS), symbols, stored, exchange, FetchPolicy(allowed, chunk_days=1))
    return plan, replay.count("/bucket")


def to(end_ms: int) -> list[Span]:
    return [Span(BEGIN_MS, end_ms)]


def test_a_first_run_reads_the_listing_and_uses_files(replay: ReplayExchange, tmp_path: Path) -> None:
    plan, listings = planned(replay, tmp_path)
    assert listings > 0
    assert {chunk.source for chunk in plan.chunks} == {one for one in Source if one.gives_answers}
    assert plan.published.months


@pytest.mark.parametrize(
    "missing_ms", [MS_PER_MINUTE, MS_PER_HOUR, 6 * MS_PER_HOUR], ids=["a minute", "an hour", "six hours"]
)
def test_a_series_that_is_kept_up_costs_no_listing(replay: ReplayExchange, tmp_path: Path, missing_ms: int) -> None:
    plan, listings = planned(replay, tmp_path, covered=to(NOW_MS - missing_ms))
    assert {chunk.source for chunk in plan.chunks} <= {Source.REST}
    assert listings == 0


def test_a_range_whose_files_are_not_out_yet_costs_no_listing(replay: ReplayExchange, tmp_path: Path) -> None:
    plan, listings = planned(replay, tmp_path, covered=to(parse_time("2024-04-20")))
    assert [chunk.source for chunk in plan.chunks] == [Source.REST]
    assert listings == 0


def test_a_covered_series_costs_no_listing(replay: ReplayExchange, tmp_path: Path) -> None:
    plan, listings = planned(replay, tmp_path, covered=to(NOW_MS))
    assert (plan.chunks, listings) == ((), 0)


@pytest.mark.parametrize("series", [HOURLY, MONTHLY], ids=str)
def test_candles_that_a_page_or_two_hold_cost_no_listing(
    replay: ReplayExchange, tmp_path: Path, series: Series
) -> None:
    covered = to(NOW_MS - 20 * MS_PER_DAY) if series is HOURLY else ()
    plan, listings = planned(replay, tmp_path, series, covered)
    assert {chunk.source for chunk in plan.chunks} == {Source.REST}
    assert listings == 0


def test_rest_alone_costs_no_listing(replay: ReplayExchange, tmp_path: Path) -> None:
    plan, listings = planned(replay, tmp_path, allowed=AllowedSources.REST)
    assert {chunk.source for chunk in plan.chunks} == {Source.REST}
    assert listings == 0


@pytest.mark.parametrize("end", ["2024-04-20", "2024-04-20T11:00"])
def test_archives_alone_always_read_it(replay: ReplayExchange, tmp_path: Path, end: str) -> None:
    _, listings = planned(replay, tmp_path, covered=to(parse_time(end)), allowed=AllowedSources.ARCHIVE)
    assert listings > 0


def test_a_listing_that_cannot_be_read_is_replaced_by_a_guess(replay: ReplayExchange, tmp_path: Path) -> None:
    known, _ = planned(replay, tmp_path)
    replay.faults.add("/bucket", Answer(403), times=99)
    try:
        guessed, listings = planned(replay, tmp_path)
    finally:
        replay.faults.clear()
    assert listings > 0
    assert Source.ARCHIVE_MONTHLY in {chunk.source for chunk in guessed.chunks}
    assert guessed.chunks[0].span.start_ms == known.chunks[0].span.start_ms
    assert guessed.chunks[-1].span.end_ms == known.chunks[-1].span.end_ms


@pytest.mark.parametrize("code", ["1s", "1m", "5m", "1h", "4h", "1d", "3d", "1w", "1M"])
def test_whether_archives_are_used_is_what_the_plan_says(replay: ReplayExchange, tmp_path: Path, code: str) -> None:
    series = parse_series(f"BTCUSDT/{code}")
    exchange = BinanceExchange(addresses_of(replay, tmp_path), lambda _seconds: None, replay.clock.now_ms)
    options = FetchOptions(series, exchange.rules(series), AllowedSources.AUTO, chunk_days=1)
    interval, seen = series.interval, set()
    end_ms = interval.floor(NOW_MS)
    for hours in (1, 5, 24, 24 * 3, 24 * 12, 24 * 40, 24 * 75):
        start_ms = interval.floor(end_ms - hours * MS_PER_HOUR)
        if start_ms >= end_ms:
            continue
        uncovered = [Span(start_ms, end_ms)]
        published: ArchiveIndex = guess_index(options.rules, uncovered[0], NOW_MS)
        by_plan = any(chunk.period is not None for chunk in make_plan(options, uncovered, published).chunks)
        assert uses_archives(options, uncovered, published) is by_plan
        seen.add(by_plan)
    assert seen == ({True, False} if code in ("1s", "1m", "5m") else {False})
