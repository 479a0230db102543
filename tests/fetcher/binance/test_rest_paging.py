"""Whole spans over real sockets: the replay exchange's candles come back complete, digit for digit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fetcher_helpers import NOW_MS, FakeTime, Row, budget_of, columns_of, generated, rest_of, rows_of
from hypothesis import given
from hypothesis import strategies as st

from core.binance.rules import COIN_M_MAX_SPAN_MS, BinanceRules
from core.errors import ExchangeUnavailable, SeriesError, UnusableAnswer
from core.instrument import Market
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_MINUTE, parse_time
from demo.candle_store import CandleStore
from demo.faults import AlterRows, Answer, CutBody, Reset
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.weights import WeightLimits
from fetcher.ban_file import BanFile
from fetcher.binance.rest import BinanceRest
from fetcher.weight_budget import WeightBudget

Run = Callable[..., ReplayExchange]
MakeRest = Callable[..., BinanceRest]

SYMBOLS = {Market.SPOT: "BTCUSDT", Market.UM: "BTCUSDT", Market.CM: "BTCUSD_PERP"}
EVERY_SERIES = [
    parse_series(f"{market}:{symbol}/{code}")
    for market, symbol in SYMBOLS.items()
    for code in INTERVALS
    if code != "1s" or market is Market.SPOT
]
MINUTES = {market: parse_series(f"{market}:{symbol}/1m") for market, symbol in SYMBOLS.items()}
every_market = pytest.mark.parametrize("series", MINUTES.values(), ids=str)


class Served:
    """100 generated candles of a series behind the replay exchange, and a client that asks for 10 at a time."""

    def __init__(self, series: Series, run: Run, make_rest: MakeRest, limit: int = 10, count: int = 100) -> None:
        self.series = series
        self.store = CandleStore()
        self.span, rows = generated(series, "2015-03-04", count)
        self.store.add(series, rows)
        self.exchange = run(self.store)
        self.rest = make_rest(series.market, self.exchange.url, limit=limit)

    def slot(self, number: int) -> int:
        return self.series.interval.add(self.span.start_ms, number)

    def remove(self, first: int, last: int) -> None:
        """Make a hole of the slots `[first, last)`."""
        self.store.remove(self.series, Span(self.slot(first), self.slot(last)))

    def fetch(self, first: int = 0, last: int = 100) -> list[tuple[object, ...]]:
        return rows_of(self.rest.fetch_binance_ohlcv(self.series, self.slot(first), self.slot(last)))

    def truth(self, first: int = 0, last: int = 100) -> list[tuple[object, ...]]:
        return columns_of(self.store.rows(self.series, self.slot(first), self.slot(last)))

    def requests(self) -> int:
        return self.exchange.count("/klines")


@pytest.fixture
def serve(run: Run, make_rest: MakeRest) -> Callable[..., Served]:
    return lambda series, **options: Served(series, run, make_rest, **options)


Serve = Callable[..., Served]


class TestEveryMarketAndInterval:
    @pytest.mark.parametrize("series", EVERY_SERIES, ids=str)
    def test_a_span_over_many_pages_comes_back_digit_for_digit(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        assert served.fetch() == served.truth()
        assert len(served.truth()) == 100
        assert served.requests() == len(list(BinanceRules(series, 10).pages(served.span)))

    @pytest.mark.parametrize("code", ["1m", "1d", "3d", "1w", "1M"])
    @pytest.mark.parametrize("market", list(Market))
    def test_full_pages_of_the_market_come_back_digit_for_digit(
        self, run: Run, make_rest: MakeRest, market: Market, code: str
    ) -> None:
        series = parse_series(f"{market}:{SYMBOLS[market]}/{code}")
        span, rows = generated(series, "2014-01-01", 1200 if code == "1m" else 100)
        store = CandleStore()
        store.add(series, rows)
        exchange = run(store)
        batch = make_rest(market, exchange.url).fetch_binance_ohlcv(series, span.start_ms, span.end_ms)
        assert rows_of(batch) == columns_of(rows)
        assert all(record.status == 200 for record in exchange.requests)

    @every_market
    @pytest.mark.parametrize("limit", [1, 7, 99, 100, 1000])
    def test_any_page_size_gives_the_same(self, serve: Serve, series: Series, limit: int) -> None:
        served = serve(series, limit=limit)
        assert served.fetch() == served.truth()
        assert served.requests() == -(-100 // limit)

    @every_market
    def test_bounds_inside_candles_hold_for_open_times(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        start_ms, end_ms = served.slot(3) + 1, served.slot(57) + 1
        batch = served.rest.fetch_binance_ohlcv(series, start_ms, end_ms)
        assert rows_of(batch) == served.truth(4, 58)

    @every_market
    def test_nothing_but_the_span_is_returned(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        assert served.fetch(20, 21) == served.truth(20, 21)
        assert served.fetch(15, 45) == served.truth(15, 45)

    def test_coin_m_is_never_asked_for_more_than_200_days_at_once(self, serve: Serve) -> None:
        served = serve(parse_series("cm:BTCUSD_PERP/1w"), limit=1500)
        assert served.fetch() == served.truth()
        spans = [int(r.params["endTime"]) - int(r.params["startTime"]) for r in served.exchange.requests]
        assert max(spans) < COIN_M_MAX_SPAN_MS
        assert len(spans) == 4

    def test_a_name_that_is_not_ascii_is_fetched(self, serve: Serve) -> None:
        served = serve(parse_series("币安人生USDT"))
        assert served.fetch() == served.truth()

    def test_candles_off_the_grid_come_back_with_their_own_open_times(self, run: Run, make_rest: MakeRest) -> None:
        series, start_ms = parse_series("BTCUSDT"), parse_time("2018-02-09")
        minute = MS_PER_MINUTE
        halts = [
            Span(start_ms + 20 * minute, start_ms + 30 * minute),
            Span(start_ms + 70 * minute, start_ms + 80 * minute),
        ]
        span, off_grid = Span(start_ms, start_ms + 100 * minute), Span(halts[0].end_ms, halts[1].start_ms)
        rows = list(generate_series(series, span, halts=halts, off_grid=[off_grid]))
        assert sum(row[0] % minute != 0 for row in rows) == 40
        store = CandleStore()
        store.add(series, rows)
        batch = make_rest(Market.SPOT, run(store).url, limit=7).fetch_binance_ohlcv(series, span.start_ms, span.end_ms)
        assert rows_of(batch) == columns_of(rows)


DROPS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "the last rows": lambda rows: rows[:-3],
    "the first rows": lambda rows: rows[4:],
    "rows in the middle": lambda rows: rows[:2] + rows[6:],
    "every other row": lambda rows: rows[::2],
    "all but one row": lambda rows: rows[:1],
    "all rows": lambda rows: [],
}


class TestAPageThatIsShortOnce:
    @every_market
    @pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS.keys())
    def test_is_healed_by_asking_again(
        self, serve: Serve, series: Series, drop: Callable[[list[Row]], list[Row]]
    ) -> None:
        served = serve(series)
        served.exchange.faults.add("/klines", AlterRows(drop), after=4)
        assert served.fetch() == served.truth()
        assert 11 <= served.requests() <= 12

    @every_market
    def test_all_pages_at_once(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:5]), times=10)
        assert served.fetch() == served.truth()

    def test_also_the_only_page(self, serve: Serve) -> None:
        served = serve(MINUTES[Market.SPOT], limit=1000)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: []))
        assert served.fetch() == served.truth()
        assert served.requests() == 3  # no candle is known yet, so the second answer has to come twice

    def test_beside_a_real_hole_only_the_missing_rows_are_added(self, serve: Serve) -> None:
        served = serve(MINUTES[Market.UM])
        served.remove(30, 34)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:2]), after=6)
        assert served.fetch() == served.truth()


EMPTY = AlterRows(lambda rows: [])


class TestWrongEmptyAnswers:
    @every_market
    @pytest.mark.parametrize("wrong", [1, 2])
    @pytest.mark.parametrize("page", [0, 1, 4, 8, 9])
    def test_one_or_two_for_a_whole_page_beside_known_candles_lose_nothing(
        self, serve: Serve, series: Series, page: int, wrong: int
    ) -> None:
        """The second one is the answer to the first window that is asked for again."""
        served = serve(series)
        served.exchange.faults.add("/klines", EMPTY, after=page)
        if wrong == 2:
            served.exchange.faults.add("/klines", EMPTY, after=10)
        assert served.fetch() == served.truth()
        assert len(served.truth()) == 100
        assert served.exchange.faults.pending() == 0

    @every_market
    @pytest.mark.parametrize(
        "after", [0, 4, 9, *(pytest.param(page, marks=pytest.mark.long) for page in (1, 2, 3, 5, 6, 7, 8))]
    )
    def test_two_one_after_the_other_lose_nothing_wherever_they_come(
        self, serve: Serve, series: Series, after: int
    ) -> None:
        served = serve(series)
        served.exchange.faults.add("/klines", EMPTY, after=after, times=2)
        assert served.fetch() == served.truth()
        assert served.exchange.faults.pending() == 0

    @every_market
    @pytest.mark.parametrize("again", [0, 1, 2, 7])
    def test_up_to_seven_more_between_known_candles_lose_nothing(
        self, serve: Serve, series: Series, again: int
    ) -> None:
        served = serve(series)
        served.exchange.faults.add("/klines", EMPTY, after=4)
        if again:
            served.exchange.faults.add("/klines", EMPTY, after=10, times=again)
        assert served.fetch() == served.truth()
        assert served.exchange.faults.pending() == 0
        assert served.requests() == 10 + again + 2  # twelve slots, at most ten in a window

    @every_market
    @pytest.mark.parametrize("wrong", [1, 2])
    def test_one_or_two_for_the_only_page_lose_nothing(self, serve: Serve, series: Series, wrong: int) -> None:
        served = serve(series, limit=1000)
        served.exchange.faults.add("/klines", EMPTY, times=wrong)
        assert served.fetch() == served.truth()
        assert len(served.truth()) == 100
        assert served.requests() == wrong + 2

    @every_market
    def test_three_for_the_only_page_cannot_be_told_from_the_truth(self, serve: Serve, series: Series) -> None:
        """The documented limit: no candle is known that could contradict them."""
        served = serve(series, limit=1000)
        served.exchange.faults.add("/klines", EMPTY, times=3)
        assert served.fetch() == []
        assert served.requests() == 3
        assert served.fetch() == served.truth()

    @every_market
    def test_one_between_right_ones_for_the_only_page_is_not_believed(self, serve: Serve, series: Series) -> None:
        served = serve(series, limit=1000)
        served.exchange.faults.add("/klines", EMPTY)
        served.exchange.faults.add("/klines", EMPTY, after=2)
        assert served.fetch() == served.truth()
        assert served.requests() == 5


LACKING: dict[str, Callable[[list[Row]], list[Row]]] = {
    "all candles": lambda rows: [],
    "the one before": lambda rows: rows[1:],
    "the one behind": lambda rows: rows[:-1],
}


class TestAnAnswerWithoutAKnownCandle:
    """Asked again around a hole, an answer has to hold the candles that are known on both sides."""

    @every_market
    @pytest.mark.parametrize("lacking", LACKING.values(), ids=LACKING.keys())
    @pytest.mark.parametrize("real", [True, False], ids=["real hole", "wrong hole"])
    def test_is_asked_for_again(
        self, serve: Serve, series: Series, lacking: Callable[[list[Row]], list[Row]], real: bool
    ) -> None:
        served = self.with_a_hole(serve, series, real)
        served.exchange.faults.add("/klines", AlterRows(lacking), after=10, times=7)
        assert served.fetch() == served.truth()
        assert len(served.truth()) == (96 if real else 100)
        assert served.requests() == 10 + 8

    @every_market
    @pytest.mark.parametrize("lacking", LACKING.values(), ids=LACKING.keys())
    @pytest.mark.parametrize("real", [True, False], ids=["real hole", "wrong hole"])
    def test_is_refused_when_it_stays(
        self, serve: Serve, series: Series, lacking: Callable[[list[Row]], list[Row]], real: bool
    ) -> None:
        served = self.with_a_hole(serve, series, real)
        served.exchange.faults.add("/klines", AlterRows(lacking), after=10, times=1000)
        with pytest.raises(UnusableAnswer, match=f"{series}: .* lack candles that it has just given"):
            served.fetch()
        assert served.requests() == 10 + 8

    @every_market
    def test_for_a_whole_page_is_refused_when_it_stays(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.exchange.faults.add("/klines", EMPTY, after=4)
        served.exchange.faults.add("/klines", EMPTY, after=10, times=1000)
        with pytest.raises(UnusableAnswer, match="lack candles that it has just given"):
            served.fetch()
        assert served.requests() == 10 + 8

    @staticmethod
    def with_a_hole(serve: Serve, series: Series, real: bool) -> Served:
        """Return candles that lack the slots 33 to 36, for good or in the first answer alone."""
        served = serve(series)
        if real:
            served.remove(33, 37)
        else:
            served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:3] + rows[7:]), after=3)
        return served


class TestARealHole:
    @every_market
    def test_ends_as_absent_after_one_answer_that_holds_its_neighbours(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.remove(37, 41)
        assert served.fetch() == served.truth()
        assert len(served.truth()) == 96
        assert served.requests() == 10 + 1
        asked = served.exchange.requests[-1].params
        assert int(asked["startTime"]) == served.slot(36)
        assert int(asked["endTime"]) == served.slot(42) - 1
        assert asked["limit"] == "6"

    @every_market
    def test_is_never_asked_for_beyond_the_span(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.remove(20, 23)
        served.remove(57, 60)
        assert served.fetch(20, 60) == served.truth(20, 60)
        assert len(served.truth(20, 60)) == 34
        assert min(int(record.params["startTime"]) for record in served.exchange.requests) == served.slot(20)
        assert max(int(record.params["endTime"]) for record in served.exchange.requests) == served.slot(60) - 1

    @every_market
    def test_of_whole_pages_costs_those_without_a_known_candle_two_more_requests(
        self, serve: Serve, series: Series
    ) -> None:
        served = serve(series)
        served.remove(25, 75)
        assert served.fetch() == served.truth()
        assert len(served.truth()) == 50
        # The first window's known candle stands before its hole, the last one's behind it.
        assert served.requests() == 10 + (1 + 2) + 2 * 4 + 1

    @every_market
    def test_holes_near_each_other_are_asked_for_together(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        for slot in range(1, 100, 2):
            served.remove(slot, slot + 1)
        assert served.fetch() == served.truth()
        assert served.requests() == 10 + 10 * (1 + 2)  # each window ends with a hole

    @every_market
    def test_at_both_ends_of_the_span(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.remove(0, 13)
        served.remove(88, 100)
        assert served.fetch() == served.truth()
        # The windows at the borders hold no known candle, the one before the last none behind its hole.
        assert served.requests() == 10 + (2 + 1) + (1 + 2) + 2

    @every_market
    def test_nothing_at_all_is_an_empty_batch(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.remove(0, 100)
        assert served.fetch() == []
        assert served.requests() == 3 * 10

    def test_in_months_and_weeks(self, serve: Serve) -> None:
        for notation in ("BTCUSDT/1M", "um:BTCUSDT/1w", "cm:BTCUSD_PERP/3d", "cm:BTCUSD_PERP/1M"):
            served = serve(parse_series(notation))
            served.remove(11, 12)
            served.remove(50, 65)
            assert served.fetch() == served.truth()


class TestAnswersThatKeepChanging:
    def test_end_in_an_error_and_not_in_a_guess(self, serve: Serve) -> None:
        """Every round brings some candles more and never all."""
        served = serve(MINUTES[Market.SPOT], limit=1000)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:2]), times=1000)
        with pytest.raises(SeriesError, match="BTCUSDT/1m: the exchange's answers .* keep changing; nothing"):
            served.fetch()
        assert served.requests() == 1 + 5 * 3

    @pytest.mark.parametrize("limit", [10, 1000])
    def test_of_a_single_candle_each_end_in_an_error_and_not_in_a_guess(self, serve: Serve, limit: int) -> None:
        """A page cut down to its first candle: that candle being there proves nothing about the rest."""
        served = serve(MINUTES[Market.SPOT], limit=limit)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:1]), times=1000)
        with pytest.raises(SeriesError, match="keep changing"):
            served.fetch()

    def test_are_returned_when_the_last_round_fills_the_last_hole(self, serve: Serve) -> None:
        """The first asking gives two candles and each of five rounds three: 17 are whole, 18 are not."""
        served = serve(MINUTES[Market.SPOT], limit=1000)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:2]), times=1000)
        assert served.fetch(0, 17) == served.truth(0, 17)
        assert len(served.truth(0, 17)) == 17
        with pytest.raises(SeriesError, match="keep changing; nothing"):
            served.fetch(0, 18)

    def test_between_some_and_none_are_refused(self, serve: Serve) -> None:
        served = serve(MINUTES[Market.SPOT], limit=1000)
        for after in range(0, 10, 2):
            served.exchange.faults.add("/klines", EMPTY, after=after)
        with pytest.raises(UnusableAnswer, match="keep changing"):
            served.fetch()
        assert served.requests() == 1 + 8

    def test_are_accepted_once_they_agree(self, serve: Serve) -> None:
        served = serve(MINUTES[Market.SPOT], limit=1000)
        served.remove(98, 100)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: rows[:30]), times=3)
        assert served.fetch() == served.truth()
        assert served.requests() == 1 + (1 + 3) + (1 + 2)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda rows: rows + rows[-1:],
            lambda rows: rows[::-1],
            lambda rows: [[row[0] - 600_000, *row[1:]] for row in rows],
            lambda rows: [[row[0] + 600_000, *row[1:]] for row in rows],
            lambda rows: [[row[0] + 86_400_000, *row[1:]] for row in rows],
            lambda rows: [[row[0] * 1000, *row[1:]] for row in rows],
            lambda rows: [[float(row[0]), *row[1:]] for row in rows],
            lambda rows: [[*row[:8], float(row[8]), *row[9:]] for row in rows],
            lambda rows: [*rows[1:], [rows[-1][0] + 60_000, *rows[-1][1:]]],
            lambda rows: [[*row[:2], "0", *row[3:]] for row in rows],
            lambda rows: [row[:11] for row in rows],
            lambda rows: {"code": -1000, "msg": "An unknown error occurred."},
        ],
    )
    def test_a_damaged_page_is_asked_for_again_and_refused_if_it_stays(
        self, serve: Serve, damage: Callable[[list[Row]], object]
    ) -> None:
        served = serve(MINUTES[Market.CM])
        served.exchange.faults.add("/klines", AlterRows(damage), after=3, times=2)
        assert served.fetch() == served.truth()
        served.exchange.faults.add("/klines", AlterRows(damage), after=3, times=6)
        with pytest.raises(UnusableAnswer, match="cm:BTCUSD_PERP/1m: 2015-03-04T00:30Z"):
            served.fetch()
        assert served.exchange.faults.pending() == 0


class TestCandlesOfAnotherTime:
    @every_market
    @pytest.mark.parametrize(
        "moved",
        [lambda ms: ms * 1000, lambda ms: ms + 86_400_000, lambda ms: ms - 86_400_000],
        ids=["microseconds", "a day late", "a day early"],
    )
    def test_in_every_answer_are_refused_and_never_taken_for_a_hole(
        self, serve: Serve, series: Series, moved: Callable[[int], int]
    ) -> None:
        served = serve(series)
        change = AlterRows(lambda rows: [[moved(row[0]), *row[1:]] for row in rows])
        served.exchange.faults.add("/klines", change, times=1000)
        with pytest.raises(UnusableAnswer, match="was asked for"):
            served.fetch()
        assert served.requests() == 6

    @every_market
    def test_when_a_hole_is_asked_for_again_do_not_confirm_it(self, serve: Serve, series: Series) -> None:
        served = serve(series)
        served.exchange.faults.add("/klines", AlterRows(lambda rows: []), after=4)
        late = AlterRows(lambda rows: [[row[0] + 86_400_000, *row[1:]] for row in rows])
        served.exchange.faults.add("/klines", late, after=10, times=1000)
        with pytest.raises(UnusableAnswer, match="was asked for"):
            served.fetch()


class TestTroubleOnTheWay:
    def test_a_mixture_of_faults_is_sat_out(self, serve: Serve, fake_time: FakeTime) -> None:
        served = serve(MINUTES[Market.UM])
        for after, fault in enumerate(
            [Reset(), CutBody(), Answer(503), Answer(200, "<html></html>"), Answer(429, {"code": -1003, "msg": ""})]
        ):
            served.exchange.faults.add("/klines", fault, after=3 * after)
        assert served.fetch() == served.truth()
        assert served.exchange.faults.pending() == 0
        assert len(fake_time.waits) >= 5

    def test_a_host_that_went_away_is_a_market_that_cannot_be_used(self, serve: Serve) -> None:
        served = serve(MINUTES[Market.SPOT])
        served.fetch()
        served.exchange.stop()
        with pytest.raises(ExchangeUnavailable, match="no whole answer from"):
            served.fetch()

    def test_an_unknown_symbol_is_an_error_of_the_series(self, serve: Serve) -> None:
        served = serve(MINUTES[Market.SPOT])
        unknown = parse_series("NOSUCHUSDT")
        with pytest.raises(SeriesError, match="NOSUCHUSDT/1m: .*Invalid symbol"):
            served.rest.fetch_binance_ohlcv(unknown, served.span.start_ms, served.span.end_ms)
        assert served.requests() == 1


class TestWeight:
    @pytest.mark.parametrize(
        ("notation", "limit", "weight"),
        [
            ("um:BTCUSDT", None, 2),
            ("um:BTCUSDT", 499, 2),
            ("um:BTCUSDT", 99, 1),
            ("um:BTCUSDT", 500, 5),
            ("um:BTCUSDT", 1500, 10),
            ("cm:BTCUSD_PERP", None, 2),
            ("BTCUSDT", None, 2),
            ("BTCUSDT", 1, 2),
        ],
    )
    def test_a_full_page_costs_what_the_exchange_counts(
        self, serve: Serve, notation: str, limit: int | None, weight: int
    ) -> None:
        series = parse_series(notation)
        served = serve(series, limit=limit, count=1500)
        served.fetch(0, served.rest.page_rows)
        [record] = served.exchange.requests
        assert record.weight == weight
        assert budget_of(served.rest).total_used == weight

    def test_the_best_page_of_futures_holds_499_rows(self, serve: Serve) -> None:
        served = serve(parse_series("um:BTCUSDT"), limit=None, count=1500)
        assert served.fetch(0, 1500) == served.truth(0, 1500)
        assert [record.params["limit"] for record in served.exchange.requests] == ["499", "499", "499", "3"]
        assert [record.weight for record in served.exchange.requests] == [2, 2, 2, 1]

    @pytest.mark.parametrize(("market", "most"), [(Market.SPOT, 1000), (Market.UM, 1500), (Market.CM, 1500)])
    def test_a_page_never_exceeds_the_markets_maximum(self, make_rest: MakeRest, market: Market, most: int) -> None:
        assert make_rest(market, "http://any.test", limit=100_000).page_rows == most
        assert make_rest(market, "http://any.test", limit=0).page_rows == 1

    def test_both_futures_markets_together_stay_inside_one_budget(
        self, run: Run, make_rest: MakeRest, fake_time: FakeTime
    ) -> None:
        store, spans = CandleStore(), {}
        for market in (Market.UM, Market.CM):
            spans[market], rows = generated(MINUTES[market], "2024-03-01", 100)
            store.add(MINUTES[market], rows)
        exchange = run(store, weight_limits=WeightLimits(futures=30))
        budget = WeightBudget(30, 0.8, fake_time.now_ms, fake_time.monotonic_s, fake_time.sleep)
        for market in (Market.UM, Market.CM, Market.UM):
            rest = make_rest(market, exchange.url, limit=5, budget=budget)
            batch = rest.fetch_binance_ohlcv(MINUTES[market], spans[market].start_ms, spans[market].end_ms)
            assert rows_of(batch) == columns_of(store.rows(MINUTES[market]))
        assert {record.status for record in exchange.requests} == {200}
        by_minute: dict[int, int] = {}
        for record in exchange.requests:
            by_minute[record.at_ms // 60_000] = by_minute.get(record.at_ms // 60_000, 0) + record.weight
        assert list(by_minute.values()) == [24, 24, 12]

    def test_another_program_on_the_same_address_is_seen_in_the_header(
        self, run: Run, make_rest: MakeRest, fake_time: FakeTime
    ) -> None:
        series = MINUTES[Market.SPOT]
        span, rows = generated(series, "2024-03-01", 100)
        store = CandleStore()
        store.add(series, rows)
        exchange = run(store, weight_limits=WeightLimits(spot=40))

        def client() -> BinanceRest:
            budget = WeightBudget(40, 1.0, fake_time.now_ms, fake_time.monotonic_s, fake_time.sleep)
            return make_rest(Market.SPOT, exchange.url, limit=10, budget=budget)

        client().fetch_binance_ohlcv(series, span.start_ms, span.end_ms)  # 20 of this minute's 40
        ours = client()
        for _ in range(2):
            ours.fetch_binance_ohlcv(series, span.start_ms, span.end_ms)
        assert {record.status for record in exchange.requests} == {200}


@pytest.fixture(scope="module")
def standing_exchange() -> Iterator[ReplayExchange]:
    """One exchange for all examples; each takes out its own holes and puts them back."""
    store = CandleStore()
    for series in MINUTES.values():
        store.add(series, generated(series, "2024-03-01", 120)[1])
    time = FakeTime()
    with ReplayExchange(store, time.clock, weight_limits=WeightLimits(spot=10**9, futures=10**9)) as exchange:
        yield exchange


@given(
    market=st.sampled_from(list(Market)),
    limit=st.integers(1, 20),
    bounds=st.tuples(st.integers(0, 119), st.integers(1, 60)),
    holes=st.lists(st.tuples(st.integers(0, 119), st.integers(1, 25)), max_size=6),
    short_page=st.none() | st.tuples(st.integers(0, 12), st.sets(st.integers(0, 19), min_size=1)),
)
def test_what_is_fetched_is_exactly_what_the_exchange_has(
    standing_exchange: ReplayExchange,
    ban_path: Path,
    market: Market,
    limit: int,
    bounds: tuple[int, int],
    holes: list[tuple[int, int]],
    short_page: tuple[int, set[int]] | None,
) -> None:
    exchange, series = standing_exchange, MINUTES[market]
    first_ms = parse_time("2024-03-01")
    whole = exchange.store.rows(series)
    exchange.faults.clear()
    exchange.clear_requests()
    for first, length in holes:
        start_ms = first_ms + first * MS_PER_MINUTE
        exchange.store.remove(series, Span(start_ms, start_ms + length * MS_PER_MINUTE))
    span = Span(first_ms + bounds[0] * MS_PER_MINUTE, first_ms + sum(bounds) * MS_PER_MINUTE)
    windows = len(list(BinanceRules(series, limit).pages(span)))
    if short_page is not None:  # one page of the first asking lacks rows
        after, dropped = short_page
        change = AlterRows(lambda rows: [row for n, row in enumerate(rows) if n not in dropped])
        exchange.faults.add("/klines", change, after=after % windows)
    time = FakeTime()
    budget = WeightBudget(10**9, 1.0, time.now_ms, time.monotonic_s, time.sleep)
    rest = rest_of(market, exchange.url, budget, BanFile(ban_path, time.now_ms), time, limit=limit)
    try:
        batch = rest.fetch_binance_ohlcv(series, span.start_ms, span.end_ms)
        assert rows_of(batch) == columns_of(exchange.store.rows(series, span.start_ms, span.end_ms))
        # After the first asking at most two rounds, each asking for a window at most twice. A hole makes
        # at most two windows more than its share of the span: it is widened, and starts a page of its own.
        assert exchange.count("/klines") <= windows + 2 * 2 * (windows + 2 * (len(holes) + 1))
        assert time.waits == []
    finally:
        exchange.store.add(series, whole)


def test_the_fake_now_lies_after_all_candles() -> None:
    assert parse_time("2024-03-02") < NOW_MS
