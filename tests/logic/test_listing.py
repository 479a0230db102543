"""When a symbol's candles begin and end, what is asked to learn it, and what is not asked again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from generated import generated_rows

from core.errors import SeriesError
from core.instrument import Market
from core.listing import UNLISTED, ListingPeriod
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from demo.candle_store import CandleStore, SymbolFacts
from demo.clock import ReplayClock
from demo.faults import AlterBody, AlterRows, Answer
from demo.server import ReplayExchange
from fetcher.addresses import ExchangeAddresses
from fetcher.binance.exchange import BinanceExchange
from fetcher.binance.rest import BinanceRest
from logic.planning.listing import StoredCoverage, resolve_listing
from logic.planning.series_plan import FetchPolicy, SeriesPlan, plan_series

NOW_MS = parse_time("2024-06-20T12:00")
LISTED_MS = parse_time("2024-03-05T06:00")
ENDED_MS = parse_time("2024-05-10T10:00")
WHOLE = Span(LISTED_MS, NOW_MS + 30 * MS_PER_DAY)
NOTATIONS = ("GONEUSDT/1h", "um:GONEUSDT/1h", "cm:GONEUSD_PERP/1h")
SPOT, UM, CM = map(parse_series, NOTATIONS)


@dataclass
class World:
    """A replay exchange, and runs against it that each begin with an empty head."""

    replay: ReplayExchange
    state_dir: Path

    def add(self, series: Series, start: int | str, end: int | str) -> None:
        span = Span(*(parse_time(ms) if isinstance(ms, str) else ms for ms in (start, end)))
        self.replay.store.add(series, generated_rows(series, span, 1))

    def say(self, series: Series, **facts: object) -> None:
        self.replay.store.set_facts(series.market, series.symbol, SymbolFacts(**facts))

    def exchange(self, market: Market) -> BinanceExchange:
        """Return an exchange whose market is open; requests are counted from here on."""
        addresses = ExchangeAddresses(
            dict.fromkeys(("spot", "um", "cm"), self.replay.url),
            self.replay.archive_url,
            self.replay.archive_list_url,
            weight_share=1.0,
            page_limit=None,
            workers=2,
            state_dir=self.state_dir,
        )
        exchange = BinanceExchange(addresses, lambda _seconds: None, self.replay.clock.now_ms)
        exchange.open_market(market, None)
        self.replay.clear_requests()
        return exchange

    def learn(
        self,
        series: Series,
        known: ListingPeriod | None = None,
        covered: Sequence[Span] = (),
        allowed: AllowedSources = AllowedSources.AUTO,
        times: tuple[str | None, str | None] = (None, None),
        last_candle_ms: int | None = None,
    ) -> ListingPeriod:
        exchange = self.exchange(series.market)
        symbols = exchange.open_market(series.market, None)
        wanted = WantedSeries(series, *(None if text is None else parse_time(text) for text in times))
        stored = StoredCoverage(known or ListingPeriod(), covered, last_candle_ms)
        return resolve_listing(wanted, symbols, stored, exchange, allowed)

    def asked(self) -> tuple[int, int]:
        """Return how many klines and how many archive listings were asked for."""
        return self.replay.count("/klines") - self.replay.count("/data/"), self.replay.count("/bucket")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = CandleStore()
    for notation in ("BTCUSDT/1h", "um:BTCUSDT/1h", "cm:BTCUSD_PERP/1h"):  # so that no market is empty
        series = parse_series(notation)
        store.add(series, generated_rows(series, Span(NOW_MS - MS_PER_DAY, NOW_MS), 9))
    with ReplayExchange(store, ReplayClock(NOW_MS, speed=0.0)) as replay:
        yield World(replay, tmp_path)


@pytest.fixture
def delisted(world: World) -> World:
    for series in (SPOT, UM, CM):
        world.add(series, LISTED_MS, ENDED_MS)
        world.say(series, status="BREAK" if series is SPOT else "CLOSE", delivery_ms=ENDED_MS + 5 * MS_PER_HOUR)
    return world


@pytest.fixture
def dormant(world: World) -> World:
    """Listed as trading, without a candle for six weeks."""
    for series in (SPOT, UM, CM):
        world.add(series, LISTED_MS, ENDED_MS)
    return world


@pytest.fixture
def unlisted(world: World) -> World:
    for series in (SPOT, UM, CM):
        world.add(series, LISTED_MS, ENDED_MS)
        world.say(series, listed=False)
    return world


def status_of(series: Series) -> str:
    return "BREAK" if series is SPOT else "CLOSE"


def to(end_ms: int) -> list[Span]:
    return [Span(LISTED_MS, end_ms)]


EACH = pytest.mark.parametrize("series", [SPOT, UM, CM], ids=NOTATIONS)
DORMANCY = (
    "no candle since 2024-05-10T10:00Z although the exchange lists it as TRADING; "
    "it counts as delisted and is asked about once a week"
)


def assert_dormant(period: ListingPeriod, asked_ms: int, status: str = "TRADING", notes: tuple[str, ...] = ()) -> None:
    """Assert that it is dormant since ENDED_MS and that this was asked at `asked_ms`, but for the run's own time."""
    assert period.dormant_checked_ms is not None
    assert asked_ms <= period.dormant_checked_ms < asked_ms + MS_PER_MINUTE
    assert replace(period, dormant_checked_ms=None) == ListingPeriod(LISTED_MS, ENDED_MS, status, notes=notes)


class TestTheListing:
    @EACH
    def test_is_the_exchanges_first_candle_and_not_the_first_wanted_one(self, world: World, series: Series) -> None:
        world.add(series, LISTED_MS, NOW_MS)
        assert world.learn(series, times=("2024-06-18", None)) == ListingPeriod(LISTED_MS, None, "TRADING")

    @EACH
    def test_is_asked_for_once(self, world: World, series: Series) -> None:
        world.add(series, LISTED_MS, NOW_MS)
        known = ListingPeriod(LISTED_MS, None, "TRADING")
        assert world.learn(series, known, to(NOW_MS - MS_PER_DAY)).first_ms == LISTED_MS
        assert world.asked() == (0, 0)

    @EACH
    def test_and_the_last_candle_are_asked_for_at_once_with_no_more_requests(
        self, world: World, series: Series, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.add(series, LISTED_MS, NOW_MS)
        period = ListingPeriod(LISTED_MS, None, "TRADING")
        assert world.learn(series) == period
        one_after_the_other = world.asked()
        meeting, really_find = threading.Barrier(2, timeout=10), BinanceRest._ask_all

        def find(*words: Any) -> Any:
            meeting.wait()  # broken when one is asked for after the other
            return really_find(*words)

        monkeypatch.setattr(BinanceRest, "_ask_all", find)
        assert world.learn(series, times=("2024-03-01", None)) == period
        if series is SPOT:
            assert world.asked() == one_after_the_other

    @EACH
    def test_of_a_short_range_the_last_candle_is_not_asked_for(self, world: World, series: Series) -> None:
        world.add(series, LISTED_MS, NOW_MS)
        world.learn(series, times=("2024-06-18", None))
        assert not any("startTime" not in one.params for one in world.replay.requests if "/klines" in one.path)

    def test_there_is_none_before_trading_begins(self, world: World) -> None:
        world.add(SPOT, NOW_MS + MS_PER_DAY, NOW_MS + 2 * MS_PER_DAY)
        world.say(SPOT, status="PRE_TRADING")
        assert world.learn(SPOT) == ListingPeriod(None, None, "PRE_TRADING", is_pending=True)
        assert world.asked() == (0, 0)

    def test_a_symbol_without_any_candle_is_an_error(self, world: World) -> None:
        world.add(SPOT, NOW_MS + MS_PER_DAY, NOW_MS + 2 * MS_PER_DAY)
        with pytest.raises(SeriesError, match=r"lists the symbol \(TRADING\) but has no candle of it by REST"):
            world.learn(SPOT)


class TestAnEndThatTheExchangeSays:
    @EACH
    def test_is_the_end_of_the_last_candle(self, delisted: World, series: Series) -> None:
        assert delisted.learn(series) == ListingPeriod(LISTED_MS, ENDED_MS, status_of(series))

    @pytest.mark.parametrize("series", [UM, CM], ids=NOTATIONS[1:])
    def test_may_be_a_delivery_date_alone(self, delisted: World, series: Series) -> None:
        delisted.say(series, status="TRADING", delivery_ms=NOW_MS)
        assert delisted.learn(series) == ListingPeriod(LISTED_MS, ENDED_MS, "TRADING")

    @pytest.mark.parametrize("series", [UM, CM], ids=NOTATIONS[1:])
    def test_is_not_reached_before_the_delivery_date(self, world: World, series: Series) -> None:
        world.add(series, WHOLE.start_ms, WHOLE.end_ms)
        world.say(series, status="TRADING", delivery_ms=NOW_MS + MS_PER_HOUR)
        assert world.learn(series).end_ms is None

    @EACH
    def test_once_known_and_covered_is_asked_for_no_more(self, delisted: World, series: Series) -> None:
        known = ListingPeriod(LISTED_MS, ENDED_MS, status_of(series))
        assert delisted.learn(series, known, to(ENDED_MS)) == ListingPeriod(LISTED_MS, ENDED_MS, status_of(series))
        assert delisted.asked() == (0, 0)

    @EACH
    @pytest.mark.parametrize(
        ("status", "covered_to", "days_later"),
        [
            ("TRADING", ENDED_MS, 100),  # the status has changed since
            (None, ENDED_MS, 100),  # the other one's as well
            ("same", ENDED_MS - MS_PER_HOUR, 100),  # its last candle is not stored yet
            ("same", ENDED_MS, 6),  # the exchange may still add candles
        ],
    )
    def test_is_asked_for_again_while_it_may_change(
        self, delisted: World, series: Series, status: str | None, covered_to: int, days_later: int
    ) -> None:
        delisted.replay.clock.advance(ENDED_MS + days_later * MS_PER_DAY - NOW_MS)
        known = ListingPeriod(LISTED_MS, ENDED_MS, status_of(series) if status == "same" else status)
        assert delisted.learn(series, known, to(covered_to)).end_ms == ENDED_MS
        assert delisted.asked()[0] == 2

    def test_a_wanted_range_that_ends_earlier_needs_no_more_than_that(self, delisted: World) -> None:
        known = ListingPeriod(LISTED_MS, ENDED_MS, "BREAK")
        assert delisted.learn(SPOT, known, to(parse_time("2024-04-01")), times=(None, "2024-04-01")).end_ms == ENDED_MS
        assert delisted.learn(SPOT, known, (), times=("2024-06-01", None)).end_ms == ENDED_MS
        assert delisted.asked() == (0, 0)

    def test_a_candle_that_came_late_moves_it(self, delisted: World) -> None:
        delisted.replay.clock.advance(ENDED_MS + 2 * MS_PER_DAY - NOW_MS)
        delisted.add(SPOT, ENDED_MS, ENDED_MS + MS_PER_HOUR)
        known = ListingPeriod(LISTED_MS, ENDED_MS, "BREAK")
        assert delisted.learn(SPOT, known, to(ENDED_MS)).end_ms == ENDED_MS + MS_PER_HOUR

    @EACH
    def test_is_lost_when_the_status_returns_to_trading(self, world: World, series: Series) -> None:
        world.add(series, LISTED_MS, ENDED_MS)
        world.add(series, NOW_MS - MS_PER_DAY, NOW_MS)
        known = ListingPeriod(LISTED_MS, ENDED_MS, status_of(series))
        assert world.learn(series, known, to(ENDED_MS)) == ListingPeriod(LISTED_MS, None, "TRADING")

    @EACH
    def test_an_exchange_that_has_no_candle_any_more_changes_nothing(self, delisted: World, series: Series) -> None:
        delisted.replay.faults.add("/klines", AlterRows(lambda rows: []), times=99)
        known = ListingPeriod(LISTED_MS, ENDED_MS, status_of(series))
        assert delisted.learn(series, known).end_ms == ENDED_MS


class TestADormantSymbol:
    @EACH
    @pytest.mark.parametrize("covered", [to(ENDED_MS), ()], ids=["stored", "new"])
    def test_has_ended_though_it_is_listed_as_trading(
        self, dormant: World, series: Series, covered: Sequence[Span]
    ) -> None:
        known = ListingPeriod(LISTED_MS, None, "TRADING") if covered else None
        assert_dormant(dormant.learn(series, known, covered), NOW_MS)

    @pytest.mark.parametrize("hours_more", [0, 1])
    def test_is_given_seven_days(self, dormant: World, hours_more: int) -> None:
        dormant.replay.clock.advance(ENDED_MS + 7 * MS_PER_DAY + hours_more * MS_PER_HOUR - NOW_MS)
        dormant.replay.clock.advance(10_000)
        found = dormant.learn(SPOT, ListingPeriod(LISTED_MS, None, "TRADING"), to(ENDED_MS)).end_ms
        assert (found is None) == (hours_more == 0)

    @pytest.mark.parametrize(("weeks", "is_dormant"), [(2, False), (3, False), (4, True)])
    def test_is_given_three_candles(self, world: World, weeks: int, is_dormant: bool) -> None:
        weekly = parse_series("GONEUSDT/1w")
        last_ms = weekly.interval.floor(NOW_MS) - (weeks + 1) * 7 * MS_PER_DAY
        world.add(weekly, "2024-01-01", last_ms + 1)
        period = world.learn(weekly)
        assert (period.end_ms == last_ms + 7 * MS_PER_DAY) is is_dormant

    def test_is_not_suspected_when_it_is_kept_up(self, world: World) -> None:
        world.add(SPOT, LISTED_MS, NOW_MS)
        known = ListingPeriod(LISTED_MS, None, "TRADING")
        period = world.learn(SPOT, known, to(NOW_MS - 5 * MS_PER_DAY), last_candle_ms=NOW_MS - 6 * MS_PER_DAY)
        assert period.end_ms is None
        assert world.asked() == (0, 0)

    def test_is_not_suspected_over_a_short_range(self, world: World) -> None:
        world.add(SPOT, LISTED_MS, NOW_MS)
        assert world.learn(SPOT, ListingPeriod(LISTED_MS), times=("2024-06-14", None)).end_ms is None
        assert world.learn(SPOT, ListingPeriod(LISTED_MS), times=(None, "2024-03-11")).end_ms is None
        assert world.asked() == (0, 0)

    def test_is_not_suspected_when_nothing_is_left_to_fetch(self, world: World) -> None:
        world.add(SPOT, LISTED_MS, NOW_MS)
        known = ListingPeriod(LISTED_MS, None, "TRADING")
        covered = to(parse_time("2024-05-01"))
        period = world.learn(SPOT, known, covered, times=(None, "2024-05-01"), last_candle_ms=LISTED_MS)
        assert period.end_ms is None
        assert world.asked() == (0, 0)

    @EACH
    def test_is_told_from_one_that_lags(self, world: World, series: Series) -> None:
        world.add(series, LISTED_MS, NOW_MS - 3 * MS_PER_DAY)
        known = ListingPeriod(LISTED_MS, None, "TRADING")
        assert world.learn(series, known, to(parse_time("2024-05-01"))) == ListingPeriod(LISTED_MS, None, "TRADING")
        assert world.asked()[0] == 2

    def test_is_found_though_its_empty_slots_count_as_covered(self, dormant: World) -> None:
        """A run every day covers, one by one, the days that have no candle."""
        known = ListingPeriod(LISTED_MS, None, "TRADING")
        period = dormant.learn(SPOT, known, to(NOW_MS - MS_PER_DAY), last_candle_ms=ENDED_MS - MS_PER_HOUR)
        assert period.end_ms == ENDED_MS

    @pytest.mark.parametrize("last_ms", [-(10**30), 10**30])
    def test_a_senseless_state_file_does_no_harm(self, dormant: World, last_ms: int) -> None:
        monthly = parse_series("GONEUSDT/1M")
        dormant.add(monthly, "2023-01-01", "2024-05-01")
        known = ListingPeriod(parse_time("2023-01-01"), None, "TRADING")
        covered = [Span(parse_time("2023-01-01"), parse_time("2024-05-01"))]
        dormant.learn(monthly, known, covered, last_candle_ms=last_ms)

    KNOWN = ListingPeriod(LISTED_MS, ENDED_MS, "TRADING", dormant_checked_ms=NOW_MS)

    @EACH
    @pytest.mark.parametrize("covered_to", [ENDED_MS, NOW_MS - MS_PER_DAY])
    def test_is_asked_about_once_a_week(self, dormant: World, series: Series, covered_to: int) -> None:
        week_ms = 7 * MS_PER_DAY
        for later_ms in (*range(0, week_ms, MS_PER_DAY), week_ms - MS_PER_MINUTE):
            dormant.replay.clock.set(NOW_MS + later_ms)
            period = dormant.learn(series, self.KNOWN, to(covered_to))
            assert period == ListingPeriod(LISTED_MS, ENDED_MS, "TRADING", dormant_checked_ms=NOW_MS)
            assert dormant.asked() == (0, 0), later_ms
        dormant.replay.clock.set(NOW_MS + week_ms)
        assert_dormant(dormant.learn(series, self.KNOWN, to(covered_to)), NOW_MS + week_ms)
        assert dormant.asked() == (2, 0)

    def test_is_asked_about_when_that_was_last_done_in_the_future(self, dormant: World) -> None:
        known = replace(self.KNOWN, dormant_checked_ms=NOW_MS + MS_PER_DAY)
        assert_dormant(dormant.learn(SPOT, known, to(ENDED_MS)), NOW_MS)
        assert dormant.asked() == (2, 0)

    @EACH
    def test_may_come_back(self, dormant: World, series: Series) -> None:
        dormant.add(series, NOW_MS + 5 * MS_PER_DAY, NOW_MS + 9 * MS_PER_DAY)
        dormant.replay.clock.advance(8 * MS_PER_DAY)
        assert dormant.learn(series, self.KNOWN, to(ENDED_MS)) == ListingPeriod(LISTED_MS, None, "TRADING")

    def test_is_asked_about_when_it_is_not_known_when_that_was_last_done(self, dormant: World) -> None:
        known = ListingPeriod(LISTED_MS, ENDED_MS, "TRADING")
        assert_dormant(dormant.learn(SPOT, known, to(ENDED_MS)), NOW_MS)

    def test_is_asked_about_when_its_status_has_changed(self, dormant: World) -> None:
        dormant.say(UM, status="PRE_DELIVERING")
        known = replace(self.KNOWN, dormant_checked_ms=NOW_MS - MS_PER_DAY)
        assert_dormant(dormant.learn(UM, known, to(ENDED_MS)), NOW_MS, "PRE_DELIVERING")
        assert dormant.asked() == (2, 0)

    def test_keeps_its_end_in_a_run_that_has_nothing_to_fetch(self, dormant: World) -> None:
        dormant.replay.clock.advance(30 * MS_PER_DAY)
        covered = to(parse_time("2024-05-01"))
        period = dormant.learn(SPOT, self.KNOWN, covered, times=(None, "2024-04-01"))
        assert period == ListingPeriod(LISTED_MS, ENDED_MS, "TRADING", dormant_checked_ms=NOW_MS)
        assert dormant.asked() == (0, 0)

    @pytest.mark.parametrize("listing_ms", [LISTED_MS, None])
    def test_whose_status_says_so_at_last_is_dormant_no_more(self, dormant: World, listing_ms: int | None) -> None:
        dormant.say(SPOT, status="BREAK")
        known = replace(self.KNOWN, first_ms=listing_ms)
        assert dormant.learn(SPOT, known, to(ENDED_MS)) == ListingPeriod(LISTED_MS, ENDED_MS, "BREAK")

    def test_that_waits_for_trading_to_begin_is_dormant_no_more(self, dormant: World) -> None:
        dormant.say(SPOT, status="PRE_TRADING")
        assert dormant.learn(SPOT, self.KNOWN, to(ENDED_MS)) == ListingPeriod(
            None, ENDED_MS, "PRE_TRADING", is_pending=True
        )


class TestAnUnlistedSymbol:
    @EACH
    def test_reaches_from_the_first_archived_candle_to_the_last(self, unlisted: World, series: Series) -> None:
        assert unlisted.learn(series) == ListingPeriod(LISTED_MS, ENDED_MS, UNLISTED)
        zips = [r.path for r in unlisted.replay.requests if r.path.endswith(".zip")]
        assert len(zips) == 2
        assert unlisted.asked()[0] == 0

    @EACH
    def test_is_planned_from_archives_between_these_bounds(self, unlisted: World, series: Series) -> None:
        plan = plan_of(unlisted, series)
        assert plan.span == Span(LISTED_MS, ENDED_MS)
        assert (plan.chunks[0].span.start_ms, plan.chunks[-1].span.end_ms) == (LISTED_MS, ENDED_MS)
        assert {chunk.source for chunk in plan.chunks} <= {Source.ARCHIVE_MONTHLY, Source.ARCHIVE_DAILY}
        assert plan.unserved == ()

    @pytest.mark.parametrize("code", ["1m", "1d", "1M"])
    def test_whatever_the_interval(self, world: World, code: str) -> None:
        series = parse_series(f"OLDUSDT/{code}")
        span = Span(series.interval.floor(LISTED_MS), series.interval.floor(ENDED_MS))
        world.add(series, span.start_ms, span.end_ms)
        world.say(series, listed=False)
        assert world.learn(series) == ListingPeriod(span.start_ms, span.end_ms, UNLISTED)

    def test_that_lived_for_days_only_has_no_monthly_file(self, world: World) -> None:
        series = parse_series("BRIEFUSDT/1h")
        world.add(series, "2024-06-08T07:00", "2024-06-11T03:00")
        world.say(series, listed=False)
        period = world.learn(series)
        assert (period.first_ms, period.end_ms) == (parse_time("2024-06-08T07:00"), parse_time("2024-06-11T03:00"))

    @EACH
    @pytest.mark.parametrize("covered", [to(ENDED_MS), ()])
    def test_once_known_costs_nothing(self, unlisted: World, series: Series, covered: Sequence[Span]) -> None:
        known = ListingPeriod(LISTED_MS, ENDED_MS, UNLISTED)
        assert unlisted.learn(series, known, covered) == ListingPeriod(LISTED_MS, ENDED_MS, UNLISTED)
        assert unlisted.replay.requests == []

    def test_known_and_covered_needs_no_plan_and_no_listing(self, unlisted: World) -> None:
        plan = plan_of(unlisted, SPOT, ListingPeriod(LISTED_MS, ENDED_MS, UNLISTED), to(ENDED_MS))
        assert plan.chunks == ()
        assert unlisted.replay.requests == []

    def test_of_which_one_young_file_is_left_is_planned_whole(self, world: World) -> None:
        """The file is younger than what would be guessed to be there."""
        ended_ms = parse_time("2024-06-19T10:00")
        world.add(SPOT, LISTED_MS, ended_ms)
        world.say(SPOT, listed=False)
        plan = plan_of(world, SPOT, None, to(parse_time("2024-06-19")))
        assert [chunk.span for chunk in plan.chunks] == [Span(parse_time("2024-06-19"), ended_ms)]
        assert plan.unserved == ()

    def test_is_looked_up_again_while_its_last_archives_may_be_on_their_way(self, unlisted: World) -> None:
        unlisted.replay.clock.advance(ENDED_MS + 11 * MS_PER_DAY - NOW_MS)
        earlier = ENDED_MS - 2 * MS_PER_DAY
        known = ListingPeriod(LISTED_MS, earlier, UNLISTED)
        assert unlisted.learn(SPOT, known, to(earlier)).end_ms == ENDED_MS
        assert len([r for r in unlisted.replay.requests if r.path.endswith(".zip")]) == 1  # its first is known

    def test_that_was_delisted_and_complete_before_needs_no_archive(self, unlisted: World) -> None:
        for status, asked_ms in (("BREAK", None), ("TRADING", NOW_MS)):
            known = ListingPeriod(LISTED_MS, ENDED_MS, status, dormant_checked_ms=asked_ms)
            assert unlisted.learn(SPOT, known, to(ENDED_MS)) == ListingPeriod(LISTED_MS, ENDED_MS, UNLISTED)
            assert unlisted.replay.requests == []

    def test_that_was_trading_keeps_its_listing(self, unlisted: World) -> None:
        earlier = LISTED_MS - 5 * MS_PER_DAY
        period = unlisted.learn(SPOT, ListingPeriod(earlier, None, "TRADING"), to(ENDED_MS))
        assert period == ListingPeriod(earlier, ENDED_MS, UNLISTED)

    @EACH
    def test_comes_back_when_it_is_listed_again(self, unlisted: World, series: Series) -> None:
        unlisted.say(series)
        unlisted.add(series, ENDED_MS, NOW_MS)
        period = unlisted.learn(series, ListingPeriod(LISTED_MS, ENDED_MS, UNLISTED), to(ENDED_MS))
        assert period == ListingPeriod(LISTED_MS, None, "TRADING")

    @EACH
    def test_by_rest_alone_is_unknown(self, unlisted: World, series: Series) -> None:
        with pytest.raises(SeriesError, match=rf"market {series.market} has no symbol {series.symbol}.*; correct"):
            unlisted.learn(series, allowed=AllowedSources.REST)
        assert unlisted.replay.requests == []

    @pytest.mark.parametrize("notation", ["BTCUSDTT", "um:BTCUSDTT"])
    def test_a_typing_error_costs_two_listing_requests(self, world: World, notation: str) -> None:
        expected = r"has no symbol BTCUSDTT \(did you mean BTCUSDT\?\), and the archives hold no file of it; correct"
        with pytest.raises(SeriesError, match=expected):
            world.learn(parse_series(f"{notation}/1h"))
        assert world.asked() == (0, 2)
        assert len(world.replay.requests) == 2

    def test_archives_that_cannot_be_asked_are_named(self, unlisted: World) -> None:
        unlisted.replay.faults.add("/bucket", Answer(403), times=9)
        with pytest.raises(SeriesError, match="has no symbol GONEUSDT.*whether the archives hold it is not known.*403"):
            unlisted.learn(SPOT)

    @pytest.mark.parametrize("file", ["2024-03.zip", "2024-05-10.zip", "2024-05.zip"])
    def test_a_first_or_last_file_that_is_damaged_is_an_error_and_not_a_guess(self, unlisted: World, file: str) -> None:
        unlisted.replay.faults.add(file, AlterBody(lambda body: body[:40]), times=99)
        if file == "2024-05-10.zip":  # before the month's file is there
            unlisted.replay.clock.advance(parse_time("2024-05-25") - NOW_MS)
        with pytest.raises(SeriesError, match="no longer lists the symbol, and the archive of .* cannot be used"):
            unlisted.learn(SPOT)


def plan_of(
    world: World, series: Series, known: ListingPeriod | None = None, covered: Sequence[Span] = ()
) -> SeriesPlan:
    exchange = world.exchange(series.market)
    symbols = exchange.open_market(series.market, None)
    stored = StoredCoverage(known or ListingPeriod(), covered)
    policy = FetchPolicy(AllowedSources.AUTO, chunk_days=1)
    return plan_series(WantedSeries(series), symbols, stored, exchange, policy)


class TestATickerUsedBefore:
    NOTE = "ticker used before: the archives also hold GONEUSDTSETTLED, GONEUSDT_SETTLED"

    @pytest.fixture
    def settled(self, world: World) -> World:
        for notation in ("um:GONEUSDTSETTLED/1h", "um:GONEUSDT_SETTLED/1d", "GONEUSDTSETTLED/1h"):
            series = parse_series(notation)
            world.add(series, "2023-01-01", "2023-03-01")
            world.say(series, listed=False)
        for series in (SPOT, UM):
            world.add(series, LISTED_MS, NOW_MS)
        return world

    def test_is_noted_with_the_first_plan(self, settled: World) -> None:
        assert settled.learn(UM) == ListingPeriod(LISTED_MS, None, "TRADING", notes=(self.NOTE,))
        assert settled.asked()[1] == 1

    def test_stays_noted_and_is_not_asked_for_again(self, settled: World) -> None:
        period = settled.learn(
            UM, ListingPeriod(LISTED_MS, None, "TRADING", notes=(self.NOTE,)), to(NOW_MS - MS_PER_DAY)
        )
        assert period.notes == (self.NOTE,)
        assert settled.learn(UM, ListingPeriod(LISTED_MS, None, "TRADING"), to(NOW_MS - MS_PER_DAY)).notes == ()
        assert settled.replay.requests == []

    def test_is_not_looked_for_by_rest_alone_nor_on_spot(self, settled: World) -> None:
        assert settled.learn(UM, allowed=AllowedSources.REST).notes == ()
        assert settled.asked()[1] == 0
        assert settled.learn(SPOT).notes == ()
        assert settled.asked()[1] == 0

    def test_that_cannot_be_looked_for_is_no_failure(self, settled: World) -> None:
        settled.replay.faults.add("/bucket", Answer(403), times=9)
        assert settled.learn(UM) == ListingPeriod(LISTED_MS, None, "TRADING")

    def test_of_an_unlisted_symbol_is_noted_as_well(self, settled: World) -> None:
        settled.say(UM, listed=False)
        assert settled.learn(UM).notes == (self.NOTE,)


class TestATickerUsedAgain:
    """The exchange answers an earlier listing's candles under the same name."""

    FUTURES = pytest.mark.parametrize("series", [UM, CM], ids=NOTATIONS[1:])
    BEFORE = Span(parse_time("2023-05-01"), parse_time("2023-09-01"))
    NOTE = "ticker reused: candles before 2024-03-05T06:00Z belong to an earlier listing and are not fetched"

    def store(self, world: World, series: Series, before_end: int | None = None, onboard_ms: int = LISTED_MS) -> None:
        world.add(series, self.BEFORE.start_ms, before_end or self.BEFORE.end_ms)
        world.add(series, LISTED_MS, NOW_MS)
        world.say(series, onboard_ms=onboard_ms)

    @FUTURES
    def test_begins_with_its_own_listing(self, world: World, series: Series) -> None:
        self.store(world, series)
        assert world.learn(series) == ListingPeriod(LISTED_MS, None, "TRADING", notes=(self.NOTE,))

    @FUTURES
    def test_begins_with_the_first_candle_behind_an_onboard_date(self, world: World, series: Series) -> None:
        """The date is not on the grid, and trading began hours later."""
        self.store(world, series, onboard_ms=LISTED_MS - 5 * MS_PER_HOUR - 1)
        period = world.learn(series)
        assert period.first_ms == LISTED_MS
        assert "before 2024-03-05T00:59:59.999Z" in period.notes[0]

    @FUTURES
    def test_is_not_asked_about_again(self, world: World, series: Series) -> None:
        self.store(world, series)
        known = ListingPeriod(LISTED_MS, None, "TRADING", notes=(self.NOTE,))
        assert world.learn(series, known, to(NOW_MS - MS_PER_DAY)).notes == (self.NOTE,)
        assert world.asked() == (0, 0)

    def test_candles_up_to_the_onboard_date_are_the_same_listings(self, world: World) -> None:
        """BTCUSDT on USD-M: onboard date 2019-09-25, candles from 2019-09-08 without a break."""
        series = parse_series("um:BTCUSDT/1h")
        first_ms = parse_time("2019-09-08T17:00")
        world.replay.store.remove(series, WHOLE)
        world.add(series, first_ms, "2019-11-08")
        world.say(series, onboard_ms=parse_time("2019-09-25T08:00"))
        period = world.learn(series)
        assert period.first_ms == first_ms
        assert not any("reused" in note for note in period.notes)

    @FUTURES
    def test_a_break_that_ended_a_day_before_the_onboard_date_is_enough_to_be_the_same(
        self, world: World, series: Series
    ) -> None:
        self.store(world, series, before_end=LISTED_MS - 23 * MS_PER_HOUR)
        assert world.learn(series) == ListingPeriod(self.BEFORE.start_ms, None, "TRADING")
        world.replay.store.remove(series, Span(LISTED_MS - MS_PER_DAY, LISTED_MS))
        assert world.learn(series) == ListingPeriod(LISTED_MS, None, "TRADING", notes=(self.NOTE,))

    @FUTURES
    @pytest.mark.parametrize("days", [6, 7])
    def test_an_onboard_date_of_some_days_later_is_the_same_listing(
        self, world: World, series: Series, days: int
    ) -> None:
        world.add(series, LISTED_MS - days * MS_PER_DAY, LISTED_MS - days * MS_PER_DAY + MS_PER_HOUR)
        world.add(series, LISTED_MS, NOW_MS)
        world.say(series, onboard_ms=LISTED_MS)
        assert world.learn(series) == ListingPeriod(LISTED_MS - days * MS_PER_DAY, None, "TRADING")

    @FUTURES
    @pytest.mark.parametrize("code", ["3d", "1w", "1M"])
    def test_a_bucket_that_opens_before_the_onboard_date_is_the_same_listing(
        self, world: World, series: Series, code: str
    ) -> None:
        longer = parse_series(f"{series.market}:{series.symbol}/{code}")
        onboard_ms = parse_time("2024-03-29")
        world.add(longer, longer.interval.floor(onboard_ms), NOW_MS)
        world.say(longer, onboard_ms=onboard_ms)
        assert world.learn(longer) == ListingPeriod(longer.interval.floor(onboard_ms), None, "TRADING")

    @FUTURES
    @pytest.mark.parametrize("onboard", ["2024-06-19", "2024-06-21"])
    def test_without_a_candle_behind_the_onboard_date_nothing_is_cut_off(
        self, world: World, series: Series, onboard: str
    ) -> None:
        world.add(series, self.BEFORE.start_ms, self.BEFORE.end_ms)
        world.say(series, status="CLOSE", onboard_ms=parse_time(onboard))
        assert world.learn(series) == ListingPeriod(self.BEFORE.start_ms, self.BEFORE.end_ms, "CLOSE")

    @FUTURES
    @pytest.mark.parametrize("status", ["CLOSE", UNLISTED])
    def test_after_a_known_end_it_is_another_listing(self, world: World, series: Series, status: str) -> None:
        self.store(world, series)
        known = ListingPeriod(self.BEFORE.start_ms, self.BEFORE.end_ms, status)
        period = world.learn(series, known, [self.BEFORE])
        note = f"{self.NOTE.removesuffix(' and are not fetched')} (what is stored of them stays)"
        assert period == ListingPeriod(LISTED_MS, None, "TRADING", notes=(note,))
        again = world.learn(
            series, ListingPeriod(LISTED_MS, None, "TRADING", notes=(note,)), [self.BEFORE, *to(NOW_MS - 1)]
        )
        assert again == period

    @FUTURES
    def test_what_is_known_of_its_end_outlives_the_time_before_trading(self, world: World, series: Series) -> None:
        self.store(world, series)
        world.say(series, status="PENDING_TRADING", onboard_ms=NOW_MS + MS_PER_DAY)
        known = ListingPeriod(self.BEFORE.start_ms, self.BEFORE.end_ms, "CLOSE", notes=("a word by hand",))
        period = world.learn(series, known, [self.BEFORE])
        assert period == ListingPeriod(
            None, self.BEFORE.end_ms, "PENDING_TRADING", is_pending=True, notes=("a word by hand",)
        )


class TestNotes:
    @pytest.fixture
    def warned(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        caplog.set_level(logging.WARNING, "logic.planning.listing")

        def taken() -> list[str]:
            messages = [record.getMessage() for record in caplog.records if record.name == "logic.planning.listing"]
            caplog.clear()
            return messages

        return taken

    def test_a_dormancy_is_told_once(self, dormant: World, warned: Callable[[], list[str]]) -> None:
        known = dormant.learn(SPOT)
        assert warned() == [f"GONEUSDT/1h: {DORMANCY}"]
        dormant.learn(SPOT, known, to(ENDED_MS))
        dormant.replay.clock.advance(8 * MS_PER_DAY)
        assert_dormant(dormant.learn(SPOT, known, to(ENDED_MS)), NOW_MS + 8 * MS_PER_DAY)
        assert warned() == []

    def test_another_dormancy_is_told_again(self, dormant: World, warned: Callable[[], list[str]]) -> None:
        """There were candles since, between two questions; or the exchange says something else of it."""
        earlier = ListingPeriod(
            LISTED_MS, ENDED_MS - 20 * MS_PER_DAY, "TRADING", dormant_checked_ms=NOW_MS - 8 * MS_PER_DAY
        )
        dormant.learn(SPOT, earlier, to(ENDED_MS - 20 * MS_PER_DAY))
        assert warned() == [f"GONEUSDT/1h: {DORMANCY}"]
        dormant.say(UM, status="PRE_DELIVERING")
        dormant.learn(UM, ListingPeriod(LISTED_MS, ENDED_MS, "TRADING", dormant_checked_ms=NOW_MS), to(ENDED_MS))
        assert warned() == [f"um:GONEUSDT/1h: {DORMANCY.replace('TRADING', 'PRE_DELIVERING')}"]

    def test_a_symbol_that_is_unlisted_is_told_once(self, unlisted: World, warned: Callable[[], list[str]]) -> None:
        period = unlisted.learn(SPOT)
        assert warned() == ["GONEUSDT/1h: the exchange no longer lists the symbol; only the archives are used"]
        unlisted.learn(SPOT, ListingPeriod(period.first_ms, period.end_ms, period.status), to(ENDED_MS))
        assert warned() == []

    def test_by_hand_stay_whatever_comes_and_goes(self, dormant: World, warned: Callable[[], list[str]]) -> None:
        note = "ask Ann; or Bob"
        period = dormant.learn(SPOT, ListingPeriod(LISTED_MS, None, "TRADING", notes=(note,)), to(ENDED_MS))
        assert_dormant(period, NOW_MS, notes=(note,))
        again = dormant.learn(SPOT, period, to(ENDED_MS))
        assert again.notes == (note,)
        dormant.say(SPOT, status="BREAK")
        assert dormant.learn(SPOT, again, to(ENDED_MS)).notes == (note,)
        dormant.say(SPOT, listed=False)
        assert dormant.learn(SPOT, again, to(ENDED_MS)).notes == (note,)
        assert [text for text in warned() if "Ann" in text or "Bob" in text] == []

    def test_that_are_new_are_added_and_told_once(self, world: World, warned: Callable[[], list[str]]) -> None:
        settled = parse_series("um:GONEUSDTSETTLED/1h")
        world.add(settled, "2023-01-01", "2023-03-01")
        world.say(settled, listed=False)
        world.add(UM, LISTED_MS, NOW_MS)
        used = "ticker used before: the archives also hold GONEUSDTSETTLED"
        period = world.learn(UM, ListingPeriod(None, None, None, notes=("ask Ann; or Bob",)))
        assert period.notes == ("ask Ann; or Bob", used)
        assert warned() == [f"um:GONEUSDT/1h: {used}"]
        again = world.learn(UM, replace(period, first_ms=None), ())  # its listing was taken away by hand
        assert (again.notes, warned()) == (period.notes, [])
