"""Trades and prices of live streams against the replay exchange: what is stored is what the exchange has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests
from live_records import RecordMarket

from core.instrument import ExchangeName, Instrument, Market
from core.ranges import Span
from core.series import parse_series
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.times import MS_PER_HOUR, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import Abort, DoubleFrame, DropFrame, SwapFrame, Where

BEGINS_MS = parse_time("2024-11-11T10:00:30")
SPEED = 30.0
SERIES = [parse_series(text) for text in ("BTCUSDT", "um:BTCUSDT")]
PATIENCE_S = 60.0


def key(kind: StreamKind, market: Market = Market.SPOT) -> StreamKey:
    return StreamKey(kind, Instrument(ExchangeName.BINANCE, market, "BTCUSDT"))


@pytest.fixture(scope="module")
def store() -> CandleStore:
    store = CandleStore()
    for series in SERIES:
        span = Span(BEGINS_MS - 20 * MS_PER_HOUR, BEGINS_MS + 2 * MS_PER_HOUR)
        store.add(series, generate_series(series, span, 3, quiet_share=0.0))
    return store


@pytest.fixture
def replay(store: CandleStore) -> Iterator[ReplayExchange]:
    with ReplayExchange(store, ReplayClock(BEGINS_MS, SPEED)) as exchange:
        yield exchange


def market_of(replay: ReplayExchange, url: str, folder: Path, *keys: StreamKey) -> RecordMarket:
    return RecordMarket(url, folder, replay, [], BEGINS_MS, SPEED, keys=keys)


def trades_at_exchange(
    replay: ReplayExchange, first: int, last: int, root: str = "/api/v3"
) -> list[tuple[object, ...]]:
    """Return aggregate trades by REST: id, time, price, quantity, first and last id, whether the buyer was maker."""
    found: list[tuple[object, ...]] = []
    while first <= last:
        address = f"{replay.url}{root}/aggTrades?symbol=BTCUSDT&limit=1000&fromId={first}"
        page = orjson.loads(requests.get(address, timeout=30).content)
        found += [tuple(one[name] for name in "aTpqflm") for one in page if one["a"] <= last]
        first = page[-1]["a"] + 1
    return found


STORED = (
    "select agg_id, (extract(epoch from time) * 1000)::bigint, price::text, quantity::text, first_trade_id,"
    " last_trade_id, is_buyer_maker from market_agg_trades order by agg_id"
)


def wait_for(is_so: object) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < ends_s, "it did not come"
        time.sleep(0.05)


def test_trades_with_faults_and_cuts_end_as_the_exchange_has_them(
    replay: ReplayExchange, database_url: str, tmp_path: Path
) -> None:
    market = market_of(replay, database_url, tmp_path, key(StreamKind.AGG_TRADE))
    service = market.started()
    wait_for(lambda: service.counters.records_stored["aggtrade"] > 50)
    stream = Where(stream="btcusdt@aggTrade")
    for fault, times in ((DropFrame(), 3), (SwapFrame(), 3), (DoubleFrame(), 3)):
        replay.streams.faults.add(fault, stream, times=times)
        before = service.counters.records_stored["aggtrade"]
        wait_for(lambda before=before: service.counters.records_stored["aggtrade"] > before + 20)
    replay.streams.faults.add(Abort())
    wait_for(lambda: service.counters.reconnects["cut"] == 1)
    before = service.counters.records_stored["aggtrade"]
    wait_for(lambda: service.counters.records_stored["aggtrade"] > before + 20)
    assert service.stop(20.0)
    service.finish()
    stored = market.query(STORED)
    first, last = stored[0][0], stored[-1][0]
    assert stored == trades_at_exchange(replay, first, last)  # type: ignore[arg-type]
    assert [row[0] for row in stored] == [*range(first, last + 1)]  # type: ignore[call-overload, operator]
    gaps = market.query("select status, count(*) from stream_gaps group by 1")
    assert [status for status, _ in gaps] == ["healed"]
    assert service.counters.trades_healed >= 3
    assert service.counters.record_conflicts == 0 and not service.has_failed

    # A second run, after a while in which nothing ran: the trades in between are asked for.
    time.sleep(0.5)
    again = market.started()
    wait_for(lambda: again.counters.records_stored["aggtrade"] > 10)
    assert again.stop(20.0)
    again.finish()
    stored = market.query(STORED)
    assert stored == trades_at_exchange(replay, first, stored[-1][0])  # type: ignore[arg-type]


def test_prices_of_futures_are_the_exchanges_and_sampled(
    replay: ReplayExchange, database_url: str, tmp_path: Path
) -> None:
    um = Market.UM
    keys = [key(kind, um) for kind in (StreamKind.MARK_PRICE, StreamKind.TICKER, StreamKind.AGG_TRADE)]
    market = market_of(replay, database_url, tmp_path, *keys, key(StreamKind.FUNDING_RATE, um))
    service = market.started()
    done = service.counters
    stored = done.records_stored
    wait_for(lambda: stored["mark_price"] > 20 and stored["ticker"] and stored["aggtrade"] and done.fundings)
    assert service.stop(20.0)
    service.finish()
    seconds = market.query("select count(distinct date_trunc('second', time)) from market_mark_prices")
    assert seconds == [(stored["mark_price"],)]
    [(tickers, minutes)] = market.query(
        "select count(*), count(distinct date_trunc('minute', time)) from market_tickers"
    )
    assert tickers == minutes
    at_exchange = orjson.loads(
        requests.get(f"{replay.url}/fapi/v1/fundingRate?symbol=BTCUSDT&startTime=1&limit=1000", timeout=30).content
    )
    rates = market.query("select funding_rate::text, mark_price::text from market_funding_rates order by funding_time")
    assert rates == [(one["fundingRate"], one["markPrice"]) for one in at_exchange[: len(rates)]] and rates
    aggregates = market.query(STORED)
    first, last = aggregates[0][0], aggregates[-1][0]
    assert aggregates == trades_at_exchange(replay, first, last, "/fapi/v1")  # type: ignore[arg-type]
    assert not service.has_failed


def test_a_database_that_is_away_costs_no_trade(replay: ReplayExchange, database_url: str, tmp_path: Path) -> None:
    market = market_of(replay, database_url, tmp_path, key(StreamKind.AGG_TRADE), key(StreamKind.TRADE))
    service = market.started()
    stored = service.counters.records_stored
    wait_for(lambda: stored["aggtrade"] > 20)
    for _ in range(2):
        market.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
        before = stored["aggtrade"]
        wait_for(lambda before=before: stored["aggtrade"] > before + 20)
    assert service.stop(20.0)
    service.finish()
    rows = market.query(STORED)
    assert rows == trades_at_exchange(replay, rows[0][0], rows[-1][0])  # type: ignore[arg-type]
    [(trades, span)] = market.query("select count(*), max(trade_id) - min(trade_id) + 1 from market_trades")
    assert trades == span
    assert market.query("select * from stream_gaps") == [] and not service.has_failed


def test_a_queue_that_overflows_leaves_gaps_that_are_healed(
    replay: ReplayExchange, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logic.live.waiting_records.WaitingRecords.__init__.__defaults__", (30,))
    market = market_of(replay, database_url, tmp_path, key(StreamKind.AGG_TRADE))
    service = market.started()
    wait_for(lambda: service.counters.id_gaps > 0)
    assert service.records.waiting.dropped.total() > 0
    assert service.stop(20.0)
    service.finish()
    rows = market.query(STORED)
    assert rows == trades_at_exchange(replay, rows[0][0], rows[-1][0])  # type: ignore[arg-type]
    assert {status for (status,) in market.query("select status from stream_gaps")} == {"healed"}
