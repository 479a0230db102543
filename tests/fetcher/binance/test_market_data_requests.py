"""Aggregate trades and funding rates from the REST API and the archives: what is believed, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fetcher_helpers import SHARED_DATA

from core.archives import day_of, month_of
from core.errors import ArchiveUnavailable, NoLongerKept, UnusableAnswer
from core.instrument import ExchangeName, Instrument, Market
from core.market_data import AggTrade, FundingRate
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_HOUR, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import AlterRows
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.addresses import ExchangeAddresses
from fetcher.binance.exchange import BinanceExchange
from fetcher.binance.funding_archive import funding_file, read_fundings
from fetcher.binance.trade_archive import read_trades, trade_file

NOW_MS = parse_time("2024-11-12T10:00")
BTC, FUTURE = (Instrument(ExchangeName.BINANCE, market, "BTCUSDT") for market in (Market.SPOT, Market.UM))


@pytest.fixture(scope="module")
def replay() -> Iterator[ReplayExchange]:
    store = CandleStore()
    for series in (parse_series("BTCUSDT/1h"), parse_series("um:BTCUSDT/1h")):
        store.add(series, generate_series(series, Span(NOW_MS - 60 * MS_PER_HOUR, NOW_MS + MS_PER_HOUR), 3))
    with ReplayExchange(store, ReplayClock(NOW_MS, 0)) as exchange:
        yield exchange


@pytest.fixture
def exchange(replay: ReplayExchange, tmp_path: Path) -> BinanceExchange:
    addresses = ExchangeAddresses(
        {market: replay.url for market in Market}, replay.archive_url, replay.archive_list_url, 1.0, None, 2, tmp_path
    )
    opened = BinanceExchange(addresses, lambda seconds: None, replay.clock.now_ms)
    for market in (Market.SPOT, Market.UM):
        opened.open_market(market, {"BTCUSDT"})
    return opened


def test_pages_of_trades_follow_each_other_by_id(exchange: BinanceExchange) -> None:
    first = exchange.market_data.agg_trades_at(BTC, NOW_MS - MS_PER_HOUR)
    assert len(first) > 200 and all(isinstance(one, AggTrade) for one in first)
    assert first[0].time_ms >= NOW_MS - MS_PER_HOUR
    again = exchange.market_data.agg_trades_from(BTC, first[100].id)
    assert again == first[100:]
    assert exchange.market_data.agg_trades_from(BTC, 10**15) == []


def test_trades_of_futures_are_kept_for_two_days(exchange: BinanceExchange) -> None:
    assert exchange.market_data.agg_trades_at(FUTURE, NOW_MS - MS_PER_HOUR)
    with pytest.raises(NoLongerKept, match="48 hours"):
        exchange.market_data.agg_trades_at(FUTURE, NOW_MS - 50 * MS_PER_HOUR)
    with pytest.raises(NoLongerKept):
        exchange.market_data.agg_trades_from(FUTURE, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: [rows[0], *rows],
        lambda rows: [rows[0] | {"a": rows[0]["a"] - 9}, *rows[1:]],
        lambda rows: [rows[0] | {"p": "0.00"}, *rows[1:]],
        lambda rows: [rows[0] | {"q": "1e3"}, *rows[1:]],
        lambda rows: [rows[0] | {"m": 1}, *rows[1:]],
        lambda rows: [rows[0] | {"T": 5}, *rows[1:]],
        lambda rows: [rows[0] | {"l": rows[0]["f"] - 1}, *rows[1:]],
        lambda rows: [{"a": rows[0]["a"]}, *rows[1:]],
        lambda rows: [[1, 2], *rows[1:]],
    ],
)
def test_an_answer_with_impossible_trades_is_asked_for_again_and_then_refused(
    exchange: BinanceExchange, replay: ReplayExchange, change: Any
) -> None:
    first_id = exchange.market_data.agg_trades_at(BTC, NOW_MS - MS_PER_HOUR)[0].id
    replay.faults.add("/api/v3/aggTrades", AlterRows(change), times=99)
    try:
        with pytest.raises(UnusableAnswer):
            exchange.market_data.agg_trades_from(BTC, first_id)
    finally:
        replay.faults.clear()
    assert exchange.market_data.agg_trades_from(BTC, first_id)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: [rows[0] | {"symbol": "ETHUSDT"}, *rows[1:]],
        lambda rows: [rows[0] | {"fundingRate": "x"}, *rows[1:]],
        lambda rows: [rows[0] | {"fundingRate": 0.1}, *rows[1:]],
        lambda rows: [rows[0] | {"fundingTime": "1"}, *rows[1:]],
        lambda rows: [rows[0] | {"markPrice": "-1"}, *rows[1:]],
    ],
)
def test_impossible_fundings_are_refused(exchange: BinanceExchange, replay: ReplayExchange, change: Any) -> None:
    replay.faults.add("/fapi/v1/fundingRate", AlterRows(change), times=99)
    try:
        with pytest.raises(UnusableAnswer):
            exchange.market_data.funding_rates(FUTURE, NOW_MS - 48 * MS_PER_HOUR)
    finally:
        replay.faults.clear()


def test_an_empty_mark_price_is_one_that_is_not_said(exchange: BinanceExchange, replay: ReplayExchange) -> None:
    rates = exchange.market_data.funding_rates(FUTURE, NOW_MS - 48 * MS_PER_HOUR)
    assert len(rates) == 6 and all(one.mark_price for one in rates)
    change = AlterRows(lambda rows: [row | {"markPrice": ""} for row in rows])
    replay.faults.add("/fapi/v1/fundingRate", change)
    unsaid = exchange.market_data.funding_rates(FUTURE, NOW_MS - 48 * MS_PER_HOUR)
    assert unsaid == [one._replace(mark_price=None) for one in rates]
    assert exchange.market_data.funding_hours(Market.UM).get("BTCUSDT", 8) == 8


def test_a_recorded_archive_of_trades_is_read_whole(tmp_path: Path) -> None:
    folder = SHARED_DATA / "archives" / "cm" / "aggTrades"
    if not folder.is_dir():
        pytest.skip("the recorded archives are not on this machine")
    perpetual = Instrument(ExchangeName.BINANCE, Market.CM, "BTCUSD_PERP")
    day = day_of(parse_time("2026-05-08"))
    file = trade_file(perpetual, day)
    trades = read_trades(folder / f"{file.stem}.zip", file, day)
    assert trades.num_rows == 105_280
    assert trades["agg_id"][-1].as_py() - trades["agg_id"][0].as_py() + 1 == trades.num_rows
    assert trades.slice(0, 1).to_pylist() == [
        {
            "agg_id": 480537903,
            "price": "79972.8",
            "quantity": "542.0",
            "first_trade_id": 1123474160,
            "last_trade_id": 1123474164,
            "time": 1778198400020,
            "is_buyer_maker": False,
        }
    ]
    with pytest.raises(ArchiveUnavailable, match="outside"):
        read_trades(folder / f"{file.stem}.zip", file, day_of(day.span.end_ms))


def test_a_recorded_archive_of_fundings_is_read_whole() -> None:
    folder = SHARED_DATA / "archives" / "um" / "fundingRate"
    if not folder.is_dir():
        pytest.skip("the recorded archives are not on this machine")
    month = month_of(parse_time("2026-04-01"))
    file = funding_file(FUTURE, month)
    found = read_fundings(folder / f"{file.stem}.zip", file, month)
    assert len(found) == 90
    assert found[0] == FundingRate(1775001600000, "-0.00003449", None)
    with pytest.raises(ArchiveUnavailable, match="outside"):
        read_fundings(folder / f"{file.stem}.zip", file, month_of(month.span.end_ms))
