"""Trades and funding rates of the past, from archives and REST of the replay exchange."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests
from stored_series import addresses_of

from core.errors import ConfigurationError
from core.ranges import Span
from core.series import parse_series
from core.sources import AllowedSources
from core.stream_kinds import StreamKind
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time
from core.wanted import WantedSeries
from db.connection import Database
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.live.market_history import HistoryResult, exit_code_of, fetch_market_history

SPOT, FUTURE = parse_series("BTCUSDT/1h"), parse_series("um:ETHUSDT/1h")
START_MS = parse_time("2024-11-08")
NOW_MS = START_MS + 4 * MS_PER_DAY + 5 * MS_PER_HOUR
TRADES, FUNDING = StreamKind.AGG_TRADE, StreamKind.FUNDING_RATE


@pytest.fixture(scope="module")
def store() -> CandleStore:
    store = CandleStore()
    for series in (SPOT, FUTURE):
        store.add(series, generate_series(series, Span(START_MS, NOW_MS + MS_PER_DAY), 3))
    return store


@pytest.fixture
def replay(store: CandleStore) -> Iterator[ReplayExchange]:
    with ReplayExchange(store, ReplayClock(NOW_MS, 0)) as exchange:
        yield exchange


@pytest.fixture
def fetch(database: Database, replay: ReplayExchange, tmp_path: Path):
    def run(wanted: WantedSeries, kind: StreamKind, allowed: AllowedSources = AllowedSources.AUTO) -> HistoryResult:
        exchange = BinanceExchange(addresses_of(replay, tmp_path), lambda s: None, replay.clock.now_ms)
        [result] = fetch_market_history(database, exchange, [wanted], [kind], allowed, replay.clock.now_ms)
        return result

    return run


def truth(replay: ReplayExchange, start_ms: int, end_ms: int) -> list[tuple[object, ...]]:
    found, query = list[tuple[object, ...]](), f"startTime={start_ms}"
    while True:
        address = f"{replay.url}/api/v3/aggTrades?symbol=BTCUSDT&limit=1000&{query}"
        page = [
            tuple(one[name] for name in "aTpqflm") for one in orjson.loads(requests.get(address, timeout=60).content)
        ]
        found += [row for row in page if row[1] < end_ms]
        if len(page) < 1000 or page[-1][1] >= end_ms:
            return found
        query = f"fromId={page[-1][0] + 1}"


def stored(database: Database) -> list[tuple[object, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select agg_id, (extract(epoch from time) * 1000)::bigint, price::text, quantity::text, first_trade_id,"
            " last_trade_id, is_buyer_maker from market_agg_trades order by agg_id"
        )
        return list(tx.cursor.fetchall())


def sources(database: Database) -> dict[str, int]:
    with database.transaction("read") as tx:
        tx.cursor.execute("select source, count(*) from market_agg_trades group by 1")
        return dict(tx.cursor.fetchall())


def test_trades_of_the_past_come_from_archives_and_the_newest_by_rest(
    fetch, database: Database, replay: ReplayExchange
) -> None:
    start_ms = START_MS + MS_PER_DAY + 7 * MS_PER_HOUR
    wanted = WantedSeries(SPOT, start_ms)
    done = fetch(wanted, TRADES)
    assert (done.missing, done.exit_code) == ({}, 0)
    assert stored(database) == truth(replay, start_ms, NOW_MS)
    assert set(sources(database)) == {"archive_daily", "rest"}
    assert done.stored.inserted == len(stored(database))

    replay.clear_requests()
    again = fetch(wanted, TRADES)
    assert again.stored.inserted == again.stored.conflicts == 0
    assert again.days_there >= 1
    zips = [request.path for request in replay.requests if request.path.endswith(".zip")]
    assert len(zips) == 1 and "2024-11-09" in zips[0]  # the first day's: nothing stored proves where it begins

    with database.transaction("lose some") as tx:
        tx.cursor.execute("delete from market_agg_trades where agg_id % 50 = 0")
    assert fetch(wanted, TRADES).exit_code == 0
    assert stored(database) == truth(replay, start_ms, NOW_MS)


def test_a_day_without_an_archive_comes_by_rest_and_one_source_alone_is_kept_to(
    fetch, database: Database, replay: ReplayExchange
) -> None:
    wanted = WantedSeries(SPOT, START_MS + 2 * MS_PER_DAY, START_MS + 3 * MS_PER_DAY)
    replay.faults.add("BTCUSDT-aggTrades-2024-11-10.zip", Answer(404), times=9)
    only = fetch(wanted, TRADES, AllowedSources.ARCHIVE)
    assert list(only.missing) == ["2024-11-10"] and only.exit_code == 3
    assert fetch(wanted, TRADES).exit_code == 0
    assert set(sources(database)) == {"rest"}
    assert stored(database) == truth(replay, START_MS + 2 * MS_PER_DAY, START_MS + 3 * MS_PER_DAY)


def test_futures_too_old_for_rest_are_named(fetch, replay: ReplayExchange) -> None:
    done = fetch(WantedSeries(FUTURE, START_MS, START_MS + MS_PER_DAY), TRADES, AllowedSources.REST)
    assert done.exit_code == 3 and "2024-11-08" in done.missing and "restricted" in done.missing["2024-11-08"]


def test_settled_funding_rates_are_complete_and_come_once(fetch, database: Database, replay: ReplayExchange) -> None:
    done = fetch(WantedSeries(FUTURE), FUNDING)
    page = orjson.loads(
        requests.get(f"{replay.url}/fapi/v1/fundingRate?symbol=ETHUSDT&startTime=1&limit=1000", timeout=60).content
    )
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select (extract(epoch from funding_time) * 1000)::bigint, funding_rate::text, mark_price::text"
            " from market_funding_rates order by 1"
        )
        assert list(tx.cursor.fetchall()) == [
            (one["fundingTime"], one["fundingRate"], one["markPrice"] or None) for one in page
        ]
    assert done.stored.inserted == len(page) > 20 and exit_code_of([done]) == 0
    assert dataclasses.asdict(fetch(WantedSeries(FUTURE), FUNDING).stored) == {
        "inserted": 0,
        "equal": len(page),
        "conflicts": 0,
    }


def test_funding_rates_of_archives_are_those_of_rest_without_mark_prices(
    fetch, database: Database, replay: ReplayExchange
) -> None:
    replay.clock.set(NOW_MS + 40 * MS_PER_DAY)
    done = fetch(WantedSeries(FUTURE, START_MS, START_MS + MS_PER_DAY), FUNDING, AllowedSources.ARCHIVE)
    assert (done.missing, done.exit_code) == ({}, 0) and done.stored.inserted > 20
    by_rest = fetch(WantedSeries(FUTURE), FUNDING)
    assert by_rest.stored.equal == done.stored.inserted and by_rest.stored.conflicts == 0


def test_what_cannot_be_asked_for_is_refused(fetch) -> None:
    with pytest.raises(ConfigurationError, match="say from when on"):
        fetch(WantedSeries(SPOT), TRADES)
    with pytest.raises(ConfigurationError, match="offers no funding_rate"):
        fetch(WantedSeries(SPOT), FUNDING)
    with pytest.raises(ConfigurationError, match="say from when on"):
        fetch(WantedSeries(FUTURE), FUNDING, AllowedSources.ARCHIVE)


def test_a_range_that_has_not_begun_is_said(fetch) -> None:
    done = fetch(WantedSeries(SPOT, NOW_MS + MS_PER_DAY), TRADES)
    assert done.exit_code == 3 and list(done.missing.values()) == ["its range has not begun yet"]
