"""The exchange's facts as literal numbers and texts, against what the replay exchange answers over its sockets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from core.intervals import Interval
from core.ranges import Span
from core.series import parse_series
from core.times import parse_time
from demo.aggregation import all_intervals
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
Make = Callable[[str, str, str], CandleStore]

NOTATIONS = {"api/v3": "BTCUSDT", "fapi/v1": "um:BTCUSDT", "dapi/v1": "cm:BTCUSD_PERP"}


@pytest.mark.parametrize(
    ("root", "limit", "weight"),
    [
        ("api/v3", 1, 2),
        ("api/v3", 1000, 2),
        *(
            (root, limit, weight)
            for root in ("fapi/v1", "dapi/v1")
            for limit, weight in [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)]
        ),
    ],
)
def test_what_a_page_of_candles_costs(
    run: Run, make_store: Make, http: requests.Session, root: str, limit: int, weight: int
) -> None:
    exchange = run(make_store(NOTATIONS[root], "2024-03-01", "2024-03-02"), "2024-03-02")
    symbol = parse_series(NOTATIONS[root]).symbol
    answer = http.get(f"{exchange.url}/{root}/klines?symbol={symbol}&interval=1m&limit={limit}")
    assert (answer.status_code, answer.headers["X-MBX-USED-WEIGHT-1M"]) == (200, str(weight))


@pytest.mark.parametrize(
    ("root", "budget", "weight"), [("api/v3", 6000, 20), ("fapi/v1", 2400, 1), ("dapi/v1", 2400, 1)]
)
def test_the_budget_of_a_minute(
    run: Run, make_store: Make, http: requests.Session, root: str, budget: int, weight: int
) -> None:
    exchange = run(make_store(NOTATIONS[root], "2024-03-01", "2024-03-02"), "2024-03-02")
    answer = http.get(f"{exchange.url}/{root}/exchangeInfo")
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": budget}
    assert limit in answer.json()["rateLimits"]


@pytest.mark.parametrize(
    ("notation", "path"),
    [
        ("BTCUSDT", "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02-05.zip"),
        ("BTCUSDT", "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02.zip"),
        ("BTCUSDT/1d", "data/spot/daily/klines/BTCUSDT/1d/BTCUSDT-1d-2024-02-05.zip"),
        ("BTCUSDT/3d", "data/spot/monthly/klines/BTCUSDT/3d/BTCUSDT-3d-2024-02.zip"),
        ("BTCUSDT/1M", "data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-02.zip"),
        ("um:BTCUSDT/5m", "data/futures/um/daily/klines/BTCUSDT/5m/BTCUSDT-5m-2024-02-05.zip"),
        ("um:BTCUSDT/5m", "data/futures/um/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2024-02.zip"),
        ("cm:BTCUSD_PERP/1h", "data/futures/cm/daily/klines/BTCUSD_PERP/1h/BTCUSD_PERP-1h-2024-02-05.zip"),
        ("cm:BTCUSD_PERP/1h", "data/futures/cm/monthly/klines/BTCUSD_PERP/1h/BTCUSD_PERP-1h-2024-02.zip"),
    ],
)
def test_where_an_archive_lies(run: Run, make_store: Make, http: requests.Session, notation: str, path: str) -> None:
    exchange = run(make_store(notation, "2024-01-01", "2024-03-01"), "2024-03-20")
    assert http.get(f"{exchange.archive_url}/{path}").status_code == 200
    assert http.get(f"{exchange.archive_url}/{path}.CHECKSUM").text.endswith("  " + path.rpartition("/")[2])
    listing = http.get(exchange.archive_list_url, params={"prefix": path.rpartition("/")[0] + "/"}).text
    assert f"<Key>{path}</Key>" in listing


OPENS = [
    ("1s", ["2024-02-05T00:00:00", "2024-02-05T00:00:01"]),
    ("1m", ["2024-02-05T00:00", "2024-02-05T00:01"]),
    ("3m", ["2024-02-05T00:00", "2024-02-05T00:03"]),
    ("5m", ["2024-02-05T00:00", "2024-02-05T00:05"]),
    ("15m", ["2024-02-05T00:00", "2024-02-05T00:15"]),
    ("30m", ["2024-02-05T00:00", "2024-02-05T00:30"]),
    ("1h", ["2024-02-05T00:00", "2024-02-05T01:00"]),
    ("2h", ["2024-02-05T00:00", "2024-02-05T02:00"]),
    ("4h", ["2024-02-05T00:00", "2024-02-05T04:00"]),
    ("6h", ["2024-02-05T00:00", "2024-02-05T06:00"]),
    ("8h", ["2024-02-05T00:00", "2024-02-05T08:00"]),
    ("12h", ["2024-02-05T00:00", "2024-02-05T12:00"]),
    ("1d", ["2024-02-05", "2024-02-06"]),
    ("3d", ["2024-02-06", "2024-02-09"]),  # as from 2024-01-01: every third day
    ("1w", ["2024-02-05", "2024-02-12"]),  # Mondays
    ("1M", ["2024-03-01", "2024-04-01"]),
]


@pytest.mark.parametrize(("code", "opens"), OPENS)
def test_where_candles_open(run: Run, http: requests.Session, code: str, opens: list[str]) -> None:
    start_ms = parse_time("2024-02-05")
    end_ms = parse_time(opens[-1]) + 1
    series, store = parse_series(f"BTCUSDT/{code}"), CandleStore()
    store.add(series, generate_series(series, Span(start_ms, end_ms)))
    query = f"symbol=BTCUSDT&interval={code}&startTime={start_ms}&limit=2"
    rows = http.get(f"{run(store, '2024-06-01').url}/api/v3/klines?{query}").json()
    assert [row[0] for row in rows] == [parse_time(text) for text in opens]
    assert rows[0][6] == rows[1][0] - 1


@pytest.mark.parametrize(
    ("code", "first_open"), [("1w", "2017-08-14"), ("3d", "2017-08-17"), ("1M", "2017-08-01"), ("1d", "2017-08-17")]
)
def test_the_candle_of_the_first_trade_opens_on_the_grid(code: str, first_open: str) -> None:
    minute = (parse_time("2017-08-17T04:00"), 5, 6, 4, 5, 1, parse_time("2017-08-17T04:00:59.999"), 5, 1, 0, 0)
    [(_, [candle])] = all_intervals([minute], [code])
    assert candle[0] == parse_time(first_open)


def test_the_replay_exchange_does_without_the_product_s_grid(
    run: Run, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the replay exchange asked the product")

    for name in ("floor", "ceil", "add", "index", "open_of", "count"):
        monkeypatch.setattr(Interval, name, refuse)
    for name in ("name", "typical_ms"):
        monkeypatch.setattr(Interval, name, property(refuse))
    series, store = parse_series("BTCUSDT/1w"), CandleStore()
    store.add(series, generate_series(series, Span(parse_time("2024-01-01"), parse_time("2024-03-04"))))
    exchange = run(store, "2024-02-21")
    rows = http.get(f"{exchange.url}/api/v3/klines?symbol=BTCUSDT&interval=1w").json()
    assert rows[-1][0] == parse_time("2024-02-19")
    assert http.get(f"{exchange.url}/fapi/v1/exchangeInfo").status_code == 200
    key = "data/spot/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2024-01.zip"
    assert http.get(f"{exchange.archive_url}/{key}").status_code == 200
    assert key in http.get(exchange.archive_list_url, params={"prefix": "data/spot"}).text
