"""Archives of aggregate trades and of funding say what REST says."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from core.instrument import Market
from core.ranges import Span
from core.series import make_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from demo.market_data import MarketData
from demo.server import ReplayExchange

Live = Callable[..., ReplayExchange]
FOLDERS = {Market.SPOT: "spot", Market.UM: "futures/um", Market.CM: "futures/cm"}
SYMBOLS = {Market.SPOT: "BTCUSDT", Market.UM: "BTCUSDT", Market.CM: "BTCUSD_PERP"}


def store_of(market: Market, start: str, hours: int = 6) -> CandleStore:
    store, series = CandleStore(), make_series(market, SYMBOLS[market], "1h")
    begin_ms = parse_time(start)
    store.add(series, generate_series(series, Span(begin_ms, begin_ms + hours * 3_600_000)))
    return store


def fetched(http: requests.Session, url: str) -> list[str]:
    content = http.get(url).content
    name = url.rpartition("/")[2]
    checksum = http.get(url + ".CHECKSUM").text
    assert checksum == f"{hashlib.sha256(content).hexdigest()}  {name}"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        [member] = archive.namelist()
        assert member == name.replace(".zip", ".csv")
        return archive.read(member).decode().splitlines()


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("start", ["2024-03-01", "2025-03-01"])
def test_a_day_of_trades_is_that_of_rest(live: Live, http: requests.Session, market: Market, start: str) -> None:
    exchange = live(store_of(market, start), f"{start[:8]}02T09:00")
    symbol = SYMBOLS[market]
    folder = f"{exchange.archive_url}/data/{FOLDERS[market]}/daily/aggTrades/{symbol}"
    lines = fetched(http, f"{folder}/{symbol}-aggTrades-{start}.zip")
    if market is not Market.SPOT:
        assert lines.pop(0).startswith("agg_trade_id,price,quantity,first_trade_id,")
    data = MarketData(exchange.store)
    trades = list(data.history.from_time(market, symbol, 0, exchange.clock.now_ms()))
    assert len(lines) == len(trades) > 1_000
    factor = 1000 if market is Market.SPOT and start >= "2025" else 1
    for line, trade in zip(lines, trades, strict=True):
        cells = line.split(",")
        assert cells[:2] == [str(trade.id), trade.price]
        assert cells[2] == trade.quantity + (".0" if market is Market.CM else "")
        assert cells[3:6] == [str(trade.first_id), str(trade.last_id), str(trade.at_ms * factor)]
        assert cells[6:] == (
            [str(trade.is_buyer_maker), "True"] if market is Market.SPOT else [str(trade.is_buyer_maker).lower()]
        )


def test_funding_has_months_on_futures(live: Live, http: requests.Session) -> None:
    exchange = live(store_of(Market.UM, "2024-03-01", 72), "2024-04-10")
    place = "/data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-03.zip"
    header, *lines = fetched(http, exchange.archive_url + place)
    assert header == "calc_time,funding_interval_hours,last_funding_rate"
    asked = {"symbol": "BTCUSDT", "startTime": str(parse_time("2024-03-01")), "limit": "1000"}
    rows = http.get(exchange.url + "/fapi/v1/fundingRate", params=asked).json()
    march = [row for row in rows if row["fundingTime"] < parse_time("2024-04-01")]
    assert lines == [f"{row['fundingTime']},8,{row['fundingRate']}" for row in march]


@pytest.mark.parametrize(
    "place",
    [
        "spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-03-02.zip",  # not published yet
        "spot/daily/aggTrades/NIX/NIX-aggTrades-2024-03-01.zip",
        "spot/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-02.zip",
        "spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-03-01.zip",
        "futures/um/daily/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-03-01.zip",
    ],
)
def test_what_is_not_published_is_not_there(live: Live, http: requests.Session, place: str) -> None:
    exchange = live(store_of(Market.SPOT, "2024-03-01", 40), "2024-03-02T20:00")
    assert http.get(f"{exchange.archive_url}/data/{place}").status_code == 404


def test_the_listing_has_them(live: Live, http: requests.Session) -> None:
    exchange = live(store_of(Market.UM, "2024-03-01", 40), "2024-04-10")

    def keys(prefix: str) -> list[str]:
        text = http.get(exchange.archive_list_url, params={"prefix": prefix}).text
        return [part.partition("<")[0] for part in text.split("<Key>")[1:]]

    folder = "data/futures/um/daily/aggTrades/BTCUSDT/"
    days = [f"{folder}BTCUSDT-aggTrades-2024-03-0{day}.zip" for day in (1, 2)]
    assert keys(folder) == [name for day in days for name in (day, day + ".CHECKSUM")]
    assert keys("data/futures/um/monthly/fundingRate/")[0].endswith("BTCUSDT-fundingRate-2024-03.zip")


def test_recorded_archives_have_the_same_columns(recorded_folder: Path) -> None:
    archives = recorded_folder / "archives"
    for path, header in (
        ("cm/aggTrades/BTCUSD_PERP-aggTrades-2026-05-08.zip", "agg_trade_id,price,quantity,first_trade_id"),
        ("um/fundingRate/BTCUSDT-fundingRate-2026-04.zip", "calc_time,funding_interval_hours,last_funding_rate"),
    ):
        with zipfile.ZipFile(archives / path) as archive:
            assert archive.read(archive.namelist()[0]).decode().startswith(header)
