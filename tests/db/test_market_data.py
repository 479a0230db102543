"""Trades, tickers, mark prices and funding rates in their tables, and the gaps of trades."""

from __future__ import annotations

import pytest
from timescale import needs_timescale

from core.id_sequence import IdGap, Mark, missing_within
from core.instrument import ExchangeName, Instrument, Market
from core.market_data import AggTrade, BookTop, FundingRate, MarkPrice, Ticker, Trade
from core.stream_kinds import BOOKS, StreamKind
from core.times import MS_PER_DAY, parse_time
from core.timescale import TimescaleUse
from db.connection import Database
from db.market_data import StoredRecords, newest_trades, store_records, sync_instruments
from db.market_hypertables import make_market_hypertables
from db.market_tables import TABLES
from db.stream_gaps import GapStatus, insert_gaps, load_missing, settle_gap, trades_within
from db.timescale import find_hypertables, use_timescale

BTC = Instrument(ExchangeName.BINANCE, Market.SPOT, "BTCUSDT")
ODD = Instrument(ExchangeName.BINANCE, Market.UM, "币安人生USDT")
T0 = parse_time("2024-03-01T00:00:00.007")
RECORDS = {
    StreamKind.AGG_TRADE: AggTrade(7, T0, "1.10", "2.000", 11, 12, True),
    StreamKind.TRADE: Trade(2**40, T0, "0.00000001", "20000000000.5", False),
    StreamKind.TICKER: Ticker(
        *(T0, "-28.2", "-1.600", "1781.1", "1", "0.5", "2", "3.0", "0.5", "4", "5", T0 - MS_PER_DAY, T0, -1, -1, 0)
    ),
    StreamKind.MARK_PRICE: MarkPrice(T0, "1.10", None, None, "1.3", None, None),
    StreamKind.FUNDING_RATE: FundingRate(T0, "-0.00010000", None),
}


@pytest.fixture(params=["database", pytest.param("timescale", marks=needs_timescale)])
def market(request: pytest.FixtureRequest) -> Database:
    database: Database = request.getfixturevalue(request.param)
    if request.param == "timescale":
        edition = use_timescale(database, TimescaleUse.ON)
        assert edition is not None
        make_market_hypertables(database, 7 if edition.can_compress else 0)
        with database.transaction("look") as tx:
            assert find_hypertables(tx, [one.name for one in TABLES.values()]) == {one.name for one in TABLES.values()}
    return database


def store(database: Database, kind: StreamKind, *records: object, instrument: int = 1) -> StoredRecords:
    with database.transaction("store") as tx:
        return store_records(tx, kind, [TABLES[kind].line(instrument, one, "stream") for one in records])


def rows(database: Database, kind: StreamKind) -> list[tuple[str, ...]]:
    table = TABLES[kind]
    with database.transaction("read") as tx:
        names = ", ".join(f"{name}::text" for name in table.columns)
        tx.cursor.execute(f"select {names} from public.{table.name} order by {', '.join(table.key)}")
        return list(tx.cursor.fetchall())


@pytest.mark.parametrize("kind", BOOKS)
def test_an_order_book_is_stored_digit_for_digit_once(market: Database, kind: StreamKind) -> None:
    book = BookTop(None, 1_709_251_200_007, 9, 5, [("1.10", "2.000"), ("1.0", "3")], [])
    assert store(market, kind, book) == StoredRecords(inserted=1)
    at = "2024-03-01 00:00:00.007+00"
    assert rows(market, kind) == [("1", at, "9", at, "5", "{1.10,1.0}", "{2.000,3}", "{}", "{}")]
    assert store(market, kind, book, book) == StoredRecords(equal=2)
    assert store(market, kind, book._replace(bids=[("1.10", "2")])) == StoredRecords(conflicts=1)
    assert len(rows(market, kind)) == 1


@pytest.mark.parametrize("kind", list(RECORDS))
def test_a_record_is_stored_digit_for_digit_once(market: Database, kind: StreamKind) -> None:
    record = RECORDS[kind]
    assert store(market, kind, record) == StoredRecords(inserted=1)
    [row] = rows(market, kind)
    values = [value for name, value in zip(record._fields, record, strict=True) if not name.endswith("ms")]
    assert {str(value) for value in values if isinstance(value, str)} <= {*row}
    assert row[1] == "2024-03-01 00:00:00.007+00"
    other = record._replace(**{"rate" if kind is StreamKind.FUNDING_RATE else record._fields[2]: "99"})
    assert store(market, kind, record, record) == StoredRecords(equal=2)
    if kind not in (StreamKind.AGG_TRADE, StreamKind.TRADE):
        assert store(market, kind, other) == StoredRecords(conflicts=1)
    assert rows(market, kind) == [row]


def test_doubles_and_conflicts_among_new_trades(market: Database) -> None:
    first, other = Trade(1, T0, "1", "1", True), Trade(1, T0, "2", "1", True)
    assert store(market, StreamKind.TRADE, first, Trade(2, T0, "1.0", "1", True)).inserted == 2
    given = [other, first, Trade(3, T0, "1", "1", True), Trade(3, T0, "1", "1", True), Trade(4, T0 + 1, "1", "1", True)]
    assert store(market, StreamKind.TRADE, *given) == StoredRecords(inserted=2, equal=2, conflicts=1)
    assert [row[2:4] for row in rows(market, StreamKind.TRADE)] == [("1", "1"), ("2", "1.0"), ("3", "1"), ("4", "1")]
    assert store(market, StreamKind.TRADE, first, instrument=2) == StoredRecords(inserted=1)
    assert store(market, StreamKind.TRADE) == StoredRecords()


def test_instruments_keep_their_ids(market: Database) -> None:
    with market.transaction("enter") as tx:
        first = sync_instruments(tx, [BTC, ODD, BTC])
        assert sync_instruments(tx, [ODD]) == {ODD: first[ODD]}
        assert len({*first.values()}) == 2
        assert sync_instruments(tx, []) == {}


def test_the_newest_trade_of_each_instrument(market: Database) -> None:
    store(market, StreamKind.TRADE, Trade(5, T0 + 2, "1", "1", True), Trade(4, T0 + 2, "1", "1", True))
    store(market, StreamKind.TRADE, Trade(9, T0, "1", "1", True), instrument=2)
    with market.transaction("look") as tx:
        assert newest_trades(tx, StreamKind.TRADE, [1, 2, 3]) == {1: Mark(5, T0 + 2), 2: Mark(9, T0)}
        assert newest_trades(tx, StreamKind.AGG_TRADE, [1, 2]) == {}


def test_the_life_of_a_gap(market: Database) -> None:
    kind = StreamKind.AGG_TRADE
    with market.transaction("enter") as tx:
        number = sync_instruments(tx, [BTC])[BTC]
        insert_gaps(tx, number, kind, [IdGap(4, 9, T0, T0 + 50), IdGap(20, 20, T0 + 60, T0 + 70)], T0 + 100)
    for late in (5, 6, 20):
        store(market, kind, AggTrade(late, T0 + late, "1", "1", late, late, True), instrument=number)
    with market.transaction("look") as tx:
        older, newer = load_missing(tx, kind, [number])
        left = missing_within(older.gap, trades_within(tx, older))
        assert [(one.first_id, one.last_id) for one in left] == [(4, 4), (7, 9)]
        settle_gap(tx, older, left, GapStatus.MISSING, "later", T0 + 200)
        settle_gap(tx, newer, missing_within(newer.gap, trades_within(tx, newer)), GapStatus.LOST, "", T0 + 200)
        tx.cursor.execute("select first_id, last_id, status, reason from public.stream_gaps order by first_id")
        assert tx.cursor.fetchall() == [(4, 4, "missing", "later"), (7, 9, "missing", "later"), (20, 20, "healed", "")]
        assert [one.gap.first_id for one in load_missing(tx, kind, [number])] == [4, 7]
        assert load_missing(tx, StreamKind.TRADE, [number]) == []


@needs_timescale
def test_a_table_with_rows_stays_plain(timescale: Database) -> None:
    use_timescale(timescale, TimescaleUse.ON)
    store(timescale, StreamKind.TRADE, RECORDS[StreamKind.TRADE])
    for _ in range(2):
        make_market_hypertables(timescale, 0)
    with timescale.transaction("look") as tx:
        found = find_hypertables(tx, [one.name for one in TABLES.values()])
    assert found == {one.name for one in TABLES.values()} - {"market_trades"}
