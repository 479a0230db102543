from __future__ import annotations

import threading

import psycopg2
import pytest
from candles import batch_of, generated_batch, save_spans, stored_rows, truth_rows
from servers import HAS_TIMESCALE

from core.candles import CandleBatch, content_hash
from core.errors import SeriesError
from core.fetched import FetchedSpan
from core.ranges import Span, merge
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database
from db.ledger import cut_entry, load_entries, load_totals, void_entries
from db.operations import SaveResult, find_holes, get_last_timestamp
from db.schema import create_table_if_not_exists
from demo.generated_market import generate_series

DAY = Span(parse_time("2024-03-01"), parse_time("2024-03-02"))
BTC = parse_series("BTCUSDT")


def enter(database: Database, series: Series = BTC) -> int:
    with database.transaction("enter") as tx:
        row = sync_symbols(tx, [WantedSeries(series)], replaces_catalog=True)[series]
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
    return row.id


def save(
    database: Database,
    series_id: int,
    batch: CandleBatch,
    span: Span = DAY,
    source: Source = Source.REST,
    series: Series = BTC,
) -> SaveResult:
    with database.transaction("save") as tx:
        return save_spans(tx, series_id, series.table_name, [FetchedSpan(span, batch, source)], "run", DAY.end_ms)


def ledger(database: Database) -> list[tuple[object, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select extract(epoch from span_start)::bigint * 1000, extract(epoch from span_end)::bigint * 1000,"
            " source, rows, content_hash from public.ohlcv_ledger order by span_start"
        )
        return tx.cursor.fetchall()


def execute(database: Database, statement: str) -> None:
    with database.transaction("execute") as tx:
        tx.cursor.execute(statement)


def test_every_digit_arrives(database: Database) -> None:
    rows = list(generate_series(BTC, DAY, 1))
    rows[0][1:5] = ["0.00000001", "12345678901234567890.123456789012345678", "0.00000001", "16541.77000000"]
    series_id = enter(database)
    assert save(database, series_id, batch_of(rows)) == SaveResult(inserted=1440)
    with database.transaction("read") as tx:
        assert stored_rows(tx, BTC.table_name) == truth_rows(rows)
        assert get_last_timestamp(tx, [BTC.table_name])[BTC.table_name] == DAY.end_ms - MS_PER_MINUTE


def test_rows_that_are_there_are_counted_as_equal_and_not_written_again(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    save(database, series_id, batch.within(Span(DAY.start_ms, DAY.start_ms + 100 * MS_PER_MINUTE)))
    execute(database, "delete from public.ohlcv_ledger")
    assert save(database, series_id, batch) == SaveResult(inserted=1340, equal=100)
    execute(database, "delete from public.ohlcv_ledger")
    assert save(database, series_id, batch) == SaveResult(inserted=0, equal=1440)


def test_values_with_other_trailing_zeros_are_equal(database: Database) -> None:
    series_id = enter(database)
    row = [DAY.start_ms, "1.50", "2.0", "1", "1.5", "0.10", DAY.start_ms + 59_999, "0.150", 1, "0", "0", "0"]
    save(database, series_id, batch_of([row]))
    short = [DAY.start_ms, "1.5", "2", "1", "1.50", "0.1", DAY.start_ms + 59_999, "0.15", 1, "0", "0", "0"]
    execute(database, "delete from public.ohlcv_ledger")
    assert save(database, series_id, batch_of([short])) == SaveResult(equal=1)


def test_a_different_value_is_a_conflict_that_shows_both_and_keeps_the_stored_one(database: Database) -> None:
    series_id, rows = enter(database), list(generate_series(BTC, DAY, 1))
    save(database, series_id, batch_of(rows))
    before = rows[7][5]
    rows[7][5] = "999.5"
    execute(database, "delete from public.ohlcv_ledger")
    result = save(database, series_id, batch_of(rows))
    assert (result.inserted, result.equal, result.conflicts) == (0, 1439, 1)
    assert f"volume stored {before} given 999.5" in str(result.shown_conflicts[0])
    with database.transaction("read") as tx:
        assert stored_rows(tx, BTC.table_name)[7][5] == before


def test_a_row_that_the_table_swallows_rolls_the_whole_chunk_back(database: Database) -> None:
    series_id = enter(database)
    execute(
        database,
        """
        create function swallow() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger swallow before insert on public.ohlcv_btcusdt for each row
        when (extract(minute from new.time) = 30) execute function swallow()
        """,
    )
    with pytest.raises(SeriesError, match="holds 1416 of the 1440"):
        save(database, series_id, generated_batch(BTC, DAY))
    assert ledger(database) == []
    with database.transaction("read") as tx:
        assert stored_rows(tx, BTC.table_name) == []


def test_a_table_without_its_primary_key_takes_no_candle_twice(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    execute(database, "alter table public.ohlcv_btcusdt drop constraint ohlcv_btcusdt_pkey")
    assert save(database, series_id, batch).inserted == 1440
    execute(database, "delete from public.ohlcv_ledger")
    assert save(database, series_id, batch).inserted == 0  # all there and equal
    execute(
        database, "delete from public.ohlcv_ledger; delete from public.ohlcv_btcusdt where time = '2024-03-01 00:03Z'"
    )
    with pytest.raises(SeriesError, match="42P10"):
        save(database, series_id, batch)


def test_an_empty_answer_is_a_fact_of_its_own_in_the_ledger(database: Database) -> None:
    series_id = enter(database)
    save(database, series_id, CandleBatch.empty())
    assert [row[:4] for row in ledger(database)] == [(DAY.start_ms, DAY.end_ms, "rest", 0)]


def test_the_ledgers_hash_can_be_computed_in_sql_from_the_stored_rows(database: Database) -> None:
    series_id = enter(database)
    batch = generated_batch(BTC, DAY)
    save(database, series_id, batch, source=Source.ARCHIVE_DAILY)
    statement = documented_hash_query()
    with database.transaction("hash") as tx:
        tx.cursor.execute(statement.replace("TABLE", BTC.table_name), {"start": "2024-03-01", "end": "2024-03-02"})
        assert tx.cursor.fetchone() == (content_hash(batch),)
    assert ledger(database)[0][4] == content_hash(batch)


def documented_hash_query() -> str:
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    return text.split("```sql hash\n", 1)[1].split("```", 1)[0]


def test_a_run_every_minute_keeps_few_ledger_rows_that_say_all(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    most = 0
    for minute in range(200):
        start_ms = DAY.start_ms + minute * MS_PER_MINUTE
        span = Span(start_ms, start_ms + MS_PER_MINUTE)
        save(database, series_id, batch.within(span), span)
        most = max(most, len(ledger(database)))
    assert most <= 33
    rows = ledger(database)
    spans = [Span(row[0], row[1]) for row in rows]
    assert merge(spans) == [Span(DAY.start_ms, DAY.start_ms + 200 * MS_PER_MINUTE)]
    assert sum(row[3] for row in rows) == 200
    assert [row[4] for row in rows] == [content_hash(batch.within(span)) for span in spans]


def test_folded_ledger_rows_hold_about_a_day_at_most(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, Span(DAY.start_ms, DAY.end_ms + MS_PER_DAY))
    width_ms = 40 * MS_PER_MINUTE
    for start_ms in range(DAY.start_ms, DAY.end_ms + MS_PER_DAY, width_ms):
        span = Span(start_ms, start_ms + width_ms)
        save(database, series_id, batch.within(span), span)
    assert max(row[3] for row in ledger(database)) <= 1_440
    assert sum(row[3] for row in ledger(database)) == 2_880


def test_a_run_every_hour_leaves_one_ledger_row_a_day(database: Database) -> None:
    series_id, days = enter(database), 3
    batch = generated_batch(BTC, Span(DAY.start_ms, DAY.start_ms + days * MS_PER_DAY))
    for start_ms in range(DAY.start_ms, DAY.start_ms + days * MS_PER_DAY, MS_PER_HOUR):
        span = Span(start_ms, start_ms + MS_PER_HOUR)
        save(database, series_id, batch.within(span), span)
    rows = ledger(database)
    assert [row[3] for row in rows] == [1440] * days
    assert [row[4] for row in rows] == [content_hash(batch.within(Span(row[0], row[1]))) for row in rows]


def test_a_ledger_row_that_no_longer_fits_its_table_is_not_folded_away(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    spans = [Span(DAY.start_ms + n * MS_PER_MINUTE, DAY.start_ms + (n + 1) * MS_PER_MINUTE) for n in range(66)]
    for number, span in enumerate(spans):
        save(database, series_id, batch.within(span), span)
        if number == 3:
            execute(database, "update public.ohlcv_btcusdt set close = close + 1 where time = '2024-03-01 00:03Z'")
    rows = ledger(database)
    assert [(row[0], row[1]) for row in rows[:4]] == [(span.start_ms, span.end_ms) for span in spans[:4]]
    assert rows[3][4] == content_hash(batch.within(spans[3]))
    assert rows[4][3] >= 32  # what came after it is folded


def test_a_ledger_row_that_other_sources_contradict_is_not_folded_away(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    spans = [Span(DAY.start_ms + n * MS_PER_MINUTE, DAY.start_ms + (n + 1) * MS_PER_MINUTE) for n in range(66)]
    for number, span in enumerate(spans):
        save(database, series_id, batch.within(span), span)
        if number == 3:
            execute(database, "update public.ohlcv_ledger set contradicted = 1 where span_start = '2024-03-01 00:03Z'")
    rows = ledger(database)
    assert [(row[0], row[1]) for row in rows[:4]] == [(span.start_ms, span.end_ms) for span in spans[:4]]
    assert rows[4][3] >= 32  # what came after it is folded


def test_coverage_is_merged_and_can_be_voided(database: Database) -> None:
    series_id = enter(database)
    day = MS_PER_DAY
    for offset in (0, 1, 3):
        span = Span(DAY.start_ms + offset * day, DAY.end_ms + offset * day)
        save(database, series_id, generated_batch(BTC, span), span, Source.ARCHIVE_DAILY)
    with database.transaction("read") as tx:
        totals = load_totals(tx, [series_id])[series_id]
        assert totals.rows == 4320
        assert totals.covered == (
            Span(DAY.start_ms, DAY.end_ms + day),
            Span(DAY.start_ms + 3 * day, DAY.end_ms + 3 * day),
        )
        assert void_entries(tx, series_id) == 3
        assert load_totals(tx, [series_id]) == {}


def test_cutting_a_span_out_of_the_ledger_keeps_the_rest_true(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    save(database, series_id, batch, source=Source.ARCHIVE_DAILY)
    hole = Span(DAY.start_ms + 600_000, DAY.start_ms + 900_000)
    with database.transaction("cut") as tx:
        (entry,) = load_entries(tx, series_id, BTC.table_name)
        cut_entry(tx, series_id, BTC.table_name, entry, [hole], is_intact=True)
    before, after = Span(DAY.start_ms, hole.start_ms), Span(hole.end_ms, DAY.end_ms)
    assert ledger(database) == [
        (span.start_ms, span.end_ms, "archive-daily", batch.within(span).rows, content_hash(batch.within(span)))
        for span in (before, after)
    ]


def test_holes_are_found_in_the_database(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    save(database, series_id, batch)
    execute(
        database,
        "delete from public.ohlcv_btcusdt where time < '2024-03-01 00:02Z' or time >= '2024-03-01 23:58Z'"
        " or time = '2024-03-01 12:00Z'",
    )
    minute, noon = MS_PER_MINUTE, DAY.start_ms + MS_PER_DAY // 2
    with database.transaction("find") as tx:
        assert find_holes(tx, BTC.table_name, BTC.interval, DAY) == [
            Span(DAY.start_ms, DAY.start_ms + 2 * minute),
            Span(noon, noon + minute),
            Span(DAY.end_ms - 2 * minute, DAY.end_ms),
        ]


@pytest.mark.parametrize("text", ["币安人生USDT", "um:BTCUSDT_240329/1M", "cm:BTCUSD_PERP/1d"])
def test_unusual_names_are_stored_under_their_own_table(database: Database, text: str) -> None:
    series = parse_series(text)
    series_id = enter(database, series)
    span = Span(parse_time("2024-01-01"), parse_time("2024-03-01"))
    rows = list(generate_series(series, span, 1))[:50]
    save(database, series_id, batch_of(rows), span, series=series)
    with database.transaction("read") as tx:
        assert stored_rows(tx, series.table_name) == truth_rows(rows)


def test_a_lost_connection_is_a_database_error(database: Database, database_url: str) -> None:
    series_id = enter(database)
    other = psycopg2.connect(database_url)
    with other, other.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tests'")
    other.close()
    from core.errors import DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable, match="cannot save"):
        save(database, series_id, generated_batch(BTC, DAY))


def test_rows_that_another_session_inserts_at_the_same_moment_are_counted_as_there(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)
    theirs = psycopg2.connect(**database._connection.get_dsn_parameters())
    with theirs.cursor() as cursor:
        cursor.execute("insert into public.ohlcv_btcusdt values ('2024-03-01 12:00Z', 1, 1, 1, 1, 1, 1, 1, 1, 1)")
    # Our copy finds the table empty, meets their row, and waits for them.
    commit = threading.Timer(0.5, theirs.commit)
    commit.start()
    result = save(database, series_id, batch)
    commit.join()
    theirs.close()
    assert (result.inserted, result.equal, result.conflicts) == (1439, 0, 1)


def test_commits_in_the_background_are_on_the_disk_at_the_end(database: Database) -> None:
    series_id, batch = enter(database), generated_batch(BTC, DAY)

    def ask(question: str) -> object:
        with database.transaction("ask") as tx:
            tx.cursor.execute(question)
            return tx.cursor.fetchone()[0]

    with database.commits_in_background():
        assert ask("show synchronous_commit") == "off"
        save(database, series_id, batch)
        written = ask("select pg_current_wal_insert_lsn()")
    assert ask("show synchronous_commit") == "on"
    assert ask(f"select pg_current_wal_flush_lsn() >= '{written}'")


def test_commits_are_made_safe_also_when_the_run_fails(database: Database) -> None:
    with pytest.raises(SeriesError, match="reason"), database.commits_in_background():
        raise SeriesError("reason")
    with database.transaction("ask") as tx:
        tx.cursor.execute("show synchronous_commit")
        assert tx.cursor.fetchone() == ("on",)
