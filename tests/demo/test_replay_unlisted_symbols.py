"""A symbol that the API no longer knows and the archives still hold."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
import requests

from core.instrument import Market
from core.series import parse_series
from demo.candle_store import CandleStore, SymbolFacts
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
MakeStore = Callable[[str, str, str], CandleStore]
NOW = "2024-04-20"
ROOTS = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}
MARKETS = [("GONEUSDT/1h", "spot"), ("um:GONEUSDT/1h", "futures/um"), ("cm:GONEUSD_PERP/1h", "futures/cm")]


@pytest.fixture
def unlisted(make_store: MakeStore, run: Run) -> Callable[[str], ReplayExchange]:
    def start(notation: str) -> ReplayExchange:
        store = make_store(notation, "2024-03-01", "2024-04-01")
        series = parse_series(notation)
        store.set_facts(series.market, series.symbol, SymbolFacts(listed=False))
        return run(store, NOW)

    return start


@pytest.mark.parametrize(("notation", "place"), MARKETS)
def test_is_in_no_list_and_has_no_klines(
    unlisted: Callable[[str], ReplayExchange], http: requests.Session, notation: str, place: str
) -> None:
    exchange, series = unlisted(notation), parse_series(notation)
    root = exchange.url + ROOTS[series.market]
    assert http.get(f"{root}/exchangeInfo").json()["symbols"] == []
    answer = http.get(f"{root}/klines", params={"symbol": series.symbol, "interval": "1h"})
    assert (answer.status_code, answer.json()["code"]) == (400, -1121)
    if series.market is Market.SPOT:
        assert http.get(f"{root}/exchangeInfo", params={"symbol": series.symbol}).json()["code"] == -1121


@pytest.mark.parametrize(("notation", "place"), MARKETS)
def test_its_archives_stay(
    unlisted: Callable[[str], ReplayExchange], http: requests.Session, notation: str, place: str
) -> None:
    exchange, symbol = unlisted(notation), parse_series(notation).symbol
    folder = f"data/{place}/monthly/klines/{symbol}/1h/"
    listing = http.get(exchange.archive_list_url, params={"delimiter": "/", "prefix": folder}).text
    name = f"{folder}{symbol}-1h-2024-03.zip"
    assert f"<Key>{name}</Key>" in listing
    assert http.get(f"{exchange.archive_url}/{name}").status_code == 200


def test_listed_again_it_is_there_again(unlisted: Callable[[str], ReplayExchange], http: requests.Session) -> None:
    exchange = unlisted("GONEUSDT/1h")
    exchange.store.set_facts(Market.SPOT, "GONEUSDT", SymbolFacts())
    assert exchange.store.listed_symbols(Market.SPOT) == ["GONEUSDT"]
    params = {"symbol": "GONEUSDT", "interval": "1h"}
    assert len(http.get(f"{exchange.url}/api/v3/klines", params=params).json()) == 500


def test_folders_that_begin_with_a_name_are_listed_without_a_slash_behind_it(
    make_store: MakeStore, run: Run, http: requests.Session
) -> None:
    store = make_store("um:LITUSDT/1h", "2024-03-01", "2024-04-01")
    for symbol in ("LITUSDTSETTLED", "LITUSDC", "LIUSDT"):
        store.add(parse_series(f"um:{symbol}/1m"), store.rows(parse_series("um:LITUSDT/1h")))
    prefix = "data/futures/um/monthly/klines/LITUSDT"
    answer = http.get(run(store, NOW).archive_list_url, params={"delimiter": "/", "prefix": prefix})
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    found = [
        item.findtext(f"{space}Prefix")
        for item in ElementTree.fromstring(answer.content).iter(f"{space}CommonPrefixes")
    ]
    assert found == [f"{prefix}/", f"{prefix}SETTLED/"]
