"""Order books of live streams against the replay exchange: what is stored is the exchange's book at the same id."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from live_records import RecordMarket

from core.instrument import ExchangeName, Instrument, Market
from core.market_data import BookChange, BookSnapshot
from core.ranges import Span
from core.series import parse_series
from core.stream_activity import StreamState
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.times import MS_PER_HOUR, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.market_data import MarketData
from demo.order_book import last_id
from demo.server import ReplayExchange
from demo.stream_faults import Abort, DoubleFrame, DropFrame, LateFrame, SwapFrame, Where
from fetcher.binance.market_data import BinanceMarketData
from logic.live.books import LiveBooks
from logic.live.counters import LiveCounters
from logic.live.service import LiveService

BEGINS_MS = parse_time("2024-11-11T10:00:30")
SPEED = 8.0
SERIES = [parse_series(text) for text in ("BTCUSDT", "um:BTCUSDT", "cm:BTCUSD_PERP")]
PATIENCE_S = 90.0
LEVELS = 20
IDS_PER_STEP = last_id(1)
STORED = (
    "select market, symbol, last_update_id, levels, bid_prices::text[], bid_quantities::text[], ask_prices::text[],"
    " ask_quantities::text[], time <= received_at + interval '1 s' from market_depth"
    " join market_instruments on id = instrument_id order by time"
)


def key(kind: StreamKind, market: Market, levels: int = LEVELS) -> StreamKey:
    symbol = "BTCUSD_PERP" if market is Market.CM else "BTCUSDT"
    return StreamKey(kind, Instrument(ExchangeName.BINANCE, market, symbol), levels=levels)


@pytest.fixture(scope="module")
def store() -> CandleStore:
    store = CandleStore()
    for series in SERIES:
        span = Span(BEGINS_MS - 2 * MS_PER_HOUR, BEGINS_MS + 2 * MS_PER_HOUR)
        store.add(series, generate_series(series, span, 3, quiet_share=0.0))
    return store


@pytest.fixture
def replay(store: CandleStore) -> Iterator[ReplayExchange]:
    with ReplayExchange(store, ReplayClock(BEGINS_MS, SPEED)) as exchange:
        yield exchange


def wait_for(is_so: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_s, "it did not come"
        time.sleep(0.05)


def assert_as_at_the_exchange(rows: Sequence[tuple[object, ...]], store: CandleStore, levels: int) -> None:
    """Hold every stored book against the exchange's own of the same update id, digit for digit."""
    books = MarketData(store).books
    for market, symbol, number, wanted, *sides, is_in_time in rows:
        step, rest = divmod(int(str(number)), IDS_PER_STEP)
        assert rest == 0 and wanted == levels and is_in_time
        bids, asks = books.book(Market(str(market)), str(symbol)).top(step, levels)
        expected = [[level[part] for level in side] for side in (bids, asks) for part in (0, 1)]
        assert list(sides) == expected, f"{market}:{symbol} at {number}"


def stored(service: LiveService, kind: StreamKind) -> int:
    return service.counters.records_stored[kind.value]


def test_kept_books_with_faults_and_cuts_are_the_exchanges_own_or_none(
    replay: ReplayExchange, store: CandleStore, database_url: str, tmp_path: Path
) -> None:
    kind = StreamKind.DEPTH_FULL
    keys = [key(kind, market) for market in Market]
    market = RecordMarket(database_url, tmp_path, replay, [], BEGINS_MS, SPEED, keys=keys, depth_ms=100)
    service = market.started()
    counters = service.counters
    wait_for(lambda: counters.books_synced == 3 and stored(service, kind) > 30)
    for fault in (DropFrame(), SwapFrame(), LateFrame(1_000), DoubleFrame()):
        before, restarts = stored(service, kind), counters.books_restarted.total()
        replay.streams.faults.add(fault, Where(stream="@depth"), times=3)
        if not isinstance(fault, DoubleFrame):
            wait_for(lambda restarts=restarts: counters.books_restarted.total() > restarts)  # type: ignore[misc]
        wait_for(lambda before=before: stored(service, kind) > before + 30)  # type: ignore[misc]
        wait_for(lambda: not service.records.books.syncing)
    replay.streams.faults.add(Abort())
    wait_for(lambda: counters.reconnects["cut"] == 1)
    wait_for(lambda: not service.records.books.syncing)
    before = stored(service, kind)
    wait_for(lambda: stored(service, kind) > before + 30)
    assert service.stop(20.0)
    assert not service.has_failed and counters.record_conflicts == 0
    assert counters.books_restarted.keys() == {"missing"}
    rows = market.query(STORED)
    assert {row[0] for row in rows} == {"spot", "um", "cm"}
    assert_as_at_the_exchange(rows, store, LEVELS)


def test_a_refused_snapshot_is_asked_for_again_and_new_connections_do_not_start_books_over(
    replay: ReplayExchange, store: CandleStore, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kind = StreamKind.DEPTH_FULL
    replay.faults.add("api/v3/depth", Answer(400, {"code": -1130, "msg": "Refused."}), times=1)
    replay.faults.add("fapi/v1/depth", Answer(200, {"lastUpdateId": 1, "bids": [["2", "1"], ["3", "1"]], "asks": []}))
    keys = [key(kind, market) for market in Market]
    market = RecordMarket(database_url, tmp_path, replay, [], BEGINS_MS, SPEED, keys=keys)
    service = market.started()
    wait_for(lambda: service.counters.books_synced == 3)
    opened = service.counters.connections
    service.reconnect()
    wait_for(lambda: service.counters.connections >= opened + 3)
    before = stored(service, kind)
    wait_for(lambda: stored(service, kind) > before + 15)
    assert service.stop(20.0)
    assert replay.faults.pending() == 0
    assert "BTCUSDT depth_full: no snapshot of the book, it is asked for again" in caplog.text
    assert service.counters.books_synced == 3 and not service.counters.books_restarted
    assert not service.counters.unusable and not service.has_failed
    assert_as_at_the_exchange(market.query(STORED), store, LEVELS)


def test_the_best_levels_are_stored_as_sent(
    replay: ReplayExchange, store: CandleStore, database_url: str, tmp_path: Path
) -> None:
    keys = [key(StreamKind.DEPTH, market, levels=5) for market in Market]
    market = RecordMarket(database_url, tmp_path, replay, [], BEGINS_MS, SPEED, keys=keys, depth_ms=500)
    service = market.started()
    wait_for(lambda: stored(service, StreamKind.DEPTH) > 20)
    assert service.stop(20.0)
    rows = market.query(STORED)
    assert {row[0] for row in rows} == {"spot", "um", "cm"}
    assert_as_at_the_exchange(rows, store, 5)
    apart = "select extract(epoch from min(next - time)) >= 0.001 and extract(epoch from max(next - time)) >= 0.4 from"
    lead = "(select time, lead(time) over (partition by instrument_id order by time) as next from market_depth) as one"
    assert market.query(f"{apart} {lead}") == [(True,)]
    assert service.records.books.syncing == [] and not service.has_failed
    states = {one.state for one in service.statistics.streams}
    assert states <= {StreamState.LIVE, StreamState.CONNECTING, StreamState.STOPPED}


def change(number: int) -> BookChange:
    return BookChange(BEGINS_MS + 100 * number, number, number, None, [("99.0", "1")], [("101.0", str(number))])


def books_of(*symbols: str) -> tuple[LiveBooks, list[StreamKey], LiveCounters]:
    keys = [
        StreamKey(StreamKind.DEPTH_FULL, Instrument(ExchangeName.BINANCE, Market.SPOT, symbol), levels=1)
        for symbol in symbols
    ]
    counters = LiveCounters()
    return LiveBooks(keys, None, counters, threading.Event()), keys, counters  # type: ignore[arg-type]


def test_a_hole_in_one_book_touches_that_book_alone() -> None:
    books, [btc, eth], counters = books_of("BTCUSDT", "ETHUSDT")
    for one in (btc, eth):
        assert books.take(one, change(1), 0) is None
        books.deliver(one, BookSnapshot(1, 1_000, [("99.0", "1")], [("101.0", "1")]))
        top = books.take(one, change(2), 7)
        assert top is not None and (top.last_id, top.received_ms, top.asks) == (2, 7, (("101.0", "2"),))
    assert counters.books_synced == 2 and not books.syncing
    assert books.take(btc, change(4), 0) is None
    assert books.take(eth, change(3), 0) is not None
    assert books.syncing == [btc] and counters.books_restarted == {"missing": 1}
    books.were_cut([eth])
    assert books.syncing == [btc, eth]


def test_snapshots_leave_half_of_the_request_weight_to_others() -> None:
    source = BinanceMarketData(None, None, time.sleep)  # type: ignore[arg-type]
    assert source.order_book_pause_ms(Market.SPOT) == 5_000  # weight 250 of 6000 a minute
    assert source.order_book_pause_ms(Market.UM) == source.order_book_pause_ms(Market.CM) == 1_000  # 20 of 2400
