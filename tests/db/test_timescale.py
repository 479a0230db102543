"""The TimescaleDB path, on a real server: set TIMESCALE_TEST_URL to one that may create databases."""

from __future__ import annotations

import pytest
from candles import generated_batch, save_spans, stored_rows
from psycopg2.extensions import make_dsn
from timescale import TIMESCALE_URL, can_compress, compress_chunks, needs_timescale, of_plain_tables

from core.candles import content_hash
from core.errors import DatabaseUnavailable
from core.fetched import FetchedSpan
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time, to_datetime
from core.timescale import TimescaleEdition, TimescaleUse
from core.wanted import WantedSeries
from db.all_series_view import refresh_all_series_view
from db.catalog import load_catalog, sync_symbols
from db.commit import CommitContext
from db.connection import Database, Transaction
from db.corrections import correct_candles, undo_corrections
from db.external_changes import find_unwatched, is_watched
from db.ledger import hash_stored
from db.operations import SaveResult, get_first_timestamp, get_last_timestamp
from db.schema import create_table_if_not_exists, find_tables
from db.timescale import find_hypertables, lock_chunks_once, use_timescale
from logic.gaps.series_check import check_series

BTC = parse_series("BTCUSDT")
TWO_MONTHS = Span(parse_time("2024-01-01"), parse_time("2024-03-01"))


def compress_after(edition: TimescaleEdition | None) -> int:
    """Return the days that a table of the edition is given."""
    assert edition is not None
    return 90 if edition.can_compress else 0


@needs_timescale
def test_the_extension_is_used_where_it_is_and_created_only_when_that_is_wanted(timescale: Database) -> None:
    assert use_timescale(timescale, TimescaleUse.AUTO) is None
    edition = use_timescale(timescale, TimescaleUse.ON)
    assert edition is not None
    assert use_timescale(timescale, TimescaleUse.ON) is use_timescale(timescale, TimescaleUse.AUTO) is edition
    assert use_timescale(timescale, TimescaleUse.OFF) is None
    with timescale.transaction("look") as tx:
        assert edition.can_compress == can_compress(tx)


@needs_timescale
def test_new_tables_are_hypertables_compressed_where_the_edition_can(timescale: Database) -> None:
    edition = use_timescale(timescale, TimescaleUse.ON)
    assert edition is not None
    with timescale.transaction("create") as tx:
        for text in ("BTCUSDT", "BTCUSDT/1M", "BTCUSDT/1s", "um:币安人生USDT/1h"):
            days = compress_after(edition)
            create_table_if_not_exists(tx, parse_series(text), timescale=True, compress_after_days=days)
        tx.cursor.execute("select hypertable_name, time_interval from timescaledb_information.dimensions order by 1")
        found = {name: interval.days for name, interval in tx.cursor.fetchall()}
        tx.cursor.execute("select count(*) from timescaledb_information.jobs where proc_name = 'policy_compression'")
        assert tx.cursor.fetchone() == (4 if edition.can_compress else 0,)
        assert find_unwatched(tx, list(found)) == []
        assert all(is_watched(tx, table) for table in found)
    assert found["ohlcv_btcusdt"] == 30
    assert found["ohlcv_btcusdt_1s"] == 7
    assert set(found) == {"ohlcv_btcusdt", "ohlcv_btcusdt_1mo", "ohlcv_btcusdt_1s", "ohlcv_um_币安人生usdt_1h"}


@needs_timescale
def test_hypertables_are_made_wherever_the_extension_is_and_whatever_the_search_path(timescale: Database) -> None:
    with timescale.transaction("prepare") as tx:
        tx.cursor.execute('create schema "My Extensions"; create extension timescaledb schema "My Extensions"')
        tx.cursor.execute("set search_path = ''")
    days = compress_after(use_timescale(timescale, TimescaleUse.AUTO))
    with timescale.transaction("create") as tx:
        create_table_if_not_exists(tx, BTC, timescale=True, compress_after_days=days)
        assert find_hypertables(tx, [BTC.table_name]) == {BTC.table_name}


@needs_timescale
def test_a_role_that_may_not_create_the_extension_is_told_what_to_do(timescale: Database) -> None:
    with timescale.transaction("prepare") as tx:
        tx.cursor.execute("select current_database()")
        [(name,)] = tx.cursor.fetchall()
        tx.cursor.execute("drop role if exists candle_reader; create role candle_reader login")
    poor = Database.connect(make_dsn(TIMESCALE_URL, dbname=name, user="candle_reader"), {}, "tests")
    try:
        assert use_timescale(poor, TimescaleUse.AUTO) is None
        with pytest.raises(
            DatabaseUnavailable, match=r"TIMESCALE=on, but .*create extension timescaledb.*TIMESCALE=auto"
        ):
            use_timescale(poor, TimescaleUse.ON)
    finally:
        poor.close()
        with timescale.transaction("drop") as tx:
            tx.cursor.execute("drop owned by candle_reader; drop role candle_reader")


@needs_timescale
def test_backfilling_into_compressed_chunks_loses_and_doubles_nothing(timescale: Database) -> None:
    days = compress_after(use_timescale(timescale, TimescaleUse.ON))
    batch = generated_batch(BTC, TWO_MONTHS)
    some = Span(TWO_MONTHS.start_ms + 20_000 * MS_PER_MINUTE, TWO_MONTHS.start_ms + 60_000 * MS_PER_MINUTE)
    with timescale.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        create_table_if_not_exists(tx, BTC, timescale=True, compress_after_days=days)
        refresh_all_series_view(tx)
        save_spans(tx, series_id, BTC.table_name, [FetchedSpan(some, batch.within(some), Source.REST)], "a", 0)
    with timescale.transaction("compress") as tx:
        compress_chunks(tx, "public.ohlcv_btcusdt")
        tx.cursor.execute("select count(*) from show_chunks('public.ohlcv_btcusdt')")
        assert tx.cursor.fetchone()[0] >= 2
    with timescale.transaction("save") as tx:
        tx.cursor.execute("delete from public.ohlcv_ledger")
        whole = [FetchedSpan(TWO_MONTHS, batch, Source.ARCHIVE_MONTHLY)]
        result = save_spans(tx, series_id, BTC.table_name, whole, "b", 0)
        assert result == SaveResult(inserted=batch.rows - 40_000, equal=40_000)
        rows = stored_rows(tx, BTC.table_name)
        tx.cursor.execute("select count(*) from public.ohlcv where symbol = 'BTCUSDT'")
        assert tx.cursor.fetchone() == (batch.rows,)
    assert [row[0] for row in rows] == batch.open_times()
    assert [row[4] for row in rows] == batch.columns["close"].to_pylist()


@needs_timescale
def test_a_hole_in_a_compressed_chunk_is_filled_by_copying_straight_into_it(timescale: Database) -> None:
    days = compress_after(use_timescale(timescale, TimescaleUse.ON))
    batch = generated_batch(BTC, TWO_MONTHS)
    day = Span(parse_time("2024-01-10"), parse_time("2024-01-11"))
    around = [Span(TWO_MONTHS.start_ms, day.start_ms), Span(day.end_ms, TWO_MONTHS.end_ms)]
    with timescale.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        create_table_if_not_exists(tx, BTC, timescale=True, compress_after_days=days)
        spans = [FetchedSpan(span, batch.within(span), Source.REST) for span in around]
        save_spans(tx, series_id, BTC.table_name, spans, "a", 0)
    with timescale.transaction("compress") as tx:
        compress_chunks(tx, "public.ohlcv_btcusdt")
    for result in (SaveResult(inserted=1440), SaveResult(equal=1440)):
        with timescale.transaction("save") as tx:
            tx.cursor.execute("delete from public.ohlcv_ledger")
            one = [FetchedSpan(day, batch.within(day), Source.ARCHIVE_DAILY)]
            assert save_spans(tx, series_id, BTC.table_name, one, "b", 0) == result
    with timescale.transaction("read") as tx:
        assert hash_stored(tx, BTC.table_name, TWO_MONTHS) == (batch.rows, content_hash(batch))


@needs_timescale
def test_hands_in_compressed_chunks_are_seen_and_corrected(timescale: Database) -> None:
    days = compress_after(use_timescale(timescale, TimescaleUse.ON))
    batch = generated_batch(BTC, TWO_MONTHS)
    with timescale.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        create_table_if_not_exists(tx, BTC, timescale=True, compress_after_days=days)
        save_spans(tx, series_id, BTC.table_name, [FetchedSpan(TWO_MONTHS, batch, Source.REST)], "a", 0)
    with timescale.transaction("compress") as tx:
        compress_chunks(tx, "public.ohlcv_btcusdt")
        assert find_tables(tx, [BTC.table_name])[BTC.table_name].faults == []
        assert is_watched(tx, BTC.table_name)
    with timescale.transaction("check") as tx:
        row = next(one for one in load_catalog(tx) if one.series == BTC)
        assert check_series(tx, row, TimeRange(), TWO_MONTHS.end_ms).is_complete
    noon_ms = parse_time("2024-01-10T12:00")
    with timescale.transaction("by hand") as tx:
        tx.cursor.execute("update public.ohlcv_btcusdt set close = close + 1 where time = %s", (to_datetime(noon_ms),))
    with timescale.transaction("check") as tx:
        assert check_series(tx, row, TimeRange(), TWO_MONTHS.end_ms).altered == (TWO_MONTHS,)
    with timescale.transaction("correct") as tx:
        right = batch.at([noon_ms])
        correct_candles(tx, CommitContext(series_id, BTC.table_name, "repair", 0), [noon_ms], right, "rest")
        assert hash_stored(tx, BTC.table_name, TWO_MONTHS) == (batch.rows, content_hash(batch))
    with timescale.transaction("undo") as tx:
        assert undo_corrections(tx, CommitContext(series_id, BTC.table_name, "undo", 0), "repair") == 1
        assert hash_stored(tx, BTC.table_name, TWO_MONTHS) != (batch.rows, content_hash(batch))


@needs_timescale
def test_candles_far_apart_are_corrected_in_more_compressed_rows_than_timescale_allows(timescale: Database) -> None:
    days = compress_after(use_timescale(timescale, TimescaleUse.ON))
    span = Span(parse_time("2024-01-01"), parse_time("2024-04-01"))
    batch = generated_batch(BTC, span)
    assert batch.rows > 100_000
    ends = [span.start_ms, span.end_ms - MS_PER_MINUTE]
    with timescale.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(BTC)], replaces_catalog=True)[BTC].id
        create_table_if_not_exists(tx, BTC, timescale=True, compress_after_days=days)
        tx.cursor.execute("alter table public.ohlcv_btcusdt add column remark text default 'mine'")
        save_spans(tx, series_id, BTC.table_name, [FetchedSpan(span, batch, Source.REST)], "a", 0)
        for ms in ends:
            changed = "update public.ohlcv_btcusdt set close = close + 1, remark = 'changed' where time = %s"
            tx.cursor.execute(changed, (to_datetime(ms),))
    with timescale.transaction("compress") as tx:
        compress_chunks(tx, "public.ohlcv_btcusdt")
        damaged = stored_rows(tx, BTC.table_name)
    with timescale.transaction("correct") as tx:
        correct_candles(tx, CommitContext(series_id, BTC.table_name, "repair", 0), ends, batch.at(ends), "rest")
        assert hash_stored(tx, BTC.table_name, span) == (batch.rows, content_hash(batch))
        tx.cursor.execute("select count(*) from public.ohlcv_btcusdt where remark = 'changed'")
        assert tx.cursor.fetchone() == (2,)
    with timescale.transaction("undo") as tx:
        compress_chunks(tx, "public.ohlcv_btcusdt")
        assert undo_corrections(tx, CommitContext(series_id, BTC.table_name, "undo", 0), "repair") == 2
        assert stored_rows(tx, BTC.table_name) == damaged


@needs_timescale
def test_the_newest_and_oldest_candles_of_many_chunks_are_found_with_few_locks(timescale: Database) -> None:
    days = compress_after(use_timescale(timescale, TimescaleUse.ON))
    hourly = parse_series("BTCUSDT/1h")
    half = Span(parse_time("2024-01-01"), parse_time("2024-03-01"))
    whole = Span(half.start_ms, parse_time("2024-05-01"))
    with timescale.transaction("prepare") as tx:
        series_id = sync_symbols(tx, [WantedSeries(hourly)], replaces_catalog=True)[hourly].id
        create_table_if_not_exists(tx, hourly, timescale=True, compress_after_days=days)
        tx.cursor.execute("select set_chunk_time_interval('public.ohlcv_btcusdt_1h', interval '1 day')")
        batch = generated_batch(hourly, whole)
        pieces = [Span(ms, ms + 10 * MS_PER_DAY) for ms in range(half.start_ms, half.end_ms, 10 * MS_PER_DAY)]
        spans = [FetchedSpan(piece, batch.within(piece), Source.ARCHIVE_DAILY) for piece in pieces]
        save_spans(tx, series_id, hourly.table_name, spans, "a", 0)
    with timescale.transaction("compress") as tx:
        compress_chunks(tx, "public.ohlcv_btcusdt_1h")
    for taken_out, first, last in (
        ("false", half.start_ms, half.end_ms - MS_PER_HOUR),
        ("time < '2024-01-01 05:00Z' or time >= '2024-02-29 20:00Z'", "2024-01-01T05:00", "2024-02-29T19:00"),
    ):
        with timescale.transaction("by hand") as tx:
            tx.cursor.execute(f"delete from public.ohlcv_btcusdt_1h where {taken_out}")
        with timescale.transaction("look") as tx:
            assert get_first_timestamp(tx, [hourly.table_name]) == {hourly.table_name: as_ms(first)}
            assert get_last_timestamp(tx, [hourly.table_name]) == {hourly.table_name: as_ms(last)}
            assert count_locks(tx) < 120  # of 60 chunks all together up to 240
    # Where the ledger's last span has lost all its candles, the whole table is read; so too where it has none.
    with timescale.transaction("by hand") as tx:
        tx.cursor.execute("delete from public.ohlcv_btcusdt_1h where time >= '2024-02-20Z'")
        assert get_last_timestamp(tx, [hourly.table_name]) == {hourly.table_name: as_ms("2024-02-19T23:00")}
        tx.cursor.execute("delete from public.ohlcv_ledger")
        assert get_last_timestamp(tx, [hourly.table_name]) == {hourly.table_name: as_ms("2024-02-19T23:00")}
        tx.cursor.execute("truncate public.ohlcv_btcusdt_1h")
        assert get_first_timestamp(tx, [hourly.table_name]) == {hourly.table_name: None}


@needs_timescale
def test_no_worker_of_a_check_locks_the_chunks_once_more(timescale: Database) -> None:
    use_timescale(timescale, TimescaleUse.ON)
    with timescale.transaction("look") as tx:
        create_table_if_not_exists(tx, BTC, timescale=True, compress_after_days=0)
        for table, workers in (("ohlcv_series", "2"), (BTC.table_name, "0")):
            tx.cursor.execute("set local max_parallel_workers_per_gather = 2")
            lock_chunks_once(tx, table)
            tx.cursor.execute("show max_parallel_workers_per_gather")
            assert tx.cursor.fetchall() == [(workers,)]


def as_ms(moment: int | str) -> int:
    return parse_time(moment) if isinstance(moment, str) else moment


def count_locks(tx: Transaction) -> int:
    tx.cursor.execute("select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'relation'")
    [(count,)] = tx.cursor.fetchall()
    return int(count)


@of_plain_tables
def test_a_server_without_the_extension_is_used_as_plain_postgresql(database: Database) -> None:
    assert use_timescale(database, TimescaleUse.AUTO) is None
    with pytest.raises(DatabaseUnavailable, match="TIMESCALE=on, but the server at .* has not loaded TimescaleDB"):
        use_timescale(database, TimescaleUse.ON)
