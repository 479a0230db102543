from __future__ import annotations

from random import Random

import pytest
from candles import batch_of, generated_batch, validate
from hypothesis import given
from hypothesis import strategies as st
from servers import HAS_TIMESCALE

from core.candles import CandleBatch, content_hash
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series, make_series, parse_series
from core.times import MS_PER_MINUTE, parse_time
from db.connection import Database
from db.ledger import hash_stored
from db.operations import insert_candles
from db.schema import create_table_if_not_exists
from db.stored_candles import load_candles

BTC = parse_series("BTCUSDT")
START_MS = parse_time("2024-03-01")
ALL_TIME = Span(0, 4_102_444_800_000)
EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

# All that validation lets through: up to twenty digits before the point and eighteen behind it.
wholes = st.just("0") | st.from_regex(r"[1-9][0-9]{0,19}", fullmatch=True)
fractions = st.just("") | st.from_regex(r"\.[0-9]{1,18}", fullmatch=True) | st.from_regex(r"\.0{1,18}", fullmatch=True)
decimals = st.tuples(wholes, fractions).map("".join)
exchange_rows = st.builds(
    lambda ms, values, trades: [ms, *values[:5], 0, values[5], trades, *values[6:], "0"],
    st.integers(parse_time("2017-08-17"), parse_time("2099-12-31")),
    st.lists(decimals, min_size=8, max_size=8),
    st.integers(0, 2**31 - 1),
)
batches = st.lists(exchange_rows, max_size=8, unique_by=lambda row: row[0]).map(lambda rows: batch_of(sorted(rows)))


def create(database: Database, series: Series = BTC) -> None:
    with database.transaction("create") as tx:
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)


def store(database: Database, batch: CandleBatch, series: Series = BTC) -> None:
    create(database, series)
    with database.transaction("store") as tx:
        insert_candles(tx, series.table_name, batch)


def load(database: Database, span: Span = ALL_TIME, series: Series = BTC) -> CandleBatch:
    with database.transaction("load") as tx:
        return load_candles(tx, series.table_name, span)


def hashed(database: Database, span: Span = ALL_TIME, series: Series = BTC) -> tuple[int, str]:
    with database.transaction("hash") as tx:
        return hash_stored(tx, series.table_name, span)


@given(batch=batches)
def test_candles_come_back_digit_for_digit_and_hash_as_they_went_in(database: Database, batch: CandleBatch) -> None:
    create(database)
    with database.transaction("store") as tx:
        tx.cursor.execute("truncate public.ohlcv_btcusdt")
        insert_candles(tx, BTC.table_name, batch)
        loaded = load_candles(tx, BTC.table_name, ALL_TIME)
        assert hash_stored(tx, BTC.table_name, ALL_TIME) == (batch.rows, content_hash(batch))
    assert loaded.columns.equals(batch.columns)
    assert content_hash(loaded) == content_hash(batch)


@pytest.mark.parametrize("interval", INTERVALS.values(), ids=str)
def test_generated_candles_of_every_interval_come_back(database: Database, interval: object) -> None:
    series = make_series("spot", "BTCUSDT", interval.code)
    first = series.interval.ceil(START_MS)
    batch = generated_batch(series, Span(first, series.interval.add(first, 50)))
    validate(batch)
    store(database, batch, series)
    loaded = load(database, series=series)
    validate(loaded)
    assert loaded.columns.equals(batch.columns)
    assert hashed(database, series=series) == (50, content_hash(batch))


def test_the_extremes_that_validation_lets_through_are_kept(database: Database) -> None:
    big, small = "99999999999999999999.999999999999999999", "0.000000000000000001"
    rows = [
        [START_MS, small, big, small, big, big, 0, big, 2**31 - 1, big, big, "0"],
        [START_MS + 1, "1", "1.0", "1.000000000000000000", "1.00", "0", 0, "0.0", 0, "0.000000000000000000", "0", "0"],
        [START_MS + 2, "10", "100.10", "10.0", "20.020", "0.10", 0, "1000000", 1, "0.01000", "10000000000.0", "0"],
    ]
    batch = batch_of(rows)
    validate(batch)
    store(database, batch)
    assert load(database).columns.equals(batch.columns)
    assert hashed(database) == (3, content_hash(batch))


def test_trailing_zeros_are_kept_and_do_not_count_in_the_hash(database: Database) -> None:
    row = [START_MS, "1.500", "2.00", "1.0", "1.50", "100", 0, "100.0", 1, "0.0", "0", "0"]
    short = [START_MS, "1.5", "2", "1", "1.5", "100.00", 0, "100", 1, "0", "0.000", "0"]
    store(database, batch_of([row]))
    assert load(database).columns.equals(batch_of([row]).columns)
    assert hashed(database)[1] == content_hash(batch_of([short]))


def test_a_table_or_span_without_candles_loads_as_an_empty_batch(database: Database) -> None:
    store(database, generated_batch(BTC, Span(START_MS, START_MS + 10 * MS_PER_MINUTE)))
    before = Span(START_MS - MS_PER_MINUTE, START_MS)
    empty = load(database, before)
    assert empty.columns.equals(CandleBatch.empty().columns)
    assert hashed(database, before) == (0, EMPTY_HASH) == (0, content_hash(empty))


def test_a_span_is_half_open_to_the_millisecond(database: Database) -> None:
    times = [START_MS - 1, START_MS, START_MS + 1, START_MS + 999, START_MS + 1000]
    batch = batch_of([[ms, "1", "1", "1", "1", "0", 0, "0", 0, "0", "0", "0"] for ms in times])
    store(database, batch)
    span = Span(START_MS, START_MS + 1000)
    assert load(database, span).open_times() == times[1:4]
    assert hashed(database, span) == (3, content_hash(batch.within(span)))


def test_candles_come_in_order_of_time_however_they_lie_in_the_table(database: Database) -> None:
    batch = generated_batch(BTC, Span(START_MS, START_MS + 60 * MS_PER_MINUTE))
    times = batch.open_times()
    Random(1).shuffle(times)
    create(database)
    with database.transaction("store") as tx:
        for ms in times:
            insert_candles(tx, BTC.table_name, batch.at([ms]))
    assert load(database).columns.equals(batch.columns)
    assert hashed(database) == (60, content_hash(batch))


def test_candles_that_are_there_twice_are_loaded_twice(database: Database) -> None:
    batch = generated_batch(BTC, Span(START_MS, START_MS + 5 * MS_PER_MINUTE))
    store(database, batch)
    with database.transaction("double") as tx:
        tx.cursor.execute("alter table public.ohlcv_btcusdt drop constraint ohlcv_btcusdt_pkey")
        tx.cursor.execute(
            "insert into public.ohlcv_btcusdt select * from public.ohlcv_btcusdt where time < %s",
            ("2024-03-01 00:02Z",),
        )
    loaded = load(database)
    first = batch.open_times()[:2]
    assert loaded.open_times() == sorted([*batch.open_times(), *first])
    assert hashed(database) == (7, content_hash(loaded))
    assert content_hash(loaded) != content_hash(batch)


def test_values_that_a_hand_wrote_and_the_exchange_never_would_are_loaded_as_they_are(database: Database) -> None:
    batch = generated_batch(BTC, Span(START_MS, START_MS + 3 * MS_PER_MINUTE))
    store(database, batch)
    with database.transaction("alter") as tx:
        tx.cursor.execute("update public.ohlcv_btcusdt set close = 'NaN', volume = -1.50, trades = -3, high = 1e30")
    loaded = load(database)
    row = loaded.columns.slice(0, 1).to_pylist()[0]
    assert (row["close"], row["volume"], row["trades"]) == ("NaN", "-1.50", -3)
    assert row["high"] == "1" + "0" * 30
    assert hashed(database)[0] == 3


def test_columns_are_read_by_name_not_by_place(database: Database) -> None:
    batch = generated_batch(BTC, Span(START_MS, START_MS + 5 * MS_PER_MINUTE))
    store(database, batch)
    with database.transaction("move") as tx:
        tx.cursor.execute("alter table public.ohlcv_btcusdt add column opened numeric")
        tx.cursor.execute("update public.ohlcv_btcusdt set opened = open")
        tx.cursor.execute("alter table public.ohlcv_btcusdt drop column open")
        tx.cursor.execute("alter table public.ohlcv_btcusdt rename column opened to open")
    assert load(database).columns.equals(batch.columns)
    assert hashed(database) == (5, content_hash(batch))
