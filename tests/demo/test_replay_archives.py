from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable

import pytest
import requests

from core.ranges import Span
from core.series import Series, parse_series
from core.times import parse_time
from demo.archive_calendar import published_ms
from demo.archive_names import Period, archive_key, day_of, file_stem, folder, month_of
from demo.candle_store import CandleStore
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
Make = Callable[[str, str, str], CandleStore]


def lines_of(zipped: bytes) -> tuple[str, list[str]]:
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        [name] = archive.namelist()
        text = archive.read(name).decode()
    assert text.endswith("\n") and not text.endswith("\n\n")
    return name, text.splitlines()


def as_csv(store: CandleStore, series: Series, span: Span, *, microseconds: bool = False) -> list[str]:
    rows = store.rows(series, span.start_ms, span.end_ms)
    if microseconds:
        rows = [[f"{row[0]}000", *row[1:6], f"{row[6]}999", *row[7:]] for row in rows]
    return [",".join(map(str, row)) for row in rows]


def test_a_day_is_a_zip_with_one_csv_and_a_checksum(market: CandleStore, run: Run, http: requests.Session) -> None:
    series, day = parse_series("BTCUSDT"), day_of(parse_time("2024-12-05"))
    url = f"{run(market, '2025-01-20').archive_url}/{archive_key(series, day)}"
    assert url.endswith("/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-12-05.zip")
    zipped, checksum = http.get(url), http.get(url + ".CHECKSUM")
    assert zipped.headers["Content-Type"] == "application/zip"
    assert lines_of(zipped.content) == ("BTCUSDT-1m-2024-12-05.csv", as_csv(market, series, day.span))
    digest = hashlib.sha256(zipped.content).hexdigest()
    assert checksum.content == f"{digest}  BTCUSDT-1m-2024-12-05.zip".encode()


def test_a_month_holds_all_its_candles(market: CandleStore, run: Run, http: requests.Session) -> None:
    series, month = parse_series("BTCUSDT"), month_of(parse_time("2024-12-05"))
    answer = http.get(f"{run(market, '2025-01-20').archive_url}/{archive_key(series, month)}")
    assert lines_of(answer.content) == ("BTCUSDT-1m-2024-12.csv", as_csv(market, series, month.span))


def test_the_month_interval_is_called_1mo(market: CandleStore, run: Run, http: requests.Session) -> None:
    series, month = parse_series("BTCUSDT/1M"), month_of(parse_time("2024-12-05"))
    url = f"{run(market, '2025-01-20').archive_url}/data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-12.zip"
    assert lines_of(http.get(url).content) == ("BTCUSDT-1mo-2024-12.csv", as_csv(market, series, month.span))


def test_spot_is_in_microseconds_from_2025_on(market: CandleStore, run: Run, http: requests.Session) -> None:
    series, day = parse_series("BTCUSDT"), day_of(parse_time("2025-01-01"))
    answer = http.get(f"{run(market, '2025-01-20').archive_url}/{archive_key(series, day)}")
    _, lines = lines_of(answer.content)
    assert lines == as_csv(market, series, day.span, microseconds=True)
    assert lines[0].startswith("1735689600000000,")
    assert lines[0].split(",")[6] == "1735689659999999"


@pytest.mark.parametrize("notation", ["um:BTCUSDT", "cm:BTCUSD_PERP"])
def test_futures_have_a_header_and_stay_in_ms(
    market: CandleStore, run: Run, http: requests.Session, notation: str
) -> None:
    series, day = parse_series(notation), day_of(parse_time("2025-01-01"))
    answer = http.get(f"{run(market, '2025-01-20').archive_url}/{archive_key(series, day)}")
    _, (header, *lines) = lines_of(answer.content)
    assert header.startswith("open_time,open,high,low,close,volume,close_time,quote_volume,count,")
    assert len(header.split(",")) == 12
    assert lines == as_csv(market, series, day.span)


def test_futures_had_no_header_before_june_2022(run: Run, make_store: Make, http: requests.Session) -> None:
    store = make_store("um:BTCUSDT", "2022-05-30", "2022-06-03")
    exchange, series = run(store, "2022-06-10"), parse_series("um:BTCUSDT")
    first_cells = {}
    for day in ("2022-05-31", "2022-06-01"):
        answer = http.get(f"{exchange.archive_url}/{archive_key(series, day_of(parse_time(day)))}")
        first_cells[day] = lines_of(answer.content)[1][0].split(",")[0]
    assert first_cells == {"2022-05-31": str(parse_time("2022-05-31")), "2022-06-01": "open_time"}


@pytest.mark.parametrize(
    ("period", "published"),
    [
        (day_of(parse_time("2024-12-31")), "2025-01-01T08:00"),
        (month_of(parse_time("2024-11-05")), "2024-12-02T08:00"),
        (month_of(parse_time("2024-12-05")), "2025-01-06T08:00"),
        (month_of(parse_time("2024-06-05")), "2024-07-01T08:00"),  # the first is a Monday
    ],
)
def test_when_files_are_published(period: Period, published: str) -> None:
    assert published_ms(period) == parse_time(published)


def test_a_file_is_not_there_before_it_is_published(market: CandleStore, run: Run, http: requests.Session) -> None:
    series, month = parse_series("BTCUSDT"), month_of(parse_time("2024-12-05"))
    exchange = run(market, "2025-01-06T07:59:59")
    key = archive_key(series, month)
    for suffix in ("", ".CHECKSUM"):
        answer = http.get(f"{exchange.archive_url}/{key}{suffix}")
        assert answer.status_code == 404
        assert "<Code>NoSuchKey</Code>" in answer.text and f"<Key>{key}{suffix}</Key>" in answer.text
    exchange.clock.advance(1000)
    assert http.get(f"{exchange.archive_url}/{key}").status_code == 200


@pytest.mark.parametrize(
    "key",
    [
        "data/spot/daily/klines/ETHUSDT/1m/ETHUSDT-1m-2024-11-12.zip",  # before the listing: no rows
        "data/spot/daily/klines/NOSUCH/1m/NOSUCH-1m-2024-12-05.zip",
        "data/spot/daily/klines/BTCUSDT/1w/BTCUSDT-1w-2024-12-02.zip",  # daily files stop at 1d
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-12.zip",  # a month among the days
        "data/spot/monthly/klines/BTCUSDT/1m/",
    ],
)
def test_what_does_not_exist_is_404(market: CandleStore, run: Run, http: requests.Session, key: str) -> None:
    assert http.get(f"{run(market, '2025-01-20').archive_url}/{key}").status_code == 404


def test_a_hole_made_later_is_in_the_next_zip(run: Run, make_store: Make, http: requests.Session) -> None:
    store, series = make_store("BTCUSDT", "2024-03-01", "2024-03-03"), parse_series("BTCUSDT")
    exchange, day = run(store, "2024-03-10"), day_of(parse_time("2024-03-01"))
    url = f"{exchange.archive_url}/{archive_key(series, day)}"
    assert len(lines_of(http.get(url).content)[1]) == 1440
    store.remove(series, Span(parse_time("2024-03-01T10:00"), parse_time("2024-03-01T11:00")))
    assert len(lines_of(http.get(url).content)[1]) == 1380


def test_names_that_are_not_ascii_are_found(run: Run, make_store: Make, http: requests.Session) -> None:
    store, series = make_store("币安人生USDT", "2024-03-01", "2024-03-03"), parse_series("币安人生USDT")
    exchange, day = run(store, "2024-03-10"), day_of(parse_time("2024-03-01"))
    answer = http.get(f"{exchange.archive_url}/{folder(series, day.cadence)}{file_stem(series, day)}.zip")
    assert len(lines_of(answer.content)[1]) == 1440


def test_archives_can_be_switched_off(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, "2025-01-20", archives=False)
    key = archive_key(parse_series("BTCUSDT"), day_of(parse_time("2024-12-05")))
    assert http.get(f"{exchange.archive_url}/{key}").status_code == 404
    assert http.get(exchange.archive_list_url).status_code == 404
