from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
import requests

from core.binance.archives import index_of_files
from core.times import MS_PER_DAY, parse_time
from demo.candle_store import CandleStore
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
NAMESPACE = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
DAYS = "data/spot/daily/klines/BTCUSDT/1m/"


def texts(page: ElementTree.Element, path: str) -> list[str]:
    return [element.text or "" for element in page.findall(path, NAMESPACE)]


def page_of(http: requests.Session, exchange: ReplayExchange, **params: str) -> ElementTree.Element:
    answer = http.get(exchange.archive_list_url, params=params)
    assert answer.status_code == 200
    return ElementTree.fromstring(answer.content)


def all_keys(http: requests.Session, exchange: ReplayExchange, prefix: str) -> tuple[list[str], int]:
    keys: list[str] = []
    marker, pages = "", 0
    while True:
        page = page_of(http, exchange, delimiter="/", prefix=prefix, marker=marker)
        pages += 1
        keys += texts(page, "s3:Contents/s3:Key") + texts(page, "s3:CommonPrefixes/s3:Prefix")
        if texts(page, "s3:IsTruncated") == ["false"]:
            return keys, pages
        [marker] = texts(page, "s3:NextMarker")


def test_folders_are_common_prefixes(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, "2025-01-20")
    expected = {
        "data/": ["data/futures/", "data/spot/"],
        "data/futures/": ["data/futures/cm/", "data/futures/um/"],
        "data/spot/monthly/klines/": [f"data/spot/monthly/klines/{s}/" for s in ("BCCUSDT", "BTCUSDT", "ETHUSDT")],
        "data/futures/cm/daily/klines/BTCUSD_PERP/": [
            f"data/futures/cm/daily/klines/BTCUSD_PERP/{name}/" for name in ("15m", "1d", "1h", "1m", "4h", "5m")
        ],
        "data/nothing/": [],
    }
    for prefix, folders in expected.items():
        page = page_of(http, exchange, delimiter="/", prefix=prefix)
        assert texts(page, "s3:CommonPrefixes/s3:Prefix") == folders
        assert texts(page, "s3:Contents/s3:Key") == []
        assert texts(page, "s3:IsTruncated") == ["false"]


def test_a_folder_lists_zips_and_checksums(market: CandleStore, run: Run, http: requests.Session) -> None:
    page = page_of(http, run(market, "2025-01-20"), delimiter="/", prefix=DAYS)
    keys = texts(page, "s3:Contents/s3:Key")
    assert keys[:2] == [f"{DAYS}BTCUSDT-1m-2024-11-11.zip", f"{DAYS}BTCUSDT-1m-2024-11-11.zip.CHECKSUM"]
    assert texts(page, "s3:Contents/s3:LastModified")[0] == "2024-11-12T08:00:00.000Z"
    first, last = parse_time("2024-11-11"), parse_time("2025-01-18")  # the 19th is published at 08:00
    assert index_of_files(keys).days == set(range(first, last + 1, MS_PER_DAY))


def test_only_what_is_published_is_listed(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, "2024-12-02T07:59")
    prefix = "data/spot/monthly/klines/BTCUSDT/1m/"
    assert all_keys(http, exchange, prefix)[0] == []
    exchange.clock.advance(60_000)
    assert all_keys(http, exchange, prefix)[0] == [f"{prefix}BTCUSDT-1m-2024-11.zip{end}" for end in ("", ".CHECKSUM")]


@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_pages_follow_each_other_without_loss(
    market: CandleStore, run: Run, http: requests.Session, page_size: int
) -> None:
    exchange = run(market, "2025-01-20", list_page_size=page_size)
    prefix = "data/spot/daily/klines/BTCUSDT/1d/"
    keys, pages = all_keys(http, exchange, prefix)
    assert len(keys) == 138 == len(set(keys))  # 69 days, zip and CHECKSUM
    assert keys == sorted(keys)
    assert pages == -(-len(keys) // page_size)


def test_pages_of_folders_follow_each_other_too(market: CandleStore, run: Run, http: requests.Session) -> None:
    exchange = run(market, "2025-01-20", list_page_size=2)
    folders, pages = all_keys(http, exchange, "data/spot/monthly/klines/")
    assert len(folders) == len(set(folders)) == 3
    assert pages == 2


def test_without_a_delimiter_all_keys_come_and_no_next_marker(
    market: CandleStore, run: Run, http: requests.Session
) -> None:
    page = page_of(http, run(market, "2025-01-20"), prefix="data/futures/um/daily/klines/BTCUSDT/1")
    assert len(texts(page, "s3:Contents/s3:Key")) == 4 * 69 * 2  # 15m, 1d, 1h, 1m
    truncated = page_of(http, run(market, "2025-01-20", list_page_size=5), prefix="data/")
    assert texts(truncated, "s3:IsTruncated") == ["true"]
    assert texts(truncated, "s3:NextMarker") == []
