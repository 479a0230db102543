"""What each HTTP status and error code leads to, one mocked answer at a time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from fetcher_helpers import NOW_MS, SHARED_DATA, FakeTime, bans_in, budget_of, columns_of, generated, rest_of, rows_of
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch
from core.errors import (
    ConfigurationError,
    ExchangeBanned,
    ExchangeUnavailable,
    FetcherError,
    SeriesError,
    UnusableAnswer,
)
from core.exit_codes import EXIT_EXCHANGE
from core.instrument import Market
from core.series import parse_series
from fetcher.ban_file import BanFile
from fetcher.binance.rest import BinanceRest
from fetcher.exchange_clock import ExchangeClock
from fetcher.weight_budget import WeightBudget

MakeRest = Callable[..., BinanceRest]

SPOT_URL = "https://spot.test"
FUTURES_URL = "https://futures.test"
KLINES = f"{SPOT_URL}/api/v3/klines"
SERIES = parse_series("BTCUSDT/1m")
SPAN, ROWS = generated(SERIES, "2024-03-01", 5)
ATTEMPTS = 6
TOO_MUCH = {"code": -1003, "msg": "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."}
HTML = "<HTML><HEAD><TITLE>ERROR</TITLE></HEAD><BODY><H1>Request blocked.</H1></BODY></HTML>"


def banned_until(until_ms: int) -> dict[str, Any]:
    return {"code": -1003, "msg": f"Way too much request weight used; IP banned until {until_ms}. Please wait."}


def fetch(rest: BinanceRest) -> CandleBatch:
    return rest.fetch_binance_ohlcv(SERIES, SPAN.start_ms, SPAN.end_ms)


@pytest.fixture
def rest(make_rest: MakeRest) -> BinanceRest:
    return make_rest(Market.SPOT, SPOT_URL)


@pytest.fixture
def answer(http: responses.RequestsMock) -> Callable[..., None]:
    """Add answers to kline requests: one after the other, the last one for ever."""

    def add(status: int, body: Any = "", headers: dict[str, str] | None = None, times: int = 1) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        for _ in range(times):
            http.get(KLINES, body=text, status=status, headers=headers or {})

    return add


Answer = Callable[..., None]


class TestAnOrdinaryAnswer:
    def test_its_candles_are_returned_digit_for_digit(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fake_time: FakeTime
    ) -> None:
        answer(200, ROWS)
        assert rows_of(fetch(rest)) == columns_of(ROWS)
        assert fake_time.waits == []
        [call] = http.calls
        assert call.request.params == {
            "symbol": "BTCUSDT",
            "interval": "1m",
            "startTime": str(SPAN.start_ms),
            "endTime": str(SPAN.end_ms - 1),
            "limit": "5",
        }

    @pytest.mark.parametrize(
        ("market", "path"),
        [(Market.SPOT, "/api/v3/klines"), (Market.UM, "/fapi/v1/klines"), (Market.CM, "/dapi/v1/klines")],
    )
    def test_each_market_has_its_own_path(
        self, make_rest: MakeRest, http: responses.RequestsMock, market: Market, path: str
    ) -> None:
        http.get(f"https://any.test{path}", json=ROWS)
        series = parse_series(f"{market}:BTCUSDT/1m")
        batch = make_rest(market, "https://any.test").fetch_binance_ohlcv(series, SPAN.start_ms, SPAN.end_ms)
        assert batch.rows == 5

    def test_the_exchanges_count_of_used_weight_makes_the_next_request_wait(
        self, rest: BinanceRest, answer: Answer, fake_time: FakeTime
    ) -> None:
        answer(200, ROWS, {"X-MBX-USED-WEIGHT-1M": "5999"})
        fetch(rest)
        assert fake_time.waits == []
        fetch(rest)
        assert 60 <= sum(fake_time.waits) <= 61

    @pytest.mark.parametrize("count", ["many", "", "²", "5999²", "-5999", "5999.0"])
    def test_a_count_that_is_no_number_is_left_out(
        self, rest: BinanceRest, answer: Answer, fake_time: FakeTime, count: str
    ) -> None:
        answer(200, ROWS, {"X-MBX-USED-WEIGHT-1M": count})
        assert fetch(rest).rows == 5
        assert fetch(rest).rows == 5
        assert fake_time.waits == []


class TestTooManyRequests:
    def test_no_request_goes_before_retry_after_is_over(
        self, rest: BinanceRest, http: responses.RequestsMock, fake_time: FakeTime
    ) -> None:
        sent_ms = []

        def reply(_: object) -> tuple[int, dict[str, str], str]:
            sent_ms.append(fake_time.now_ms())
            if len(sent_ms) == 1:
                return 429, {"Retry-After": "17"}, json.dumps(TOO_MUCH)
            return 200, {}, json.dumps(ROWS)

        http.add_callback("GET", KLINES, reply)
        assert fetch(rest).rows == 5
        assert sent_ms[1] - sent_ms[0] >= 17_000
        assert len(sent_ms) == 2
        assert fake_time.waits[0] >= 17

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Retry-After": "Sat, 01 Jun 2024 12:00:30 GMT"},
            {"Retry-After": ""},
            {"Retry-After": "²"},
            {"Retry-After": "3²"},
        ],
    )
    def test_without_a_number_of_seconds_a_whole_minute_is_waited(
        self, rest: BinanceRest, answer: Answer, fake_time: FakeTime, headers: dict[str, str]
    ) -> None:
        answer(429, TOO_MUCH, headers)
        answer(200, ROWS)
        assert fetch(rest).rows == 5
        assert fake_time.waits[0] >= 60

    def test_a_body_that_is_no_json_makes_no_difference(
        self, rest: BinanceRest, answer: Answer, fake_time: FakeTime
    ) -> None:
        answer(429, HTML, {"Retry-After": "3"})
        answer(200, ROWS)
        assert fetch(rest).rows == 5
        assert fake_time.waits[0] >= 3

    def test_the_code_counts_whatever_the_status(self, rest: BinanceRest, answer: Answer, fake_time: FakeTime) -> None:
        answer(400, TOO_MUCH, {"Retry-After": "40"})
        answer(200, ROWS)
        assert fetch(rest).rows == 5
        assert fake_time.waits[0] >= 40

    def test_other_requests_of_the_same_budget_wait_as_well(
        self, make_rest: MakeRest, http: responses.RequestsMock, fake_time: FakeTime, ban_path: Path
    ) -> None:
        """The two futures markets share one budget: what one is told holds for the other."""

        class Stopped(Exception):
            pass

        def stop(_: float) -> None:
            raise Stopped

        budget = WeightBudget(2400, 1.0, fake_time.now_ms, fake_time.monotonic_s, fake_time.sleep)
        bans = BanFile(ban_path, fake_time.now_ms)
        usd_m = rest_of(Market.UM, FUTURES_URL, budget, bans, fake_time, sleep=stop)
        http.get(f"{FUTURES_URL}/fapi/v1/klines", json=TOO_MUCH, status=429, headers={"Retry-After": "25"})
        http.get(f"{FUTURES_URL}/dapi/v1/klines", json=ROWS)
        with pytest.raises(Stopped):
            usd_m.fetch_binance_ohlcv(parse_series("um:BTCUSDT"), SPAN.start_ms, SPAN.end_ms)
        coin_m = make_rest(Market.CM, FUTURES_URL, budget=budget)
        coin_m.fetch_binance_ohlcv(parse_series("cm:BTCUSD_PERP"), SPAN.start_ms, SPAN.end_ms)
        assert fake_time.now_ms() == NOW_MS + 25_000

    def test_for_ever_it_is_given_up_after_a_few_attempts(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fake_time: FakeTime
    ) -> None:
        answer(429, TOO_MUCH, {"Retry-After": "5"})
        with pytest.raises(ExchangeUnavailable, match="429") as caught:
            fetch(rest)
        assert not isinstance(caught.value, ExchangeBanned)
        assert len(http.calls) == ATTEMPTS
        assert len(fake_time.waits) == ATTEMPTS - 1
        assert all(wait >= 5 for wait in fake_time.waits)

    def test_a_wait_of_ten_minutes_is_still_a_back_off(
        self, rest: BinanceRest, answer: Answer, fake_time: FakeTime
    ) -> None:
        answer(429, TOO_MUCH, {"Retry-After": "600"})
        answer(200, ROWS)
        assert fetch(rest).rows == 5
        assert fake_time.waits[0] >= 600

    def test_a_longer_one_is_a_ban(self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock) -> None:
        answer(429, TOO_MUCH, {"Retry-After": "601"})
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + 601_000
        assert len(http.calls) == 1

    @pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"Retry-After": "5"}, {}])
    def test_an_end_of_the_ban_in_the_body_is_a_ban(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, headers: dict[str, str]
    ) -> None:
        answer(429, banned_until(NOW_MS + 3_600_000), headers)
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + 3_600_000
        assert len(http.calls) == 1


def observed_bans() -> list[Any]:
    """Return every recorded answer that speaks of a ban, in the exchange's own words."""
    path = SHARED_DATA / "rest" / "errors_observed.json"
    if not path.is_file():
        reason = "the recorded errors of the exchange are not on this machine"
        return [pytest.param("", 0, marks=pytest.mark.skip(reason=reason))]
    found = []
    for number, item in enumerate(json.loads(path.read_text())["items"]):
        _, named, rest = item["body"].partition("banned until ")
        if named:
            found.append(pytest.param(item["body"], int(rest[:13]), id=f"wording-{number}"))
    assert len(found) >= 5
    return found


class TestABan:
    @pytest.mark.parametrize(("body", "until_ms"), observed_bans())
    def test_every_wording_of_the_exchange_is_understood(
        self,
        make_rest: MakeRest,
        answer: Answer,
        http: responses.RequestsMock,
        fake_time: FakeTime,
        body: str,
        until_ms: int,
    ) -> None:
        fake_time.clock.set(until_ms - 300_000)
        rest = make_rest(Market.SPOT, SPOT_URL)
        answer(418, body)
        answer(200, ROWS)
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == until_ms
        assert caught.value.exit_code == EXIT_EXCHANGE

        fake_time.clock.set(until_ms - 1)
        for later in (rest, make_rest(Market.SPOT, SPOT_URL)):  # the same process and the next one
            with pytest.raises(ExchangeBanned, match="no request was sent"):
                fetch(later)
        assert len(http.calls) == 1
        assert fake_time.waits == []

        fake_time.clock.set(until_ms)
        assert fetch(make_rest(Market.SPOT, SPOT_URL)).rows == 5
        assert fetch(rest).rows == 5

    def test_without_an_end_in_the_body_retry_after_says_it(self, rest: BinanceRest, answer: Answer) -> None:
        answer(418, TOO_MUCH, {"Retry-After": "130"})
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + 130_000

    @pytest.mark.parametrize("headers", [{}, {"Retry-After": "²"}, {"Retry-After": "soon"}, {"Retry-After": "0"}])
    @pytest.mark.parametrize("body", ["", HTML, {"code": -1003, "msg": "Way too many requests."}])
    def test_without_any_end_it_is_the_shortest_ban(
        self, rest: BinanceRest, answer: Answer, body: Any, headers: dict[str, str]
    ) -> None:
        answer(418, body, headers)
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + 120_000

    @pytest.mark.parametrize(("named_s", "retry_after_s"), [(150, 200), (200, 150), (60, 150), (150, 60)])
    def test_of_two_ends_the_later_one_counts(
        self, rest: BinanceRest, answer: Answer, named_s: int, retry_after_s: int
    ) -> None:
        answer(418, banned_until(NOW_MS + named_s * 1000), {"Retry-After": str(retry_after_s)})
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + max(named_s, retry_after_s) * 1000

    @pytest.mark.parametrize("status", [418, 429])
    @pytest.mark.parametrize("named_s", [-3600, -1, 0, 1, 60, 119])
    @pytest.mark.parametrize("headers", [{}, {"Retry-After": "5"}])
    def test_an_end_that_is_near_or_past_is_never_less_than_the_shortest_ban(
        self,
        rest: BinanceRest,
        answer: Answer,
        ban_path: Path,
        status: int,
        named_s: int,
        headers: dict[str, str],
    ) -> None:
        """As when the clock that the end is held against has not been set yet."""
        answer(status, banned_until(NOW_MS + named_s * 1000), headers)
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + 120_000
        assert bans_in(ban_path) == {"spot": NOW_MS + 120_000}

    @pytest.mark.parametrize("retry_after", ["1", "5", "119"])
    @pytest.mark.parametrize("body", ["", TOO_MUCH])
    def test_a_short_retry_after_is_never_less_than_the_shortest_ban(
        self, rest: BinanceRest, answer: Answer, ban_path: Path, body: Any, retry_after: str
    ) -> None:
        answer(418, body, {"Retry-After": retry_after})
        with pytest.raises(ExchangeBanned) as caught:
            fetch(rest)
        assert caught.value.until_ms == NOW_MS + 120_000
        assert bans_in(ban_path) == {"spot": NOW_MS + 120_000}

    def test_of_another_process_is_seen_before_the_next_request(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fake_time: FakeTime, ban_path: Path
    ) -> None:
        answer(200, ROWS)
        assert fetch(rest).rows == 5
        BanFile(ban_path, fake_time.now_ms).record("spot", 300_000)
        with pytest.raises(ExchangeBanned, match="no request was sent"):
            fetch(rest)
        assert len(http.calls) == 1
        fake_time.clock.advance(300_000)
        assert fetch(rest).rows == 5

    def test_its_end_is_meant_by_the_exchanges_clock(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fake_time: FakeTime, make_rest: MakeRest
    ) -> None:
        """This machine is ten minutes slow: the ban still lasts five minutes."""
        exchange_ms = NOW_MS + 600_000
        http.get(f"{SPOT_URL}/api/v3/time", json={"serverTime": exchange_ms})
        rest.synchronize_clock()
        answer(418, banned_until(exchange_ms + 300_000))
        answer(200, ROWS)
        with pytest.raises(ExchangeBanned):
            fetch(rest)
        fake_time.clock.set(NOW_MS + 299_999)
        with pytest.raises(ExchangeBanned):
            fetch(make_rest(Market.SPOT, SPOT_URL))
        fake_time.clock.set(NOW_MS + 300_000)
        assert fetch(make_rest(Market.SPOT, SPOT_URL)).rows == 5

    def test_the_futures_markets_share_it_and_spot_does_not(
        self, make_rest: MakeRest, answer: Answer, http: responses.RequestsMock
    ) -> None:
        http.get(f"{FUTURES_URL}/fapi/v1/klines", json=banned_until(NOW_MS + 300_000), status=418)
        answer(200, ROWS)
        with pytest.raises(ExchangeBanned):
            make_rest(Market.UM, FUTURES_URL).find_last_candle(parse_series("um:BTCUSDT"))
        with pytest.raises(ExchangeBanned):
            make_rest(Market.CM, FUTURES_URL).find_last_candle(parse_series("cm:BTCUSD_PERP"))
        assert fetch(make_rest(Market.SPOT, SPOT_URL)).rows == 5
        assert len(http.calls) == 2

    def test_a_request_that_waited_for_weight_meanwhile_is_not_sent(
        self, make_rest: MakeRest, http: responses.RequestsMock, fake_time: FakeTime, ban_path: Path
    ) -> None:
        bans = BanFile(ban_path, fake_time.now_ms)

        def sleep(seconds: float) -> None:
            fake_time.sleep(seconds)
            bans.record("spot", 300_000)  # another thread was told

        budget = WeightBudget(2, 1.0, fake_time.now_ms, fake_time.monotonic_s, sleep)
        rest = rest_of(Market.SPOT, SPOT_URL, budget, bans, fake_time, sleep=sleep)
        budget.acquire(2)
        with pytest.raises(ExchangeBanned):
            fetch(rest)
        assert len(http.calls) == 0


class TestAMarketThatRefusesThisAddress:
    def test_a_geo_block_says_what_helps(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fake_time: FakeTime
    ) -> None:
        answer(451, {"code": 0, "msg": "Service unavailable from a restricted location."})
        with pytest.raises(ExchangeUnavailable) as caught:
            fetch(rest)
        for word in ("451", "restricted location", "BINANCE_API_URL", "data-api.binance.vision", "--source archive"):
            assert word in str(caught.value)
        assert (len(http.calls), fake_time.waits) == (1, [])

    def test_a_firewall_page_says_what_helps_and_shows_no_html(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock
    ) -> None:
        answer(403, HTML)
        with pytest.raises(ExchangeUnavailable) as caught:
            fetch(rest)
        for word in ("403", "Request blocked.", "another network", "--source archive"):
            assert word in str(caught.value)
        assert "<" not in str(caught.value)
        assert len(http.calls) == 1

    @pytest.mark.parametrize("status", [403, 451])
    def test_the_recorded_pages_are_understood(
        self, rest: BinanceRest, answer: Answer, shared_data: Path, status: int
    ) -> None:
        items = json.loads((shared_data / "rest" / "errors_observed.json").read_text())["items"]
        [body] = [item["body"] for item in items if item["http"] == status]
        answer(status, body)
        with pytest.raises(ExchangeUnavailable, match=f"answers {status}: ") as caught:
            fetch(rest)
        assert not isinstance(caught.value, ExchangeBanned)


class TestServerFaults:
    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520])
    def test_a_burst_is_sat_out_with_growing_waits(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fake_time: FakeTime, status: int
    ) -> None:
        answer(status, HTML, times=ATTEMPTS - 1)
        answer(200, ROWS)
        assert rows_of(fetch(rest)) == columns_of(ROWS)
        assert len(http.calls) == ATTEMPTS
        assert [1 <= wait <= 31 for wait in fake_time.waits] == [True] * (ATTEMPTS - 1)
        assert fake_time.waits[4] > fake_time.waits[2] > fake_time.waits[0]

    @pytest.mark.parametrize("status", [408, 500, 503])
    def test_for_ever_the_market_is_given_up(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, status: int
    ) -> None:
        answer(status, "Service Unavailable")
        with pytest.raises(ExchangeUnavailable, match=f"answers {status}: Service Unavailable"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS

    @pytest.mark.parametrize("code", [-1000, -1001, -1007, -1008, -1016])
    def test_passing_codes_are_asked_again(self, rest: BinanceRest, answer: Answer, code: int) -> None:
        answer(400, {"code": code, "msg": "Internal error; unable to process your request."}, times=2)
        answer(200, ROWS)
        assert fetch(rest).rows == 5

    def test_maintenance_for_ever_is_a_market_that_cannot_be_used(self, rest: BinanceRest, answer: Answer) -> None:
        answer(400, {"code": -1016, "msg": "This service is no longer available."})
        with pytest.raises(ExchangeUnavailable, match="no longer available"):
            fetch(rest)

    def test_every_attempt_costs_weight(self, rest: BinanceRest, answer: Answer) -> None:
        answer(500, times=3)
        answer(200, ROWS)
        fetch(rest)
        assert budget_of(rest).total_used == 4 * 2


class TestARefusedSeries:
    @pytest.mark.parametrize(
        ("code", "message"),
        [
            (-1121, "Invalid symbol."),
            (-1120, "Invalid interval."),
            (-4088, "Maximum time interval is 200 days."),
            (-1130, "Data sent for parameter 'limit' is not valid."),
        ],
    )
    def test_the_error_names_the_series_and_nothing_is_asked_again(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, code: int, message: str
    ) -> None:
        answer(400, {"code": code, "msg": message})
        with pytest.raises(SeriesError) as caught:
            fetch(rest)
        assert not isinstance(caught.value, UnusableAnswer)
        for word in ("BTCUSDT/1m", "2024-03-01", message, str(code)):
            assert word in str(caught.value)
        assert len(http.calls) == 1

    @pytest.mark.parametrize("body", ["", HTML, "[]", '{"code":"x","msg":1}', '{"msg":"no code"}'])
    def test_a_refusal_without_a_code_is_asked_again_and_then_given_up(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, body: str
    ) -> None:
        answer(400, body)
        with pytest.raises(UnusableAnswer, match="BTCUSDT/1m"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS


class TestAWrongAddress:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_not_followed(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, status: int
    ) -> None:
        answer(status, "", {"Location": "https://www.binance.test/en"})
        http.get("https://www.binance.test/en", json=ROWS)
        with pytest.raises(ExchangeUnavailable, match="BINANCE_API_URL"):
            fetch(rest)
        assert len(http.calls) == 1

    def test_a_host_without_the_api_says_which_setting_to_check(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock
    ) -> None:
        answer(404, "<html><body><h1>404 Not Found</h1></body></html>")
        with pytest.raises(ExchangeUnavailable, match="404 Not Found Check the address in BINANCE_API_URL"):
            fetch(rest)
        assert len(http.calls) == 1

    @pytest.mark.parametrize(
        "url",
        [
            "nonsense",
            "http://",
            "http://[::1",
            "http://host:port",
            "http://.test",
            "https://api..binance.com",
            "http://api..binance.com:8080",
            f"https://{'a' * 70}.binance.com",
            f"https://api.{'a' * 70}",
            "ftp://spot.test",
        ],
    )
    def test_an_address_that_is_none_is_a_wrong_setting(
        self, make_rest: MakeRest, fake_time: FakeTime, url: str
    ) -> None:
        with pytest.raises(ConfigurationError, match="not a usable address"):
            fetch(make_rest(Market.SPOT, url))
        assert fake_time.waits == []

    def test_an_address_where_nothing_answers_is_a_market_that_cannot_be_used(self, make_rest: MakeRest) -> None:
        with pytest.raises(ExchangeUnavailable):
            fetch(make_rest(Market.SPOT, "http://127.0.0.1:1"))

    def test_what_lies_at_the_bottom_of_a_fault_is_all_that_is_shown(self, make_rest: MakeRest) -> None:
        with pytest.raises(ExchangeUnavailable) as caught:
            fetch(make_rest(Market.SPOT, "http://127.0.0.1:1"))
        refused = f"[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}"
        assert str(caught.value).endswith(
            "no whole answer from http://127.0.0.1:1/api/v3/klines: "
            f"ConnectionError: {refused}; check the network and the address "
            f"(given up after {ATTEMPTS} attempts; run again later)"
        )
        assert "HTTPConnectionPool" not in str(caught.value) and "object at 0x" not in str(caught.value)


class TestTransportFaults:
    FAULTS = (
        requests.exceptions.ConnectionError("refused"),
        requests.exceptions.ConnectTimeout("no answer in 10 s"),
        requests.exceptions.ReadTimeout("no answer in 30 s"),
        requests.exceptions.ChunkedEncodingError("cut"),
        requests.exceptions.SSLError("certificate"),
        requests.exceptions.ContentDecodingError("gzip"),
    )

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
    def test_it_is_asked_again(
        self, rest: BinanceRest, answer: Answer, http: responses.RequestsMock, fault: Exception
    ) -> None:
        http.get(KLINES, body=fault)
        answer(200, ROWS)
        assert rows_of(fetch(rest)) == columns_of(ROWS)

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
    def test_for_ever_the_market_is_given_up(
        self, rest: BinanceRest, http: responses.RequestsMock, fault: Exception
    ) -> None:
        http.get(KLINES, body=fault)
        with pytest.raises(ExchangeUnavailable, match=type(fault).__name__):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS

    def test_the_deepest_cause_is_shown_and_cut_to_a_readable_length(
        self, rest: BinanceRest, http: responses.RequestsMock
    ) -> None:
        fault = requests.exceptions.ConnectionError("the outer layer")
        fault.__cause__ = ValueError("the middle layer")
        fault.__cause__.__context__ = OSError("the bottom " + "x" * 5000)
        http.get(KLINES, body=fault)
        with pytest.raises(ExchangeUnavailable, match="ConnectionError: the bottom xxx") as caught:
            fetch(rest)
        assert "layer" not in str(caught.value)
        assert len(str(caught.value)) < 400


class TestTheClock:
    def test_it_is_set_from_the_exchange(
        self, http: responses.RequestsMock, fake_time: FakeTime, ban_path: Path
    ) -> None:
        http.get(f"{FUTURES_URL}/fapi/v1/time", json={"serverTime": NOW_MS + 4321})
        clock = ExchangeClock(fake_time.now_ms, fake_time.monotonic_s)
        budget = WeightBudget(100, 1.0, clock.now_ms, fake_time.monotonic_s, fake_time.sleep)
        bans = BanFile(ban_path, fake_time.now_ms)
        rest_of(Market.UM, FUTURES_URL, budget, bans, fake_time, clock=clock).synchronize_clock()
        assert clock.now_ms() == NOW_MS + 4321
        assert budget.total_used == 1

    @pytest.mark.parametrize("body", ["[]", "{}", '{"serverTime":"1717243200000"}', '{"serverTime":1.5}', HTML, ""])
    def test_an_answer_without_a_time_is_a_market_that_cannot_be_used(
        self, rest: BinanceRest, http: responses.RequestsMock, body: str
    ) -> None:
        http.get(f"{SPOT_URL}/api/v3/time", body=body)
        with pytest.raises(ExchangeUnavailable, match="market spot"):
            rest.synchronize_clock()
        assert len(http.calls) == ATTEMPTS

    def test_a_refusal_is_a_market_that_cannot_be_used(self, rest: BinanceRest, http: responses.RequestsMock) -> None:
        http.get(f"{SPOT_URL}/api/v3/time", json={"code": -1102, "msg": "Mandatory parameter."}, status=400)
        with pytest.raises(ExchangeUnavailable, match="Mandatory parameter"):
            rest.synchronize_clock()


@given(
    status=st.integers(200, 599).filter(lambda status: status != 200),
    body=st.binary(max_size=40)
    | st.builds(lambda code, msg: json.dumps({"code": code, "msg": msg}).encode(), st.integers(-5000, 5), st.text()),
    retry_after=st.none() | st.integers(0, 10**18).map(str) | st.sampled_from(["", "soon", "-1", "1.5", "²"]),
)
def test_whatever_is_answered_ends_in_a_typed_error(
    make_rest: MakeRest, ban_path: Path, status: int, body: bytes, retry_after: str | None
) -> None:
    ban_path.unlink(missing_ok=True)
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    with responses.RequestsMock() as mock:
        mock.get(KLINES, body=body, status=status, headers=headers)
        with pytest.raises(FetcherError):
            fetch(make_rest(Market.SPOT, SPOT_URL))
        assert 1 <= len(mock.calls) <= ATTEMPTS
