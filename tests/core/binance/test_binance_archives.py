"""Names, folders and periods of the public archives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.archives import NO_ARCHIVES, Cadence, Period, day_of, month_of
from core.binance.archives import file_stem, folder, index_of_files, period_of_file
from core.binance.rules import BinanceRules
from core.intervals import INTERVALS
from core.series import Series, make_series, parse_series
from core.times import parse_time

BTC_1M = parse_series("BTCUSDT/1m")
instants = st.integers(parse_time("2017-08-17"), parse_time("2035-01-01"))


def rules_of(series: Series) -> BinanceRules:
    return BinanceRules(series, 1000)


def month(text: str) -> Period:
    return month_of(parse_time(f"{text}-01"))


def day(text: str) -> Period:
    return day_of(parse_time(text))


@pytest.mark.parametrize(
    ("text", "cadence", "path"),
    [
        ("BTCUSDT/1m", Cadence.MONTHLY, "data/spot/monthly/klines/BTCUSDT/1m/"),
        ("BTCUSDT/1M", Cadence.MONTHLY, "data/spot/monthly/klines/BTCUSDT/1mo/"),
        ("BTCUSDT/1s", Cadence.DAILY, "data/spot/daily/klines/BTCUSDT/1s/"),
        ("um:BTCUSDT/1h", Cadence.DAILY, "data/futures/um/daily/klines/BTCUSDT/1h/"),
        ("cm:BTCUSD_PERP/1d", Cadence.MONTHLY, "data/futures/cm/monthly/klines/BTCUSD_PERP/1d/"),
    ],
)
def test_folders_are_those_of_the_contract(text: str, cadence: Cadence, path: str) -> None:
    assert folder(parse_series(text), cadence) == path


@pytest.mark.parametrize(
    ("text", "period", "stem"),
    [
        ("BTCUSDT/1m", month("2023-01"), "BTCUSDT-1m-2023-01"),
        ("BTCUSDT/1m", day("2023-01-31"), "BTCUSDT-1m-2023-01-31"),
        ("BTCUSDT/1M", month("2017-12"), "BTCUSDT-1mo-2017-12"),
        ("um:BTCUSDT/1m", day("2022-09-05"), "BTCUSDT-1m-2022-09-05"),
        ("cm:BTCUSD_PERP/1m", day("2022-10-24"), "BTCUSD_PERP-1m-2022-10-24"),
    ],
)
def test_files_are_named_as_on_the_archive_host(text: str, period: Period, stem: str) -> None:
    assert file_stem(parse_series(text), period) == stem


@given(instants, st.sampled_from([day_of, month_of]), st.sampled_from(["BTCUSDT/1m", "cm:BTCUSD_PERP/1M", "um:X_Y/1d"]))
def test_a_files_period_is_read_back_from_its_name(ms: int, period_of: object, text: str) -> None:
    period = day_of(ms) if period_of is day_of else month_of(ms)
    assert period_of_file(f"{file_stem(parse_series(text), period)}.zip") == period


def test_the_period_is_found_behind_a_whole_path_and_a_delivery_date() -> None:
    name = "data/futures/um/daily/klines/BTCUSDT_230630/1h/BTCUSDT_230630-1h-2023-06-01.zip"
    assert period_of_file(name) == day("2023-06-01")


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT-1m-2023-01.zip.CHECKSUM",
        "BTCUSDT-1m-2023-01-31.zip.CHECKSUM",
        "BTCUSDT-1m-2023-02-29.zip",
        "BTCUSDT-1m-2023-13.zip",
        "BTCUSDT-1m-2023-00.zip",
        "BTCUSDT-1m-2023-01-00.zip",
        "BTCUSDT-1m-0000-01.zip",
        "BTCUSDT-1m-2023-1.zip",
        "BTCUSDT-1m.zip",
        "BTCUSDT-1m-2023-01.csv",
        "",
    ],
)
def test_checksums_impossible_dates_and_other_files_have_no_period(name: str) -> None:
    assert period_of_file(name) is None


def test_an_index_knows_days_from_months_and_ignores_checksums() -> None:
    index = index_of_files(
        ["BTCUSDT-1m-2023-01.zip", "BTCUSDT-1m-2023-02-01.zip", "BTCUSDT-1m-2023-03.zip.CHECKSUM", "index.html"]
    )
    assert index.has(month("2023-01"))
    assert index.has(day("2023-02-01"))
    assert not index.has(day("2023-01-01"))
    assert not index.has(month("2023-02"))
    assert not index.has(month("2023-03"))
    assert index_of_files([]) == NO_ARCHIVES


@pytest.mark.parametrize("code", INTERVALS)
def test_daily_files_stop_at_one_day(code: str) -> None:
    assert rules_of(make_series("spot", "BTCUSDT", code)).has_daily_archives == (code not in ("3d", "1w", "1M"))
