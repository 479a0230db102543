"""All that is asked again for one question is bounded together; the clock is a fake one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import pytest
import requests
import responses
from fetcher_helpers import FakeTime, Row, columns_of, generated, rows_of

from core.candles import CandleBatch
from core.errors import ExchangeUnavailable, UnusableAnswer
from core.instrument import Market
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_HOUR
from fetcher.binance.rest import BinanceRest
from fetcher.deadline import PATIENCE_S, Deadline
from fetcher.http import ATTEMPTS, TemporaryFailure, with_retries

SERIES = parse_series("BTCUSDT/1h")
SPAN, ROWS = generated(SERIES, "2024-03-01", 12)
URL = "https://spot.test"
PAGE = 4  # rows, so that SPAN is three pages
BUSY = 503
Reply = int | Sequence[Row]


class Server:
    """Answers klines by a script; each answer takes its time, in seconds."""

    def __init__(
        self, http: responses.RequestsMock, fake_time: FakeTime, script: Sequence[tuple[float, Reply]]
    ) -> None:
        self.asked: list[Span] = []
        self._time = fake_time
        self._script: Iterator[tuple[float, Reply]] = iter(script)
        http.add_callback("GET", f"{URL}/api/v3/klines", self._answer)

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        params = dict(request.params)
        self.asked.append(Span(int(params["startTime"]), int(params["endTime"]) + 1))
        seconds, reply = next(self._script)
        self._time.clock.advance(int(seconds * 1000))
        if isinstance(reply, int):
            return reply, {}, ""
        return 200, {}, json.dumps([list(row) for row in reply])


Start = Callable[..., Server]


@pytest.fixture
def rest(make_rest: Callable[..., BinanceRest]) -> BinanceRest:
    return make_rest(Market.SPOT, URL, limit=PAGE)


@pytest.fixture
def server(http: responses.RequestsMock, fake_time: FakeTime) -> Start:
    return lambda *script: Server(http, fake_time, script)


def page(number: int) -> Sequence[Row]:
    return ROWS[number * PAGE : (number + 1) * PAGE]


def fetch(rest: BinanceRest, rows: int = len(ROWS)) -> CandleBatch:
    return rest.fetch_binance_ohlcv(SERIES, SPAN.start_ms, SPAN.start_ms + rows * MS_PER_HOUR)


def test_a_first_attempt_is_never_cut_off(rest: BinanceRest, server: Start) -> None:
    told = server((PATIENCE_S, page(0)), (PATIENCE_S, page(1)), (PATIENCE_S, page(2)))
    assert rows_of(fetch(rest)) == columns_of(ROWS)
    assert len(told.asked) == 3


def test_after_the_deadline_one_passing_fault_is_sat_out(rest: BinanceRest, server: Start) -> None:
    told = server((PATIENCE_S, page(0)), (1, BUSY), (1, page(1)), (1, page(2)))
    assert rows_of(fetch(rest)) == columns_of(ROWS)
    assert len(told.asked) == 4


def test_after_the_deadline_a_second_fault_is_the_end(rest: BinanceRest, server: Start) -> None:
    told = server((PATIENCE_S, page(0)), (1, BUSY), (1, BUSY), (1, page(1)))
    with pytest.raises(ExchangeUnavailable, match="503.*given up after 2 attempts"):
        fetch(rest)
    assert len(told.asked) == 3


def test_within_the_deadline_transport_is_tried_as_often_as_ever(rest: BinanceRest, server: Start) -> None:
    told = server(*[(1, BUSY)] * (ATTEMPTS + 1))
    with pytest.raises(ExchangeUnavailable, match=f"given up after {ATTEMPTS} attempts"):
        fetch(rest)
    assert len(told.asked) == ATTEMPTS


def test_transport_retries_end_with_the_deadline(rest: BinanceRest, server: Start) -> None:
    told = server(*[(PATIENCE_S / 2 - 10, BUSY)] * (ATTEMPTS + 1))
    with pytest.raises(ExchangeUnavailable, match="given up after 3 attempts"):
        fetch(rest)
    assert len(told.asked) == 3


def test_questions_for_credibility_end_with_the_deadline(rest: BinanceRest, server: Start) -> None:
    slow_s = PATIENCE_S / 2 - 10
    told = server((slow_s, page(0)[:2]), (slow_s, page(0)[1:2]), (slow_s, []), (1, []), (1, []))
    with pytest.raises(UnusableAnswer, match=r"BTCUSDT/1h: the answers for .* were not credible within 900 seconds"):
        fetch(rest, PAGE)
    assert len(told.asked) == 3


def test_without_hurry_the_same_question_is_answered(rest: BinanceRest, server: Start) -> None:
    """The counterpart of the test above: it is the time alone that ends it."""
    told = server((1, page(0)[:2]), (1, page(0)[1:2]), (1, []), (1, []), (1, []))
    assert rows_of(fetch(rest, PAGE)) == columns_of(page(0)[:2])
    assert len(told.asked) == 4


def test_both_kinds_of_asking_again_share_one_deadline(rest: BinanceRest, server: Start) -> None:
    """Most of the time goes into transport retries of the first page; what is left bounds the asking for its hole."""
    told = server((400, BUSY), (400, BUSY), (50, page(0)[:2]), (100, BUSY), (1, BUSY), (1, page(0)))
    with pytest.raises(ExchangeUnavailable, match="given up after 2 attempts"):
        fetch(rest, PAGE)
    assert len(told.asked) == 5


def test_each_question_has_a_deadline_of_its_own(rest: BinanceRest, server: Start) -> None:
    told = server((PATIENCE_S, page(0)), (1, BUSY), (1, page(0)))
    assert fetch(rest, PAGE).rows == PAGE
    assert fetch(rest, PAGE).rows == PAGE
    assert len(told.asked) == 3


def test_a_deadline_is_past_exactly_when_its_seconds_are_over(fake_time: FakeTime) -> None:
    deadline = Deadline(fake_time.monotonic_s, 10)
    fake_time.clock.advance(9_999)
    assert not deadline.is_past
    fake_time.clock.advance(1)
    assert deadline.is_past


def test_retries_without_a_deadline_are_counted_alone(fake_time: FakeTime) -> None:
    made = 0

    def attempt() -> None:
        nonlocal made
        made += 1
        fake_time.clock.advance(10**9)
        raise TemporaryFailure("busy", ExchangeUnavailable)

    with pytest.raises(ExchangeUnavailable, match=r"busy \(given up after 4 attempts; run again later\)"):
        with_retries(attempt, fake_time.sleep, attempts=4)
    assert made == 4
