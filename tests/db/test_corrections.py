from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from candles import Row, batch_of, generated_batch, save_spans, stored_rows, truth_rows
from servers import HAS_TIMESCALE

from core.candles import CandleBatch
from core.columns import VALUE_NAMES
from core.errors import SeriesError
from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_MINUTE, parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.checks import count_doubles
from db.commit import CommitContext
from db.connection import Database
from db.corrections import correct_candles, load_corrected, restore_key, undo_corrections
from db.ledger import load_entries
from db.schema import create_table_if_not_exists, has_key
from demo.generated_market import generate_series

BTC, ETH = parse_series("BTCUSDT"), parse_series("um:ETHUSDT")
START_MS, NOW_MS = parse_time("2024-03-01"), parse_time("2024-03-02T00:00:00.123")


def minutes(first: int, last: int) -> Span:
    return Span(START_MS + first * MS_PER_MINUTE, START_MS + last * MS_PER_MINUTE)


def at(minute: int) -> int:
    return START_MS + minute * MS_PER_MINUTE


HALF_HOUR = minutes(0, 30)
ROWS = list(generate_series(BTC, HALF_HOUR, 1))
# Digits that only exact numbers keep, trailing zeros included.
NASTY = ["0.00000001", "12345678901234567890.123456789012345678", "0.000000000000000010", "1.500", "0.10", "0", "7.00"]


def exchange_row(minute: int, *values: str) -> list[object]:
    open_, high, low, close, volume, quote, taker = values
    return [at(minute), open_, high, low, close, volume, 0, quote, 2_147_483_647, taker, "0.0", "0"]


def commit(database: Database, pieces: Sequence[Span] = (HALF_HOUR,), series: Series = BTC) -> int:
    """Store half an hour as a backfill does, an entry for each of `pieces`; return the series' id."""
    batch = generated_batch(series, HALF_HOUR)
    fetched = [FetchedSpan(one, batch.within(one), Source.ARCHIVE_DAILY) for one in pieces]
    with database.transaction("commit") as tx:
        row = sync_symbols(tx, [WantedSeries(series)], replaces_catalog=False)[series]
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        save_spans(tx, row.id, series.table_name, fetched, "first", NOW_MS)
    return row.id


def correct(
    database: Database,
    series_id: int,
    times: Sequence[int],
    rows: Sequence[Sequence[object]],
    run_id: str = "repair",
    series: Series = BTC,
) -> None:
    with database.transaction("correct") as tx:
        batch = batch_of(rows) if rows else CandleBatch.empty()
        correct_candles(tx, CommitContext(series_id, series.table_name, run_id, NOW_MS), times, batch, "rest")


def undo(database: Database, series_id: int, run_id: str = "repair", new_run_id: str = "undo") -> int:
    with database.transaction("undo") as tx:
        return undo_corrections(tx, CommitContext(series_id, BTC.table_name, new_run_id, NOW_MS + 1), run_id)


def stored(database: Database, series: Series = BTC) -> list[Row]:
    with database.transaction("read") as tx:
        return stored_rows(tx, series.table_name)


def recorded(database: Database, run_id: str = "repair") -> list[tuple[int, Row | None, Row | None]]:
    """Return what `run_id` corrected, in order of time: minute, old and new row, every digit as text."""
    sides = []
    with database.transaction("read") as tx:
        for side in ("old_row", "new_row"):
            tx.cursor.execute(
                f"""
                select (date_part('epoch', correction.time) * 1000)::bigint, {side} is null,
                       (date_part('epoch', was.time) * 1000)::bigint, was.open::text, high::text, low::text,
                       close::text, volume::text, quote_volume::text, trades::text, taker_buy_volume::text,
                       taker_buy_quote_volume::text
                from public.ohlcv_corrections as correction,
                     jsonb_populate_record(null::public.ohlcv_btcusdt, {side}) as was
                where run_id = %s order by correction.time, correction.id
                """,
                (run_id,),
            )
            sides.append([(row[0], None if row[1] else row[2:]) for row in tx.cursor.fetchall()])
    return [((ms - START_MS) // MS_PER_MINUTE, old, new) for (ms, old), (_, new) in zip(*sides, strict=True)]


def execute(database: Database, statement: str) -> None:
    with database.transaction("execute") as tx:
        tx.cursor.execute(statement)


def rows_of(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(query)
        return tx.cursor.fetchall()


def external_changes(database: Database) -> int:
    with database.transaction("count") as tx:
        tx.cursor.execute("select count(*) from public.ohlcv_external_changes")
        return int(tx.cursor.fetchone()[0])


def hashes(database: Database, series_id: int, series: Series = BTC) -> list[str | None]:
    with database.transaction("read") as tx:
        return [entry.content_hash for entry in load_entries(tx, series_id, series.table_name)]


def test_a_changed_candle_is_recorded_with_its_old_and_new_digits(database: Database) -> None:
    series_id = commit(database)
    first, second = exchange_row(7, *NASTY), exchange_row(7, *NASTY[::-1])
    correct(database, series_id, [at(7)], [first])
    correct(database, series_id, [at(7)], [second], "again")
    old, middle, new = (truth_rows([row])[0] for row in (ROWS[7], first, second))
    assert recorded(database) == [(7, old, middle)]
    assert recorded(database, "again") == [(7, middle, new)]
    assert stored(database) == truth_rows([*ROWS[:7], second, *ROWS[8:]])


def test_a_correction_says_of_which_series_when_by_whom_and_from_where(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [at(3)], [])
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select series_id, time::text, source, corrected_at::text, run_id from public.ohlcv_corrections"
        )
        assert tx.cursor.fetchall() == [
            (series_id, "2024-03-01 00:03:00+00", "rest", "2024-03-02 00:00:00.123+00", "repair")
        ]


def test_a_candle_that_was_missing_is_recorded_without_an_old_row(database: Database) -> None:
    series_id = commit(database)
    execute(database, "delete from public.ohlcv_btcusdt where time = '2024-03-01 00:05Z'")
    correct(database, series_id, [at(5)], [ROWS[5]])
    assert recorded(database) == [(5, None, truth_rows([ROWS[5]])[0])]
    assert stored(database) == truth_rows(ROWS)


def test_a_candle_that_the_exchange_lacks_is_taken_out_and_kept_in_the_record(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [at(5)], [])
    assert recorded(database) == [(5, truth_rows([ROWS[5]])[0], None)]
    assert stored(database) == truth_rows([*ROWS[:5], *ROWS[6:]])


def test_candles_that_were_right_all_along_are_not_recorded(database: Database) -> None:
    series_id = commit(database)
    wrong = exchange_row(6, *NASTY)
    correct(database, series_id, [at(5), at(6), at(7)], [ROWS[5], wrong, ROWS[7]])
    assert [minute for minute, _, _ in recorded(database)] == [6]
    with database.transaction("read") as tx:
        assert load_corrected(tx, "repair") == [(series_id, 1)]
        assert load_corrected(tx, "another") == []


def test_nothing_to_correct_is_nothing_done(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [], [])
    assert recorded(database) == []
    assert stored(database) == truth_rows(ROWS)


def test_a_correction_that_is_rolled_back_leaves_neither_candle_nor_record(database: Database) -> None:
    series_id = commit(database)

    def fail() -> None:
        with database.transaction("correct") as tx:
            repair = CommitContext(series_id, BTC.table_name, "repair", NOW_MS)
            correct_candles(tx, repair, [at(5)], CandleBatch.empty(), "rest")
            raise SeriesError("something else")

    with pytest.raises(SeriesError, match="something else"):
        fail()
    assert recorded(database) == []
    assert stored(database) == truth_rows(ROWS)


def test_several_corrections_in_one_transaction_are_kept_apart(database: Database) -> None:
    btc_id, eth_id = commit(database), commit(database, series=ETH)
    eth_rows = list(generate_series(ETH, HALF_HOUR, 1))
    with database.transaction("correct") as tx:
        for series_id, series, minute in ((btc_id, BTC, 1), (eth_id, ETH, 2), (btc_id, BTC, 3)):
            repair = CommitContext(series_id, series.table_name, "repair", NOW_MS)
            correct_candles(tx, repair, [at(minute)], CandleBatch.empty(), "rest")
        assert load_corrected(tx, "repair") == [(btc_id, 2), (eth_id, 1)]
    assert stored(database) == truth_rows([row for row in ROWS if row[0] not in (at(1), at(3))])
    assert stored(database, ETH) == truth_rows([row for row in eth_rows if row[0] != at(2)])


def drop_key(database: Database) -> None:
    execute(database, "alter table public.ohlcv_btcusdt drop constraint ohlcv_btcusdt_pkey")


def double(database: Database, minute: int, close: str = "close") -> None:
    """Store a candle once more, as a hand can where the key is gone."""
    execute(
        database,
        "insert into public.ohlcv_btcusdt select time, open, high, low, "
        f"{close}, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"
        f" from public.ohlcv_btcusdt where time = '2024-03-01 00:{minute:02}Z'",
    )


def test_a_candle_that_is_there_twice_is_there_once_after_its_correction(database: Database) -> None:
    series_id = commit(database)
    drop_key(database)
    double(database, 9, close="close + 1")
    correct(database, series_id, [at(9)], [ROWS[9]])
    assert stored(database) == truth_rows(ROWS)
    right = truth_rows([ROWS[9]])[0]
    assert [minute for minute, old, _ in recorded(database) if old is not None and old[4] != right[4]] == [9]


def test_a_candle_that_was_there_twice_with_equal_values_is_recorded_too(database: Database) -> None:
    series_id = commit(database)
    drop_key(database)
    double(database, 9)
    correct(database, series_id, [at(9)], [ROWS[9]])
    assert stored(database) == truth_rows(ROWS)
    with database.transaction("read") as tx:
        assert load_corrected(tx, "repair") == [(series_id, 1)]


def test_the_key_comes_back_when_no_candle_is_there_twice(database: Database) -> None:
    series_id = commit(database)
    drop_key(database)
    double(database, 9)
    with pytest.raises(SeriesError, match="23505"), database.transaction("restore the key") as tx:
        restore_key(tx, BTC.table_name)
    correct(database, series_id, [at(9)], [ROWS[9]])
    with database.transaction("restore the key") as tx:
        assert count_doubles(tx, BTC.table_name) == 0
        restore_key(tx, BTC.table_name)
        assert has_key(tx, BTC.table_name)


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 10))])
def test_undoing_random_repairs_brings_back_every_digit(database: Database, seed: int) -> None:
    random = Random(seed)
    series_id = commit(database)
    # Before the repair some candles are lost and some altered, by hand.
    for minute in random.sample(range(30), 8):
        execute(database, f"delete from public.ohlcv_btcusdt where time = '2024-03-01 00:{minute:02}Z'")
    execute(database, f"update public.ohlcv_btcusdt set volume = 1.{seed}500 where date_part('minute', time) < 9")
    before = stored(database)
    minutes_left = random.sample(range(30), 20)
    while minutes_left:
        part, minutes_left = sorted(minutes_left[:7]), minutes_left[7:]
        rows = []
        for minute in part:
            if random.random() < 0.7:
                rows.append(exchange_row(minute, *random.sample(NASTY, len(NASTY))))
        correct(database, series_id, [at(minute) for minute in part], rows)
    after = stored(database)
    assert after != before
    with database.transaction("read") as tx:
        ((_, corrected),) = load_corrected(tx, "repair")
    assert undo(database, series_id) == corrected
    assert stored(database) == before
    # The undoing is a correction like any other, so it can be undone.
    assert undo(database, series_id, "undo", "redo") == corrected
    assert stored(database) == after


def test_a_row_between_two_milliseconds_comes_back_too(database: Database) -> None:
    series_id = commit(database)
    execute(database, f"update public.{BTC.table_name} set close = close + 1 where time = '2024-03-01T00:03Z'")
    execute(
        database,
        f"insert into public.{BTC.table_name} select time + interval '1 microsecond', {', '.join(VALUE_NAMES)}"
        f" from public.{BTC.table_name} where time = '2024-03-01T00:03Z'",
    )
    rows = f"select one::text from public.{BTC.table_name} as one order by 1"
    before = rows_of(database, rows)
    correct(database, series_id, [at(3)], [ROWS[3]])
    assert stored(database) == truth_rows(ROWS)
    assert undo(database, series_id) == 2
    assert rows_of(database, rows) == before


def test_an_undo_is_recorded_as_one(database: Database) -> None:
    series_id = commit(database)
    wrong = exchange_row(6, *NASTY)
    correct(database, series_id, [at(5), at(6)], [wrong])
    assert undo(database, series_id) == 2
    old, new = truth_rows([ROWS[6]])[0], truth_rows([wrong])[0]
    assert recorded(database, "undo") == [(5, None, truth_rows([ROWS[5]])[0]), (6, new, old)]
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select distinct source, corrected_at::text from public.ohlcv_corrections where run_id = 'undo'"
        )
        assert tx.cursor.fetchall() == [("undo of repair", "2024-03-02 00:00:00.124+00")]


def test_what_was_undone_is_not_undone_twice(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [at(5)], [])
    assert undo(database, series_id) == 1
    assert undo(database, series_id, new_run_id="undo again") == 0
    assert stored(database) == truth_rows(ROWS)


def test_a_candle_that_was_corrected_again_later_is_left_as_it_is(database: Database) -> None:
    series_id = commit(database)
    second = exchange_row(6, *NASTY[::-1])
    correct(database, series_id, [at(5), at(6)], [exchange_row(6, *NASTY)])
    correct(database, series_id, [at(6)], [second], "later")
    assert undo(database, series_id) == 1
    assert stored(database) == truth_rows([*ROWS[:6], second, *ROWS[7:]])


def test_a_candle_that_one_run_corrected_twice_goes_back_to_what_it_was_first(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [at(6)], [exchange_row(6, *NASTY)])
    correct(database, series_id, [at(6)], [exchange_row(6, *NASTY[::-1])])
    assert undo(database, series_id) == 1
    assert stored(database) == truth_rows(ROWS)


def test_a_candle_that_one_run_brought_and_then_corrected_is_gone_again_after_the_undo(database: Database) -> None:
    series_id = commit(database)
    execute(database, "delete from public.ohlcv_btcusdt where time = '2024-03-01 00:06Z'")
    before = stored(database)
    correct(database, series_id, [at(6)], [exchange_row(6, *NASTY)])
    correct(database, series_id, [at(6)], [exchange_row(6, *NASTY[::-1])])
    assert undo(database, series_id) == 1
    assert stored(database) == before


def test_a_run_that_corrected_nothing_undoes_nothing(database: Database) -> None:
    series_id = commit(database)
    assert undo(database, series_id, "never was") == 0
    assert None not in hashes(database, series_id)


def test_another_series_with_corrections_of_the_same_run_is_left_alone(database: Database) -> None:
    btc_id, eth_id = commit(database), commit(database, series=ETH)
    correct(database, btc_id, [at(5)], [])
    correct(database, eth_id, [at(5)], [], series=ETH)
    after = stored(database, ETH)
    assert undo(database, btc_id) == 1
    assert stored(database, ETH) == after
    assert None not in hashes(database, eth_id, ETH)


def test_an_undo_takes_the_hash_from_the_entries_that_it_touched_and_from_no_other(database: Database) -> None:
    series_id = commit(database, [minutes(0, 10), minutes(10, 20), minutes(20, 30)])
    with database.transaction("verify") as tx:
        tx.cursor.execute("update public.ohlcv_ledger set verified_at = now(), verified_against = 'rest'")
    before = hashes(database, series_id)
    correct(database, series_id, [at(10), at(19)], [])
    assert hashes(database, series_id) == before
    undo(database, series_id)
    assert hashes(database, series_id) == [before[0], None, before[2]]
    with database.transaction("read") as tx:
        verified = [entry.verified_ms is not None for entry in load_entries(tx, series_id, BTC.table_name)]
    assert verified == [True, False, True]


def test_own_corrections_are_no_external_changes(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [at(5), at(6)], [exchange_row(6, *NASTY)])
    undo(database, series_id)
    assert external_changes(database) == 0


def test_a_hand_that_follows_an_own_correction_in_the_same_session_is_noted(database: Database) -> None:
    series_id = commit(database)
    correct(database, series_id, [at(5)], [])
    execute(database, "update public.ohlcv_btcusdt set close = close where time = '2024-03-01 00:07Z'")
    assert external_changes(database) == 1
    with database.transaction("both") as tx:
        repair = CommitContext(series_id, BTC.table_name, "repair", NOW_MS)
        correct_candles(tx, repair, [at(6)], CandleBatch.empty(), "rest")
        tx.cursor.execute("delete from public.ohlcv_btcusdt where time = %s", (to_datetime(at(8)),))
    assert external_changes(database) == 2
