from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from candles import generated_batch, save_spans
from psycopg2.extensions import connection as Connection

from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_MINUTE, from_datetime, parse_time
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database
from db.external_changes import (
    find_unwatched,
    is_watched,
    last_external_change,
    merge_old_notes,
    watch_again,
)
from db.ledger import hash_stored, load_entries, set_hash_checked, set_verified, snapshot_of
from db.migrate import migrate
from db.schema import create_table_if_not_exists

BTC, ETH = parse_series("BTCUSDT"), parse_series("um:ETHUSDT")
START_MS = parse_time("2024-03-01")


def minutes(first: int, last: int) -> Span:
    return Span(START_MS + first * MS_PER_MINUTE, START_MS + last * MS_PER_MINUTE)


PIECES = [minutes(0, 10), minutes(10, 20)]
CHANGE = (  # in both pieces
    "update public.ohlcv_btcusdt set volume = volume + 1 where time in ('2024-03-01 00:05Z', '2024-03-01 00:15Z')"
)


def commit(database: Database, series: Series = BTC) -> int:
    batch = generated_batch(series, minutes(0, 20))
    fetched = [FetchedSpan(one, batch.within(one), Source.ARCHIVE_DAILY) for one in PIECES]
    with database.transaction("commit") as tx:
        row = sync_symbols(tx, [WantedSeries(series)], replaces_catalog=False)[series]
        create_table_if_not_exists(tx, series, timescale=False, compress_after_days=0)
        save_spans(tx, row.id, series.table_name, fetched, "first", START_MS)
    return row.id


@pytest.fixture
def series_id(database: Database) -> int:
    return commit(database)


@pytest.fixture
def hand(database_url: str, database: Database) -> Iterator[Connection]:
    """A session of somebody else, each statement a transaction of its own."""
    connection = psycopg2.connect(database_url, application_name="psql of Ann")
    connection.autocommit = True
    yield connection
    connection.close()


def by_hand(hand: Connection, statement: str) -> None:
    with hand.cursor() as cursor:
        cursor.execute(statement)


def notes(database: Database) -> list[tuple[object, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select table_name, operation, changed_by, application from public.ohlcv_external_changes order by id"
        )
        return tx.cursor.fetchall()


def proven(database: Database, series_id: int, series: Series = BTC) -> list[bool]:
    with database.transaction("read") as tx:
        return [entry.is_hash_checked for entry in load_entries(tx, series_id, series.table_name)]


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        (CHANGE, "update"),
        ("delete from public.ohlcv_btcusdt where time < '2024-03-01 00:15Z'", "delete"),
        ("truncate public.ohlcv_btcusdt", "truncate"),
        (
            "insert into public.ohlcv_btcusdt select * from public.ohlcv_btcusdt"
            " on conflict (time) do update set close = 1",
            "update",
        ),
    ],
)
def test_a_change_by_hand_is_noted_with_user_and_application(
    database: Database, hand: Connection, series_id: int, statement: str, operation: str
) -> None:
    by_hand(hand, statement)
    user = hand.info.user
    assert notes(database) == [("ohlcv_btcusdt", operation, user, "psql of Ann")]
    with database.transaction("read") as tx:
        told = last_external_change(tx, BTC.table_name)
        assert told is not None
        assert told.startswith(f"{operation} by {user} (psql of Ann) at 20")
        assert last_external_change(tx, ETH.table_name) is None
    assert proven(database, series_id) == [False, False]


def test_a_change_that_is_rolled_back_is_not_noted(database: Database, hand: Connection, series_id: int) -> None:
    by_hand(hand, f"begin; {CHANGE}; rollback")
    assert notes(database) == []
    assert proven(database, series_id) == [True, True]


def test_new_candles_by_insert_or_copy_are_not_noted(database: Database, hand: Connection, series_id: int) -> None:
    by_hand(hand, "insert into public.ohlcv_btcusdt values ('2024-03-02Z', 1, 1, 1, 1, 0, 0, 0, 0, 0)")
    with hand.cursor() as cursor:
        rows = io.StringIO("2024-03-03Z,1,1,1,1,0,0,0,0,0\n")
        cursor.copy_expert("copy public.ohlcv_btcusdt from stdin (format csv)", rows)
        cursor.execute(
            "insert into public.ohlcv_btcusdt select * from public.ohlcv_btcusdt on conflict (time) do nothing"
        )
        cursor.execute("select count(*) from public.ohlcv_btcusdt")
        assert cursor.fetchone() == (22,)
    assert notes(database) == []
    assert proven(database, series_id) == [True, True]


def test_a_user_without_rights_on_the_notes_can_change_candles_and_is_noted(
    database: Database, hand: Connection, database_url: str, series_id: int
) -> None:
    by_hand(hand, "drop role if exists candle_editor; create role candle_editor login")
    by_hand(hand, "grant select, update, delete, truncate on public.ohlcv_btcusdt to candle_editor")
    editor = psycopg2.connect(database_url.replace("postgres@", "candle_editor@"), application_name="editor")
    editor.autocommit = True
    try:
        by_hand(editor, CHANGE)
        by_hand(editor, "set session search_path = ''; delete from public.ohlcv_btcusdt where close > 0")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            by_hand(editor, "delete from public.ohlcv_external_changes")
        by_hand(editor, "truncate public.ohlcv_btcusdt")
    finally:
        editor.close()
    who = ("candle_editor", "editor")
    assert notes(database) == [("ohlcv_btcusdt", word, *who) for word in ("update", "delete", "truncate")]
    by_hand(hand, "drop owned by candle_editor; drop role candle_editor")


def test_whoever_acts_as_another_role_is_noted_by_the_login(
    database: Database, hand: Connection, series_id: int
) -> None:
    by_hand(hand, "drop role if exists candle_owner; create role candle_owner")
    by_hand(hand, "grant select, update on public.ohlcv_btcusdt to candle_owner; set role candle_owner")
    by_hand(hand, CHANGE)
    assert notes(database) == [("ohlcv_btcusdt", "update", hand.info.user, "psql of Ann")]
    by_hand(hand, "reset role; drop owned by candle_owner; drop role candle_owner")


def told(database: Database) -> list[tuple[object, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(
            "select operation, statements, rows, first_time, last_time from public.ohlcv_external_changes order by id"
        )
        return [
            (
                *row[:3],
                *(
                    None if moment is None else (from_datetime(moment) - START_MS) // MS_PER_MINUTE
                    for moment in row[3:]
                ),
            )
            for row in tx.cursor.fetchall()
        ]


@pytest.mark.parametrize(
    "statement",
    [
        "delete from public.ohlcv_btcusdt where time < '2020-01-01Z'",
        "update public.ohlcv_btcusdt set close = 1 where close < 0",
        "insert into public.ohlcv_btcusdt values ('2024-03-02Z', 1, 1, 1, 1, 0, 0, 0, 0, 0)"
        " on conflict (time) do update set close = 1",
    ],
)
def test_a_statement_that_changes_no_stored_candle_is_not_noted(
    database: Database, hand: Connection, series_id: int, statement: str
) -> None:
    by_hand(hand, statement)
    assert told(database) == []
    assert proven(database, series_id) == [True, True]


def test_a_note_says_which_candles_were_changed_and_makes_doubtful_only_those(
    database: Database, hand: Connection, series_id: int
) -> None:
    by_hand(hand, "delete from public.ohlcv_btcusdt where time < '2024-03-01 00:03Z'")
    assert proven(database, series_id) == [False, True]
    by_hand(hand, "update public.ohlcv_btcusdt set time = time - interval '9 minutes' where time = '2024-03-01 00:09Z'")
    by_hand(hand, "update public.ohlcv_btcusdt set close = 1 where time in ('2024-03-01 00:12Z', '2024-03-01 00:19Z')")
    assert proven(database, series_id) == [False, False]
    by_hand(hand, "truncate public.ohlcv_btcusdt")
    assert told(database) == [
        ("delete", 1, 3, 0, 2),
        ("update", 1, 1, 0, 9),
        ("update", 1, 2, 12, 19),
        ("truncate", 1, None, None, None),
    ]


def test_a_table_whose_time_was_renamed_can_still_be_changed(
    database: Database, hand: Connection, series_id: int
) -> None:
    by_hand(hand, 'alter table public.ohlcv_btcusdt rename column "time" to at')
    by_hand(hand, "update public.ohlcv_btcusdt set close = 1")
    assert told(database) == [("update", 1, None, None, None)]
    assert proven(database, series_id) == [False, False]


def test_notes_are_kept_few_and_what_is_merged_stays_doubtful(
    database: Database, hand: Connection, series_id: int
) -> None:
    eth_id = commit(database, ETH)
    by_hand(hand, "update public.ohlcv_btcusdt set close = close + 1 where time = '2024-03-01 00:15Z'")
    by_hand(hand, "update public.ohlcv_um_ethusdt set close = close + 1 where time = '2024-03-01 00:15Z'")
    for _ in range(204):
        by_hand(hand, "update public.ohlcv_btcusdt set close = close + 1 where time = '2024-03-01 00:05Z'")
    for _ in range(2):
        with database.transaction("merge") as tx:
            merge_old_notes(tx)
    kept = [note for note in told(database) if note[0] == "several"]
    assert kept == [("several", 105, 105, 5, 15)]
    assert len(notes(database)) == 102
    assert proven(database, series_id) == [False, False]
    with database.transaction("prove") as tx:
        entries = load_entries(tx, series_id, BTC.table_name)
        set_hash_checked(tx, [entry.id for entry in entries], snapshot_of(tx))
    assert proven(database, series_id) == [True, True]
    assert proven(database, eth_id, ETH) == [True, False]


def test_a_table_without_its_trigger_is_watched_again_and_nothing_of_it_counts_as_proven(
    database: Database, hand: Connection, series_id: int
) -> None:
    commit(database, ETH)
    by_hand(hand, "drop trigger ohlcv_note_external_update on public.ohlcv_btcusdt")
    by_hand(hand, "drop trigger ohlcv_note_external_delete on public.ohlcv_btcusdt")
    by_hand(hand, "drop trigger ohlcv_note_external_change on public.ohlcv_btcusdt")
    by_hand(hand, CHANGE)
    assert proven(database, series_id) == [True, True]  # check does not rely on that: the table is not watched
    with database.transaction("watch") as tx:
        assert not is_watched(tx, BTC.table_name)
        assert find_unwatched(tx, [BTC.table_name, ETH.table_name, "ohlcv_nosuch"]) == [BTC.table_name]
        watch_again(tx, BTC.table_name)
        assert is_watched(tx, BTC.table_name)
        assert find_unwatched(tx, [BTC.table_name, ETH.table_name]) == []
    assert proven(database, series_id) == [False, False]
    assert told(database) == [("unwatched until now", 1, None, None, None)]


def test_a_trigger_of_an_earlier_version_is_made_anew_and_one_that_is_off_stays_off(
    database: Database, hand: Connection, series_id: int
) -> None:
    commit(database, ETH)
    for table in (BTC.table_name, ETH.table_name):
        for name in ("update", "delete", "change"):
            by_hand(hand, f"drop trigger ohlcv_note_external_{name} on public.{table}")
        by_hand(
            hand,
            f"create trigger ohlcv_note_external_change after update or delete or truncate on public.{table}"
            " for each statement execute function public.ohlcv_note_external_change()",
        )
    by_hand(hand, "alter table public.ohlcv_um_ethusdt disable trigger ohlcv_note_external_change")
    by_hand(hand, "delete from public.ohlcv_btcusdt where close < 0")
    assert told(database) == [("delete", 1, None, None, None)]  # as in version 5: which candles is not known
    with database.transaction("watch") as tx:
        assert is_watched(tx, BTC.table_name)
        assert find_unwatched(tx, [BTC.table_name, ETH.table_name]) == [BTC.table_name]
        watch_again(tx, BTC.table_name)
    by_hand(hand, "delete from public.ohlcv_btcusdt where close < 0")
    assert len(told(database)) == 1


def test_a_change_makes_the_entries_of_its_own_table_unproven_until_they_are_proven_again(
    database: Database, hand: Connection, series_id: int
) -> None:
    eth_id = commit(database, ETH)
    by_hand(hand, CHANGE)
    assert proven(database, series_id) == [False, False]
    assert proven(database, eth_id, ETH) == [True, True]
    with database.transaction("prove") as tx:
        ids = [entry.id for entry in load_entries(tx, series_id, BTC.table_name)]
        set_hash_checked(tx, ids[:1], snapshot_of(tx))
    assert proven(database, series_id) == [True, False]
    with database.transaction("verify") as tx:
        set_verified(tx, series_id, PIECES[1], START_MS, "rest", snapshot_of(tx))
    assert proven(database, series_id) == [True, True]
    by_hand(hand, CHANGE)
    assert proven(database, series_id) == [False, False]


def test_verifying_a_span_vouches_for_the_entries_that_lie_inside_it_alone(
    database: Database, hand: Connection, series_id: int
) -> None:
    by_hand(hand, CHANGE)
    with database.transaction("verify") as tx:
        set_verified(tx, series_id, minutes(0, 15), START_MS + 7, "archive", snapshot_of(tx))
        first, second = load_entries(tx, series_id, BTC.table_name)
    assert (first.verified_ms, first.is_hash_checked) == (START_MS + 7, True)
    assert (second.verified_ms, second.is_hash_checked) == (None, False)


def test_a_span_committed_after_a_change_is_proven_while_older_ones_are_not(
    database: Database, hand: Connection, series_id: int
) -> None:
    by_hand(hand, CHANGE)
    later = minutes(20, 30)
    with database.transaction("commit") as tx:
        fetched = FetchedSpan(later, generated_batch(BTC, later), Source.ARCHIVE_DAILY)
        save_spans(tx, series_id, BTC.table_name, [fetched], "second", START_MS)
    assert proven(database, series_id) == [False, False, True]


def test_a_span_whose_stored_candles_conflict_is_not_proven(database: Database, series_id: int) -> None:
    other = generated_batch(BTC, minutes(0, 20), seed=2)
    with database.transaction("commit") as tx:
        tx.cursor.execute("delete from public.ohlcv_ledger")
        fetched = FetchedSpan(minutes(0, 20), other, Source.ARCHIVE_DAILY)
        assert save_spans(tx, series_id, BTC.table_name, [fetched], "second", START_MS).conflicts == 20
    assert proven(database, series_id) == [False]


def test_a_change_between_the_look_at_the_candles_and_the_proof_is_not_proven_away(
    database: Database, hand: Connection, series_id: int
) -> None:
    with database.transaction("prove") as tx:
        seen = snapshot_of(tx)
        entry = load_entries(tx, series_id, BTC.table_name)[0]
        assert hash_stored(tx, BTC.table_name, entry.span) == (entry.rows, entry.content_hash)
        by_hand(hand, CHANGE)
        set_hash_checked(tx, [entry.id], seen)
    assert proven(database, series_id)[0] is False


def test_a_change_that_is_committed_after_the_proof_is_not_proven_away(
    database: Database, hand: Connection, series_id: int
) -> None:
    by_hand(hand, "begin")
    by_hand(hand, CHANGE)
    with database.transaction("prove") as tx:
        seen = snapshot_of(tx)
        entry = load_entries(tx, series_id, BTC.table_name)[0]
        assert hash_stored(tx, BTC.table_name, entry.span) == (entry.rows, entry.content_hash)
        set_hash_checked(tx, [entry.id], seen)
    by_hand(hand, "commit")
    assert proven(database, series_id)[0] is False


def test_a_table_is_watched_while_its_trigger_is_there_and_switched_on(
    database: Database, hand: Connection, series_id: int
) -> None:
    def watched() -> bool:
        with database.transaction("read") as tx:
            return is_watched(tx, BTC.table_name)

    assert watched()
    for switch, expected in (
        ("disable trigger ohlcv_note_external_change", False),
        ("enable always trigger ohlcv_note_external_change", True),
        ("enable replica trigger ohlcv_note_external_change", False),
        ("enable trigger ohlcv_note_external_change", True),
        ("disable trigger all", False),
    ):
        by_hand(hand, f"alter table public.ohlcv_btcusdt {switch}")
        assert watched() is expected, switch
    by_hand(hand, "alter table public.ohlcv_btcusdt enable trigger all")
    by_hand(hand, "drop trigger ohlcv_note_external_change on public.ohlcv_btcusdt")
    assert not watched()


@pytest.mark.parametrize("text", ["BTCUSDT", "um:币安人生USDT/1h", "cm:BTCUSD_PERP/1M"])
def test_a_table_of_the_first_version_is_watched_from_the_migration_on(empty_database_url: str, text: str) -> None:
    series = parse_series(text)
    database = Database.connect(empty_database_url, {}, "tests")
    with database.transaction("as the first version did") as tx:
        tx.cursor.execute((Path(__file__).parent / "upgrades" / "0001.sql").read_text(encoding="utf-8"))
        tx.cursor.execute(
            'insert into public.symbols (market, symbol, "interval", table_name) values (%s, %s, %s, %s),'
            " ('spot', 'GONEUSDT', '1m', 'ohlcv_goneusdt'), ('spot', 'NEVERRUN', '1m', null)",
            (series.market.value, series.symbol, series.interval.code, series.table_name),
        )
        tx.cursor.execute(f'create table public."{series.table_name}" (time timestamptz primary key, close numeric)')
        tx.cursor.execute(f'insert into public."{series.table_name}" values (%s, 1)', ("2024-03-01Z",))
    migrate(database)
    with database.transaction("change") as tx:
        assert is_watched(tx, series.table_name)
        tx.cursor.execute(f'update public."{series.table_name}" set close = 2')
    assert [note[:2] for note in notes(database)] == [(series.table_name, "update")]
    database.close()
