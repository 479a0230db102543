"""A 200 is not yet an answer: what is refused before a candle is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import responses
from fetcher_helpers import FakeTime, Row, columns_of, generated, rows_of
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch
from core.errors import UnusableAnswer
from core.instrument import Market
from core.ranges import Span
from core.series import parse_series
from fetcher.binance.rest import BinanceRest
from fetcher.binance.rest_answers import read_json
from fetcher.binance.rest_page import read_page

URL = "https://spot.test"
KLINES = f"{URL}/api/v3/klines"
SERIES = parse_series("BTCUSDT/1m")
SPAN, ROWS = generated(SERIES, "2024-03-01", 8)
ATTEMPTS = 6


def altered(position: int, value: Any, row: int = 3) -> list[Row]:
    """Return the good rows, one cell changed."""
    return [[*r[:position], value, *r[position + 1 :]] if n == row else r for n, r in enumerate(ROWS)]


@pytest.fixture
def rest(make_rest: Callable[..., BinanceRest]) -> BinanceRest:
    return make_rest(Market.SPOT, URL)


def fetch(rest: BinanceRest) -> CandleBatch:
    return rest.fetch_binance_ohlcv(SERIES, SPAN.start_ms, SPAN.end_ms)


NOT_CANDLES = {
    "an HTML page": "<html><body>Service is down</body></html>",
    "nothing": "",
    "blanks": "  \n",
    "cut off in the middle": json.dumps(ROWS)[:400],
    "the last bracket missing": json.dumps(ROWS)[:-1],
    "an error in a 200": '{"code":-1121,"msg":"Invalid symbol."}',
    "an empty object": "{}",
    "null": "null",
    "a number": "7",
    "a text": '"[]"',
    "NaN for a price": json.dumps(ROWS).replace(f'"{ROWS[3][1]}"', "NaN", 1),
    "Infinity for a count": json.dumps(altered(8, float("inf"))),
    "two documents": "[][]",
    "a byte order mark": "\ufeff[]",
}

BAD_ROWS = {
    "a candle twice": [*ROWS[:4], ROWS[3], *ROWS[4:7]],
    "the whole page twice": ROWS + ROWS,
    "newest first": ROWS[::-1],
    "two candles exchanged": [*ROWS[:2], ROWS[3], ROWS[2], *ROWS[4:]],
    "more rows than asked for": [*ROWS, [ROWS[-1][0] + 1, *ROWS[-1][1:]]],
    "a row before the window": [[SPAN.start_ms - 60_000, *ROWS[0][1:]], *ROWS[1:]],
    "all rows before the window": [[row[0] - 86_400_000, *row[1:]] for row in ROWS],
    "a row at the end of the window": [*ROWS[1:], [SPAN.end_ms, *ROWS[0][1:]]],
    "one row, at the end of the window": [[SPAN.end_ms, *ROWS[0][1:]]],
    "a row long after the window": [*ROWS[:7], [SPAN.end_ms + 86_400_000, *ROWS[7][1:]]],
    "all rows a day late": [[row[0] + 86_400_000, *row[1:]] for row in ROWS],
    "microseconds for all times": [[row[0] * 1000, *row[1:]] for row in ROWS],
    "microseconds for one time": altered(0, ROWS[7][0] * 1000, row=7),
    "eleven fields": [row[:11] for row in ROWS],
    "thirteen fields": [[*row, "0"] for row in ROWS],
    "one row of eleven fields": [*ROWS[:3], ROWS[3][:11], *ROWS[4:]],
    "an empty row": [*ROWS[:3], [], *ROWS[4:]],
    "objects for rows": [{"openTime": row[0]} for row in ROWS],
    "texts for rows": ["twelve chars"] * 3,
    "one flat row": ROWS[0],
    "null for a row": [None],
    "a number for a price": altered(1, 62000.5),
    "a whole number for a price": altered(2, 62000),
    "true for a price": altered(4, True),
    "a list for a price": altered(4, ["62000"]),
    "a zero candle": [[row[0], "0", "0", "0", "0", *row[5:]] for row in ROWS],
    "high below low": [[r[0], r[1], r[3], r[2], *r[4:]] for r in ROWS],
    "a number for a volume": altered(5, 12.5),
    "a text for a time": altered(0, str(ROWS[3][0])),
    "null for a time": altered(0, None),
    "true for a time": altered(0, True),
    "a float for a time": altered(0, float(ROWS[3][0])),
    "a float for every time": [[float(row[0]), *row[1:]] for row in ROWS],
    "a time with decimals": altered(0, ROWS[3][0] + 0.5),
    "a time beyond 64 bits": altered(0, 2**64),
    "a negative time": altered(0, -1, row=0),
    "a time before the year 1": altered(0, -(10**15), row=0),
    "a time after the year 9999, out of order": altered(0, 10**16),
    "a text for the trades": altered(8, "5"),
    "a float for the trades": altered(8, 5.0),
    "trades with decimals": altered(8, 5.5),
    "true for the trades": altered(8, True),
    "false for the trades": altered(8, False),
    "null for the trades": altered(8, None),
}


IMPOSSIBLE_ROWS = {
    "null for a price": altered(3, None),
    "an empty price": altered(1, ""),
    "a word for a price": altered(1, "n/a"),
    "NaN in a text": altered(2, "NaN"),
    "an exponent": altered(3, "6.2E4"),
    "a thousands separator": altered(4, "62,000.1"),
    "blanks around a price": altered(1, " 62000.1 "),
    "a plus sign": altered(1, "+62000.1"),
    "a negative price": altered(3, "-1.00000000"),
    "a price of zero": altered(3, "0.00000000"),
    "a price of 21 digits": altered(2, "9" * 21),
    "a price of 19 decimals": altered(2, "99999999." + "1" * 19),
    "open above high": altered(1, "99999999.0"),
    "close below low": altered(4, "0.00000001"),
    "a negative volume": altered(5, "-0.00000001"),
    "a negative taker volume": altered(10, "-1"),
    "negative trades": altered(8, -1),
    "more trades than the column holds": altered(8, 2**31),
}


@pytest.mark.parametrize("body", NOT_CANDLES.values(), ids=NOT_CANDLES.keys())
class TestAnAnswerThatIsNotAListOfCandles:
    def test_is_asked_for_again(
        self, rest: BinanceRest, http: responses.RequestsMock, fake_time: FakeTime, body: str
    ) -> None:
        http.get(KLINES, body=body.encode(), content_type="application/json")
        http.get(KLINES, json=ROWS)
        assert rows_of(fetch(rest)) == columns_of(ROWS)
        assert len(http.calls) == 2
        assert len(fake_time.waits) == 1

    def test_is_refused_in_the_end_naming_the_series(
        self, rest: BinanceRest, http: responses.RequestsMock, body: str
    ) -> None:
        http.get(KLINES, body=body.encode(), content_type="application/json")
        with pytest.raises(UnusableAnswer, match="BTCUSDT/1m: 2024-03-01"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS


@pytest.mark.parametrize("rows", BAD_ROWS.values(), ids=BAD_ROWS.keys())
class TestAPageWithABadRow:
    def test_is_asked_for_again_and_none_of_it_is_returned(
        self, rest: BinanceRest, http: responses.RequestsMock, rows: list[Any]
    ) -> None:
        http.get(KLINES, json=rows)
        http.get(KLINES, json=ROWS)
        assert rows_of(fetch(rest)) == columns_of(ROWS)
        assert len(http.calls) == 2

    def test_is_refused_in_the_end_naming_the_series(
        self, rest: BinanceRest, http: responses.RequestsMock, rows: list[Any]
    ) -> None:
        http.get(KLINES, json=rows)
        with pytest.raises(UnusableAnswer, match="BTCUSDT/1m: 2024-03-01"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS


@pytest.mark.parametrize("rows", IMPOSSIBLE_ROWS.values(), ids=IMPOSSIBLE_ROWS.keys())
class TestAPageWithARowThatCannotBeACandle:
    def test_is_asked_for_again_and_none_of_it_is_returned(
        self, rest: BinanceRest, http: responses.RequestsMock, rows: list[Any]
    ) -> None:
        http.get(KLINES, json=rows)
        http.get(KLINES, json=ROWS)
        assert rows_of(fetch(rest)) == columns_of(ROWS)
        assert len(http.calls) == 2

    def test_is_believed_without_that_row_when_three_answers_have_the_same(
        self, rest: BinanceRest, http: responses.RequestsMock, rows: list[Any]
    ) -> None:
        http.get(KLINES, json=rows)
        found = fetch(rest)
        assert rows_of(found) == columns_of([row for row in ROWS if row is not ROWS[3]])
        [unusable] = found.unusable
        assert (unusable.open_ms, json.loads(unusable.row)) == (ROWS[3][0], rows[3])
        assert len(http.calls) == 3


class TestImpossibleRowsAreNotBelieved:
    def test_when_they_change_from_answer_to_answer(self, rest: BinanceRest, http: responses.RequestsMock) -> None:
        for number in range(ATTEMPTS):
            http.get(KLINES, json=altered(3, f"-{1 + number % 2}"))
        with pytest.raises(UnusableAnswer, match="impossible candle, low is not a plain decimal number"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS

    def test_when_they_are_many(self, rest: BinanceRest, http: responses.RequestsMock) -> None:
        """Four of eight: not a record that is damaged, but an answer, or another layout."""
        http.get(KLINES, json=[[*r[:5], "-1", *r[6:]] if n < 4 else r for n, r in enumerate(ROWS)])
        with pytest.raises(UnusableAnswer, match="at least 3 more"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS


class TestWhatIsAccepted:
    @pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/octet-stream"])
    def test_the_body_counts_not_the_content_type(
        self, rest: BinanceRest, http: responses.RequestsMock, content_type: str
    ) -> None:
        http.get(KLINES, body=json.dumps(ROWS), content_type=content_type)
        assert rows_of(fetch(rest)) == columns_of(ROWS)

    def test_the_last_millisecond_of_the_window_belongs_to_it_and_its_end_does_not(self) -> None:
        assert rows_of(read_page(ROWS, Span(SPAN.start_ms, ROWS[7][0] + 1), 8)) == columns_of(ROWS)
        with pytest.raises(UnusableAnswer, match="where 2024-03-01 .. 2024-03-01T00:07Z was asked for"):
            read_page(ROWS, Span(SPAN.start_ms, ROWS[7][0]), 8)

    def test_the_first_millisecond_of_the_window_belongs_to_it_and_the_one_before_does_not(self) -> None:
        assert rows_of(read_page(ROWS, Span(ROWS[0][0], SPAN.end_ms), 8)) == columns_of(ROWS)
        with pytest.raises(UnusableAnswer, match="was asked for"):
            read_page(ROWS, Span(ROWS[0][0] + 1, SPAN.end_ms), 8)

    @pytest.mark.parametrize("date", ["Fri, 01 Mar 2024 00:07:59 GMT", "Fri, 01 Mar 2024 00:07:30 GMT"])
    def test_a_candle_that_ends_after_the_answers_own_date_is_not_taken(
        self, rest: BinanceRest, http: responses.RequestsMock, date: str
    ) -> None:
        """The date names whole seconds: 00:07:59 may be a hair before 00:08:00, but not 00:08:00 itself."""
        http.get(KLINES, json=ROWS, headers={"Date": date})
        with pytest.raises(UnusableAnswer, match="ends at 2024-03-01T00:08Z, but the answer's own date is"):
            fetch(rest)
        assert len(http.calls) == ATTEMPTS

    @pytest.mark.parametrize("date", ["Fri, 01 Mar 2024 00:08:00 GMT", "Sun, 01 Mar 2026 00:00:00 GMT", "x", ""])
    def test_a_candle_that_ended_by_the_answers_own_date_is_taken(
        self, rest: BinanceRest, http: responses.RequestsMock, date: str
    ) -> None:
        http.get(KLINES, json=ROWS, headers={"Date": date})
        assert rows_of(fetch(rest)) == columns_of(ROWS)

    def test_an_empty_list_is_a_page_without_candles(self) -> None:
        assert read_page([], SPAN, 8).rows == 0

    def test_a_candle_off_the_grid_is_kept_as_it_is(self) -> None:
        rows = altered(0, ROWS[3][0] + 14_789)
        assert rows_of(read_page(rows, SPAN, 8)) == columns_of(rows)

    def test_a_close_time_before_the_open_time_does_not_matter(self) -> None:
        """As on 2020-12-21 14:00; close times are not stored."""
        rows = altered(6, ROWS[3][0] - 1)
        assert rows_of(read_page(rows, SPAN, 8)) == columns_of(ROWS)

    def test_a_flat_candle_without_trades_is_a_candle(self) -> None:
        rows = [[ROWS[0][0], *["0.00000100"] * 4, "0.00000000", ROWS[0][6], "0.00000000", 0, "0", "0", "0"]]
        assert rows_of(read_page(rows, SPAN, 8)) == columns_of(rows)

    @pytest.mark.parametrize(
        "price", ["0.00000001", "1", "1.000000000000000001", "99999999999999999999", "99999999999999999999." + "9" * 18]
    )
    def test_every_digit_of_a_price_is_kept(self, price: str) -> None:
        rows = [[ROWS[0][0], price, price, price, price, *ROWS[0][5:]]]
        assert rows_of(read_page(rows, SPAN, 8))[0][1:5] == (price,) * 4

    def test_the_most_trades_that_the_column_holds(self) -> None:
        rows = altered(8, 2**31 - 1)
        assert rows_of(read_page(rows, SPAN, 8)) == columns_of(rows)


@pytest.mark.parametrize(
    ("name", "notation"),
    [
        ("api_v3_klines.BTCUSDT.1h.2024-01-15.json", "BTCUSDT/1h"),
        ("gct.api_v3_klines.BTCUSDT.1h.1000.json", "BTCUSDT/1h"),
        ("gct.api_v3_klines.BTCUSDT.1h.page2.json", "BTCUSDT/1h"),
        ("gct.api_v3_klines.BTCUSDT.1m.json", "BTCUSDT/1m"),
        ("gct.fapi_v1_klines.LTCUSDT.5m.json", "um:LTCUSDT/5m"),
        ("gct.fapi_v1_klines.BTCUSDT.1d.listing.json", "um:BTCUSDT/1d"),
        ("gct.dapi_v1_klines.BTCUSD_PERP.1M.json", "cm:BTCUSD_PERP/1M"),
    ],
)
def test_recorded_pages_are_read_digit_for_digit(shared_data: Path, name: str, notation: str) -> None:
    content = (shared_data / "rest" / name).read_bytes()
    rows = json.loads(content)
    interval = parse_series(notation).interval
    window = Span(rows[0][0], interval.add(interval.floor(rows[-1][0]), 1))
    assert rows_of(read_page(read_json(content), window, 1500)) == columns_of(rows)


TIMES = st.integers(SPAN.start_ms - 120_000, SPAN.end_ms + 120_000) | st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.sampled_from(["1", "2.50", "0.00000001", "0", "-1", "NaN", "1e3", "", "1."])
ODD_CELLS = st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
FLOATS = st.floats(SPAN.start_ms, SPAN.end_ms) | st.integers(SPAN.start_ms, SPAN.end_ms).map(float)
ODD_ROWS = st.lists(
    st.tuples(TIMES, *[NUMBERS] * 5, TIMES, NUMBERS, st.integers(-2, 2**33), NUMBERS, NUMBERS, NUMBERS).map(list)
    | st.lists(TIMES | NUMBERS | ODD_CELLS, min_size=10, max_size=13)
    | ODD_CELLS,
    max_size=4,
)
GOOD_ROWS = st.lists(st.sampled_from(ROWS), max_size=9)
ONE_ODD_CELL = st.builds(altered, st.integers(0, 11), TIMES | FLOATS | NUMBERS | ODD_CELLS, st.integers(0, 7))


@given(body=ODD_ROWS | GOOD_ROWS | ONE_ODD_CELL | ODD_CELLS)
def test_any_page_is_either_refused_or_returned_unchanged(body: Any) -> None:
    try:
        batch = read_page(body, SPAN, 8)
    except UnusableAnswer:
        return
    left_out = {one.open_ms for one in batch.unusable}
    assert rows_of(batch) == [row for row in columns_of(body) if row[0] not in left_out]
    assert all(SPAN.start_ms <= row[0] < SPAN.end_ms for row in body)
    assert {type(row[position]) for row in body for position in (0, 8)} <= {int}  # 1.0 and True equal 1
