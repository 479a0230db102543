"""What becomes of trades that did not come: healed, missing with the reason, or lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stored_series import addresses_of

from core.id_sequence import IdGap
from core.instrument import ExchangeName, Instrument, Market
from core.ranges import Span
from core.series import parse_series
from core.stream_kinds import StreamKind
from core.times import MS_PER_HOUR, parse_time
from db.connection import Database
from db.market_data import store_records, sync_instruments
from db.market_tables import TABLES
from db.stream_gaps import insert_gaps, load_missing
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import AlterRows, Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.live.trade_gaps import MOST_BY_REST, TradeGapHealer

NOW_MS = parse_time("2024-11-12T10:00")
BTC, FUTURE = (Instrument(ExchangeName.BINANCE, market, "BTCUSDT") for market in (Market.SPOT, Market.UM))
AGG, SINGLE = StreamKind.AGG_TRADE, StreamKind.TRADE
Rows = list[tuple[int, int, str, str]]


@pytest.fixture(scope="module")
def replay() -> Iterator[ReplayExchange]:
    store = CandleStore()
    for series in (parse_series("BTCUSDT/1h"), parse_series("um:BTCUSDT/1h")):
        store.add(series, generate_series(series, Span(NOW_MS - 60 * MS_PER_HOUR, NOW_MS + MS_PER_HOUR), 3))
    with ReplayExchange(store, ReplayClock(NOW_MS, 0)) as exchange:
        yield exchange


class Bench:
    """One gap of an instrument, and the healer."""

    def __init__(self, database: Database, exchange: BinanceExchange) -> None:
        self.database, self.exchange = database, exchange
        self.healer = TradeGapHealer(lambda: NOW_MS, lambda: False)

    def add(self, instrument: Instrument, kind: StreamKind, first: int, last: int) -> None:
        with self.database.transaction("add") as tx:
            gap = IdGap(first, last, NOW_MS - 2 * MS_PER_HOUR, NOW_MS)
            insert_gaps(tx, sync_instruments(tx, [instrument])[instrument], kind, [gap], NOW_MS)

    def heal(self, instrument: Instrument, kind: StreamKind = AGG) -> bool:
        with self.database.transaction("load") as tx:
            [stored] = load_missing(tx, kind, [sync_instruments(tx, [instrument])[instrument]])
        return self.healer.heal(self.database, stored, instrument, self.exchange.market_data)

    def gaps(self) -> Rows:
        with self.database.transaction("read") as tx:
            tx.cursor.execute("select first_id, last_id, status, reason from public.stream_gaps order by first_id")
            return list(tx.cursor.fetchall())


@pytest.fixture
def bench(database: Database, replay: ReplayExchange, tmp_path: Path) -> Iterator[Bench]:
    exchange = BinanceExchange(addresses_of(replay, tmp_path), lambda seconds: None, replay.clock.now_ms)
    for market in (Market.SPOT, Market.UM):
        exchange.open_market(market, {"BTCUSDT"})
    yield Bench(database, exchange)
    replay.faults.clear()


@pytest.fixture
def first_id(bench: Bench) -> int:
    return bench.exchange.market_data.agg_trades_at(BTC, NOW_MS - 2 * MS_PER_HOUR)[0].id


def without(lacking: range) -> Callable[[list], list]:
    return lambda rows: [row for row in rows if row["a"] not in lacking]


def test_a_gap_is_healed_once_with_what_lies_in_it(bench: Bench, first_id: int) -> None:
    bench.add(BTC, AGG, first_id, first_id + 299)
    assert bench.heal(BTC)
    assert bench.gaps() == [(first_id, first_id + 299, "healed", "")]
    with bench.database.transaction("read") as tx:
        tx.cursor.execute("select min(agg_id), max(agg_id), count(*), max(source) from public.market_agg_trades")
        assert tx.cursor.fetchall() == [(first_id, first_id + 299, 300, "rest")]


def test_trades_that_came_late_need_no_request(bench: Bench, replay: ReplayExchange, first_id: int) -> None:
    bench.add(BTC, AGG, first_id, first_id + 1)
    trades = bench.exchange.market_data.agg_trades_from(BTC, first_id)[:2]
    with bench.database.transaction("store") as tx:
        number = sync_instruments(tx, [BTC])[BTC]
        store_records(tx, AGG, [TABLES[AGG].line(number, one, "stream") for one in trades])
    asked = replay.count("aggTrades")
    assert bench.heal(BTC)
    assert bench.gaps()[0][2] == "healed" and replay.count("aggTrades") == asked


def test_what_the_exchange_says_twice_that_it_lacks_is_lost(
    bench: Bench, replay: ReplayExchange, first_id: int
) -> None:
    bench.add(BTC, AGG, first_id, first_id + 9)
    replay.faults.add("aggTrades", AlterRows(without(range(first_id + 3, first_id + 5))), times=99)
    assert not bench.heal(BTC)
    assert bench.gaps() == [(first_id, first_id + 9, "missing", "")]
    assert bench.heal(BTC)
    [(first, last, status, reason)] = bench.gaps()
    assert (first, last, status) == (first_id + 3, first_id + 4, "lost") and "asked twice" in reason


def test_an_exchange_that_refuses_or_is_away_leaves_the_gap_for_later(
    bench: Bench, replay: ReplayExchange, first_id: int
) -> None:
    bench.add(BTC, AGG, first_id, first_id + 9)
    replay.faults.add("aggTrades", Answer(400, b'{"code":-1100,"msg":"no"}'))
    assert not bench.heal(BTC)
    assert bench.gaps() == [(first_id, first_id + 9, "missing", "")]
    assert bench.heal(BTC)


def test_what_no_request_brings_is_missing_with_the_reason(bench: Bench) -> None:
    bench.add(FUTURE, AGG, 1, 9)
    assert bench.heal(FUTURE)
    [(first, last, status, reason)] = bench.gaps()
    assert (first, last, status) == (1, 9, "missing") and "48 hours" in reason and "backfill --types aggtrade" in reason
    bench.add(BTC, SINGLE, 20, 29)
    assert bench.heal(BTC, SINGLE)
    bench.add(BTC, AGG, 100, 100 + MOST_BY_REST)
    assert bench.heal(BTC)
    assert [row[2] for row in bench.gaps()] == ["missing"] * 3
    assert "daily archives" in bench.gaps()[1][3] and "backfill --types aggtrade" in bench.gaps()[2][3]
