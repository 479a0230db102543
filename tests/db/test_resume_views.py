"""`public.sync_state` and `public.backfill_state` say what catalog, ledger and tables say."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import pytest
from candles import generated_batch, save_spans

from core.fetched import FetchedSpan
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, from_datetime, parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database
from db.migrate import migrate
from db.schema import create_table_if_not_exists

HOURS = parse_series("BTCUSDT/1h")
BEGIN_MS = parse_time("2024-05-01")
END_MS = BEGIN_MS + 2 * MS_PER_DAY


def rows_of(database: Database, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(query, values)
        return tx.cursor.fetchall() if tx.cursor.description else []


def stored(database: Database, *spans: Span, end_ms: int | None = END_MS) -> int:
    """Store the candles of `spans` of a series that is wanted from BEGIN_MS to `end_ms`; return its id."""
    with database.transaction("store") as tx:
        row = sync_symbols(tx, [WantedSeries(HOURS, BEGIN_MS, end_ms)], True)[HOURS]
        create_table_if_not_exists(tx, HOURS, False, 0)
        tx.cursor.execute("update public.ohlcv_series set listing = %s", (to_datetime(BEGIN_MS - MS_PER_DAY),))
        for span in spans:
            fetched = FetchedSpan(span, generated_batch(HOURS, span), Source.REST)
            save_spans(tx, row.id, HOURS.table_name, [fetched], "run", END_MS)
    return row.id


def sync_state(database: Database) -> list[tuple[Any, ...]]:
    return rows_of(
        database,
        'select market, symbol, "interval", last_closed_ts, last_close_at, covered_from, covered_until'
        " from public.sync_state",
    )


def completed(database: Database) -> bool:
    [(found,)] = rows_of(database, "select completed from public.backfill_state")
    return bool(found)


def hours(first: int, last: int) -> Span:
    return Span(BEGIN_MS + first * MS_PER_HOUR, BEGIN_MS + last * MS_PER_HOUR)


def moment(hour: int) -> datetime:
    return to_datetime(BEGIN_MS + hour * MS_PER_HOUR)


def test_the_grid_of_the_database_is_that_of_the_program(database: Database) -> None:
    texts = ("2024-02-29T23:59:59", "2024-01-31T00:00:00", "2010-01-01", "2023-12-31T12:34:56", "2024-05-01")
    found = rows_of(
        database,
        "select code, at, public.ohlcv_grid_floor(code, at), public.ohlcv_grid_ceil(code, at)"
        " from unnest(%s) as code, unnest(%s) as at",
        ([*INTERVALS], [to_datetime(parse_time(text)) for text in texts]),
    )
    assert len(found) == len(INTERVALS) * len(texts)
    for code, at, floor, ceil in found:
        interval, at_ms = INTERVALS[code], from_datetime(at)
        assert (from_datetime(floor), from_datetime(ceil)) == (interval.floor(at_ms), interval.ceil(at_ms)), (code, at)


def test_the_pointer_stands_before_the_first_hole(database: Database) -> None:
    stored(database, hours(0, 10), hours(10, 12), hours(20, 48))
    assert sync_state(database) == [("spot", "BTCUSDT", "1h", moment(11), moment(12), moment(0), moment(12))]
    [(asset, newest, updated)] = rows_of(
        database, "select asset, last_fetched_timestamp, updated_at from public.backfill_state"
    )
    assert (asset, newest) == ("BTCUSDT", moment(47)) and updated is not None


def test_the_pointer_names_a_candle_and_not_an_empty_slot(database: Database) -> None:
    stored(database, hours(0, 12))
    rows_of(database, "delete from public.ohlcv_btcusdt_1h where time >= %s", (moment(9),))
    [(*_, last, _, _, until)] = sync_state(database)
    assert (last, until) == (moment(8), moment(12))


def test_completed_is_all_that_is_wanted_without_a_missing_gap(database: Database) -> None:
    series_id = stored(database, hours(0, 47))
    assert not completed(database)
    stored(database, hours(47, 48))
    assert completed(database)
    rows_of(
        database,
        "insert into public.ohlcv_gaps (series_id, gap_start, gap_end, status, status_since, found_at, was_committed)"
        " values (%s, %s, %s, 'missing', now(), now(), false)",
        (series_id, moment(3), moment(4)),
    )
    assert not completed(database)


def test_without_an_end_it_is_completed_up_to_the_last_closed_candle(database: Database) -> None:
    stored(database, hours(0, 48), end_ms=None)
    assert not completed(database)
    ahead = (
        "insert into public.fetch_clock values"
        " ('binance', 'spot', %s - (extract(epoch from now()) * 1000)::bigint, now())"
    )
    rows_of(database, ahead, (END_MS + 1_000,))  # the next candle has opened this moment
    assert completed(database)
    rows_of(database, "update public.fetch_clock set ahead_ms = ahead_ms + 3610000")
    assert not completed(database)


def test_a_series_of_which_nothing_is_stored_is_not_completed_and_a_table_that_is_gone_hides_no_other(
    database: Database,
) -> None:
    stored(database)
    assert not completed(database) and sync_state(database) == []
    stored(database, hours(0, 1))
    rows_of(database, "drop table public.ohlcv_btcusdt_1h")
    [(*_, last, end, _, until)] = sync_state(database)
    assert (last, end, until) == (None, None, moment(1))


def test_a_table_of_that_name_that_is_anothers_stays(empty_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    database = Database.connect(empty_database_url, {}, "tests")
    rows_of(database, "create table public.sync_state (symbol text, last_closed_ts timestamptz)")
    with caplog.at_level(logging.WARNING):
        migrate(database)
    assert ["public.sync_state" in record.message for record in caplog.records] == [True]
    assert rows_of(database, "select * from public.sync_state") == []
    assert rows_of(database, "select * from public.backfill_state") == []
    database.close()
