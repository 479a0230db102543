"""Stores what streams deliver: a table that cannot be used stops no other, and what was lost is a gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from core.instrument import ExchangeName, Instrument, Market
from core.market_data import MarkPrice, Record, Trade
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from db.connection import Database
from logic.live.counters import LiveCounters
from logic.live.record_writer import RecordWriter
from logic.live.waiting_records import WaitingRecords

BTC, ETH = (Instrument(ExchangeName.BINANCE, Market.UM, name) for name in ("BTCUSDT", "ETHUSDT"))
TRADES, OTHER = StreamKey(StreamKind.TRADE, BTC), StreamKey(StreamKind.TRADE, ETH)
PRICES = StreamKey(StreamKind.MARK_PRICE, BTC)
T0 = 1_700_000_000_000


def trades(*ids: int, price: str = "1.5") -> list[tuple[StreamKey, Record]]:
    return [(TRADES, Trade(one, T0 + one, price, "1", True)) for one in ids]


class Bench:
    """Runs of a writer over a database."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def open_database(self) -> Iterator[Database]:
        with closing(Database.connect(self.url, {}, "writer")) as database:
            yield database

    @staticmethod
    def local_now_ms() -> int:
        return T0

    def write(self, *batches: Sequence[tuple[StreamKey, Record]]) -> LiveCounters:
        """Let a new writer store batches, one after the other, and return what it counted."""
        counters, waiting = LiveCounters(), WaitingRecords({StreamKind.MARK_PRICE: 1_000})
        writer = RecordWriter([TRADES, OTHER, PRICES], waiting, self, counters)  # type: ignore[arg-type]
        with self.open_database() as database:
            writer._begin(database)
            for batch in batches:
                for key, record in batch:
                    waiting.put(key, record)
                writer._round(database)
        assert writer.unsaved == 0
        return counters

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with self.open_database() as database, database.transaction("query") as tx:
            tx.cursor.execute(statement)
            return list(tx.cursor.fetchall()) if tx.cursor.description else []

    def gaps(self) -> list[tuple[object, ...]]:
        return self.query("select first_id, last_id, status from stream_gaps order by first_id")


@pytest.fixture
def bench(database_url: str) -> Bench:
    return Bench(database_url)


def test_a_gap_is_noted_with_the_trade_behind_it_and_by_the_next_process_too(bench: Bench) -> None:
    done = bench.write(trades(3, 4), trades(7, 6), [(OTHER, Trade(90, T0, "1", "1", False))])
    assert (done.id_gaps, bench.gaps()) == (1, [(5, 5, "missing")])
    assert bench.write(trades(8)).id_gaps == 0
    assert bench.write(trades(12), trades(10, 11)).id_gaps == 1
    assert bench.gaps() == [(5, 5, "missing"), (9, 11, "missing")]
    assert bench.query("select count(*) from market_trades") == [(9,)]


def test_two_writers_at_once_store_each_trade_once_and_a_conflict_is_told(bench: Bench) -> None:
    bench.write(trades(1, 2, 3))
    again = bench.write(trades(2, 3, 4))
    assert (again.records_stored["trade"], again.records_already_there, again.record_conflicts) == (1, 2, 0)
    wrong = bench.write(trades(4, price="9"))
    assert wrong.record_conflicts == 1
    assert bench.query("select distinct price::text from market_trades") == [("1.5",)]
    assert bench.gaps() == []


def test_a_table_that_was_altered_stops_no_other_and_what_was_lost_is_a_gap(bench: Bench) -> None:
    bench.write(trades(1))
    bench.query("alter table market_trades rename column price to cost")
    done = bench.write([*trades(2, 3), (PRICES, MarkPrice(T0, "1", None, None, "1", None, None))])
    assert done.records_lost == 2 and done.records_stored == {"mark_price": 1}
    bench.query("alter table market_trades rename column cost to price")
    bench.write(trades(4))
    assert bench.gaps() == [(2, 3, "missing")]
