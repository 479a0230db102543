"""Earlier contracts of a ticker, as the archives' folders tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import responses
from fetcher_helpers import generated

from core.errors import ArchiveUnavailable
from core.series import parse_series
from demo.candle_store import CandleStore
from demo.faults import Answer
from demo.server import ReplayExchange
from fetcher.binance.archive import ArchiveClient

Run = Callable[..., ReplayExchange]
MakeArchives = Callable[..., ArchiveClient]

LIT = parse_series("um:LITUSDT/1h")
LIST_URL = "https://list.test/bucket"
FOLDER = "data/futures/um/monthly/klines/"


def bucket_of(run: Run, *symbols: str, page_size: int = 1000) -> ReplayExchange:
    """Serve a month of candles of each symbol."""
    store = CandleStore()
    for symbol in symbols:
        series = parse_series(symbol)
        store.add(series, generated(series, "2024-03-01", 24 * 31)[1])
    return run(store, list_page_size=page_size)


def names_of(make_archives: MakeArchives, exchange: ReplayExchange, notation: str = "um:LITUSDT/1h") -> list[str]:
    client = make_archives(exchange.archive_url, exchange.archive_list_url)
    return client.list_earlier_contracts(parse_series(notation))


def test_both_ways_of_writing_are_found_with_one_request(run: Run, make_archives: MakeArchives) -> None:
    exchange = bucket_of(run, "um:LITUSDT/1h", "um:LITUSDTSETTLED/1m", "um:LITUSDT_SETTLED/1h", "um:BTCUSDT/1h")
    assert names_of(make_archives, exchange) == ["LITUSDTSETTLED", "LITUSDT_SETTLED"]
    [record] = exchange.requests
    assert record.params == {"delimiter": "/", "prefix": f"{FOLDER}LITUSDT"}


def test_a_ticker_that_was_used_three_times(run: Run, make_archives: MakeArchives) -> None:
    exchange = bucket_of(run, "um:AERGOUSDT/1h", "um:AERGOUSDTSETTLED/1h", "um:AERGOUSDTSETTLEDSETTLED/1h")
    names = names_of(make_archives, exchange, "um:AERGOUSDT/1h")
    assert names == ["AERGOUSDTSETTLED", "AERGOUSDTSETTLEDSETTLED"]


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1M"])
def test_whatever_the_interval(run: Run, make_archives: MakeArchives, interval: str) -> None:
    exchange = bucket_of(run, "um:LITUSDTSETTLED/1h")
    assert names_of(make_archives, exchange, f"um:LITUSDT/{interval}") == ["LITUSDTSETTLED"]


def test_others_that_begin_alike_do_not_count(run: Run, make_archives: MakeArchives) -> None:
    strangers = ("um:LITUSDT/1h", "um:LITUSDTX/1h", "um:LITUSDT_240628/1h", "um:LITUSDTXSETTLED/1h")
    assert names_of(make_archives, bucket_of(run, *strangers, "LITUSDTSETTLED/1h")) == []


def test_a_settled_contract_is_not_its_own_earlier_one(run: Run, make_archives: MakeArchives) -> None:
    exchange = bucket_of(run, "um:LITUSDT/1h", "um:LITUSDTSETTLED/1h")
    assert names_of(make_archives, exchange, "um:LITUSDTSETTLED/1h") == []


def test_coin_m_has_a_folder_of_its_own(run: Run, make_archives: MakeArchives) -> None:
    exchange = bucket_of(run, "cm:XMRUSD_PERP/1h", "cm:XMRUSD_PERP_SETTLED/1h", "um:XMRUSD_PERPSETTLED/1h")
    assert names_of(make_archives, exchange, "cm:XMRUSD_PERP/1h") == ["XMRUSD_PERP_SETTLED"]
    assert exchange.requests[0].params["prefix"] == "data/futures/cm/monthly/klines/XMRUSD_PERP"


def test_a_listing_that_cannot_be_read_is_unavailable(run: Run, make_archives: MakeArchives) -> None:
    exchange = bucket_of(run, "um:LITUSDTSETTLED/1h")
    exchange.faults.add("/bucket", Answer(403))
    with pytest.raises(ArchiveUnavailable, match="answers 403"):
        names_of(make_archives, exchange)


def test_a_page_as_the_bucket_writes_it(make_archives: MakeArchives, http: responses.RequestsMock) -> None:
    folders = "".join(
        f"<CommonPrefixes><Prefix>{FOLDER}{name}/</Prefix></CommonPrefixes>" for name in ("CTKUSDT", "CTKUSDTSETTLED")
    )
    page = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>data.binance.vision</Name><Prefix>{FOLDER}CTKUSDT</Prefix><Marker></Marker><MaxKeys>1000</MaxKeys>"
        f"<Delimiter>/</Delimiter><IsTruncated>false</IsTruncated>{folders}</ListBucketResult>"
    )
    http.get(LIST_URL, body=page)
    client = make_archives("https://any.test", LIST_URL)
    assert client.list_earlier_contracts(parse_series("um:CTKUSDT/1m")) == ["CTKUSDTSETTLED"]
