"""Ledger rows of streamed candles are cut for an audit, and folded once they were audited."""

from __future__ import annotations

import itertools

from stream_writer import BTC, START_MS, Writer

from core.ranges import Span
from core.sources import Source
from core.times import MS_PER_MINUTE, to_datetime
from db.connection import Database
from db.ledger import cut_entry, load_entries, set_verified, snapshot_of
from db.provisional import fold_streamed, split_provisional

HOUR = 60


def at(slot: int) -> int:
    return START_MS + slot * MS_PER_MINUTE


def split(writer: Writer, slot: int) -> None:
    with writer.database.transaction("split") as tx:
        split_provisional(tx, writer.ids[BTC], BTC.table_name, at(slot))


def fold(writer: Writer) -> None:
    with writer.database.transaction("fold") as tx:
        fold_streamed(tx, writer.ids[BTC], BTC.table_name)


def verify(writer: Writer, first: int, last: int, at_ms: int) -> None:
    with writer.database.transaction("verify") as tx:
        set_verified(tx, writer.ids[BTC], Span(at(first), at(last)), at_ms, "rest", snapshot_of(tx))


def execute(writer: Writer, statement: str, *values: object) -> None:
    with writer.database.transaction("execute") as tx:
        tx.cursor.execute(statement, values)


def stream_in_rows(writer: Writer, *slots: int) -> None:
    """Stream candles so that a ledger row begins at each of `slots` but the last, where they end."""
    for first, last in itertools.pairwise(slots):
        writer.open_rows.clear()
        writer.stream(BTC, *range(first, last))


def test_a_row_that_still_grows_is_cut_where_the_audit_ends(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, *range(10))
    split(writer, 8)
    assert writer.ledger(BTC) == [("stream", 0, 8), ("stream", 8, 10)]
    assert all(one.is_hash_checked and one.run_id == "stream" for one in writer.entries(BTC))
    writer.stream(BTC, 10)  # what was cut is not extended as if it were whole
    assert writer.ledger(BTC) == [("stream", 0, 8), ("stream", 8, 10), ("stream", 10, 11)]


def test_nothing_is_cut_but_a_provisional_row_that_reaches_over_the_time(database: Database) -> None:
    writer = Writer(database)
    writer.by_rest(BTC, 0, 10)
    writer.stream(BTC, *range(10, 20))
    verify(writer, 10, 20, START_MS)
    for slot in (0, 5, 10, 15, 20, 25):
        split(writer, slot)
    assert writer.ledger(BTC) == [("rest", 0, 10), ("stream", 10, 20)]


def test_a_row_that_was_altered_is_neither_cut_nor_folded(database: Database) -> None:
    writer = Writer(database)
    stream_in_rows(writer, 0, 10, 20)
    execute(writer, "update public.ohlcv_btcusdt set close = close + 1 where time = %s", to_datetime(at(12)))
    before = writer.entries(BTC)
    split(writer, 15)
    fold(writer)
    assert writer.entries(BTC) == before
    assert [one.is_hash_checked for one in before] == [True, False]


def test_provisional_rows_side_by_side_become_one_page_of_an_audit(database: Database) -> None:
    writer = Writer(database)
    stream_in_rows(writer, 0, 1, 10, 20)
    writer.stream(BTC, 25)
    fold(writer)
    assert writer.ledger(BTC) == [("stream", 0, 20), ("stream", 25, 26)]
    writer.stream(BTC, 20)  # not as it was left: another row
    assert writer.ledger(BTC) == [("stream", 0, 20), ("stream", 20, 21), ("stream", 25, 26)]


def test_however_many_provisional_rows_there_are_they_become_one(database: Database) -> None:
    """Two streams that were started by mistake leave a row a candle."""
    writer = Writer(database)
    stream_in_rows(writer, *range(151))
    fold(writer)
    assert writer.ledger(BTC) == [("stream", 0, 150)]


def test_audited_rows_are_folded_into_days_and_keep_the_oldest_verification(database: Database) -> None:
    writer = Writer(database)
    hours = range(0, 24 * HOUR + 1, HOUR)
    stream_in_rows(writer, *hours)
    for first in hours[:-1]:
        verify(writer, first, first + HOUR, START_MS + first)
    stream_in_rows(writer, 24 * HOUR, 24 * HOUR + 5)
    fold(writer)
    assert writer.ledger(BTC) == [("stream", 0, 24 * HOUR), ("stream", 24 * HOUR, 24 * HOUR + 5)]
    audited, provisional = writer.entries(BTC)
    assert (audited.verified_ms, provisional.verified_ms) == (START_MS, None)
    assert audited.is_hash_checked
    with database.transaction("look") as tx:
        tx.cursor.execute("select verified_against from public.ohlcv_ledger order by span_start")
        assert tx.cursor.fetchall() == [("rest",), (None,)]


def test_audited_and_provisional_rows_are_never_folded_together(database: Database) -> None:
    writer = Writer(database)
    stream_in_rows(writer, 0, 700, 1300, 1440)
    verify(writer, 0, 1300, START_MS)
    fold(writer)
    assert writer.ledger(BTC) == [("stream", 0, 1300), ("stream", 1300, 1440)]


def test_nor_is_what_other_sources_contradict(database: Database) -> None:
    writer = Writer(database)
    stream_in_rows(writer, 0, 10, 20, 30)
    execute(writer, "update public.ohlcv_ledger set contradicted = 1 where span_start = %s", to_datetime(at(10)))
    fold(writer)
    assert writer.ledger(BTC) == [("stream", 0, 10), ("stream", 10, 20), ("stream", 20, 30)]


def test_an_audited_row_that_a_heal_cuts_stays_audited(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, *range(10))
    verify(writer, 0, 10, START_MS)
    with database.transaction("cut") as tx:
        [entry] = load_entries(tx, writer.ids[BTC], BTC.table_name)
        cut_entry(tx, writer.ids[BTC], BTC.table_name, entry, [Span(at(4), at(5))], is_intact=True)
    assert writer.ledger(BTC) == [("stream", 0, 4), ("stream", 5, 10)]
    assert [one.verified_ms for one in writer.entries(BTC)] == [START_MS, START_MS]
    assert {one.source for one in writer.entries(BTC)} == {Source.STREAM}
