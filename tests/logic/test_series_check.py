"""`check` on damaged tables: each kind of damage on each kind of interval is noticed, and a sound table passes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from generated import generated_store
from stored_series import StoredSeries, stored_series

from core.listing import ListingPeriod
from core.ranges import Span, TimeRange
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time, to_datetime
from db.catalog import update_listing
from db.connection import Database, Transaction
from db.exchange_clock import load_exchange_now_ms
from db.ledger import load_entries, set_hash_checked, snapshot_of
from logic.clocks import keep_clocks
from logic.gaps.checker import fill_missing
from logic.gaps.series_check import SeriesCheck, check_series

NOW_MS = parse_time("2024-06-01")
CASES = {
    "BTCUSDT": Span(parse_time("2024-03-01"), parse_time("2024-03-02")),
    "BTCUSDT/5m": Span(parse_time("2024-03-01"), parse_time("2024-03-04")),
    "um:BTCUSDT/1h": Span(parse_time("2024-03-01"), parse_time("2024-03-21")),
    "BTCUSDT/1d": Span(parse_time("2023-11-01"), parse_time("2024-03-01")),
    "cm:BTCUSD_PERP/3d": Span(parse_time("2023-01-03"), parse_time("2024-01-04")),
    "BTCUSDT/1w": Span(parse_time("2022-01-03"), parse_time("2024-01-01")),
    "BTCUSDT/1M": Span(parse_time("2018-01-01"), parse_time("2024-01-01")),
}
HALT = Span(parse_time("2024-03-01T15:00"), parse_time("2024-03-01T15:20"))
OFF_GRID = Span(parse_time("2024-03-01T10:00"), parse_time("2024-03-01T15:00"))
NAMES = "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"

Damage = Callable[[Transaction, StoredSeries], None]


def run(tx: Transaction, stored: StoredSeries, statement: str, *times: int) -> None:
    tx.cursor.execute(statement.replace("{table}", f"public.{stored.table}"), [to_datetime(ms) for ms in times])


def times(stored: StoredSeries) -> list[int]:
    return stored.replay.store.open_times(stored.series)


def middle(stored: StoredSeries) -> int:
    return times(stored)[len(times(stored)) // 2]


def insert_copy(tx: Transaction, stored: StoredSeries, from_ms: int, at_ms: int) -> None:
    run(
        tx, stored, f"insert into {{table}} (time, {NAMES}) select %s, {NAMES} from {{table}} where time = %s",
        at_ms, from_ms,
    )  # fmt: skip


def missing(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "delete from {table} where time = %s", middle(stored))


def missing_first(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "delete from {table} where time = %s", times(stored)[0])


def missing_last(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "delete from {table} where time = %s", times(stored)[-1])


def emptied(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "truncate {table}")


def dropped(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "drop table {table}")


def altered(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "update {table} set volume = volume + 0.00000001 where time = %s", middle(stored))


def altered_trades(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "update {table} set trades = trades + 1 where time = %s", times(stored)[-1])


def altered_by_delete_and_insert(tx: Transaction, stored: StoredSeries) -> None:
    insert_copy(tx, stored, middle(stored), stored.span.end_ms + 400 * MS_PER_DAY)
    run(tx, stored, "delete from {table} where time = %s", middle(stored))
    run(
        tx, stored, "insert into {table} select %s, open, high, low, close + 1, volume, quote_volume, trades,"
        " taker_buy_volume, taker_buy_quote_volume from {table} where time = %s",
        middle(stored), stored.span.end_ms + 400 * MS_PER_DAY,
    )  # fmt: skip
    run(tx, stored, "delete from {table} where time = %s", stored.span.end_ms + 400 * MS_PER_DAY)


def altered_without_the_watch(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "drop trigger ohlcv_note_external_change on {table}")
    altered(tx, stored)


def extra_between_two_slots(tx: Transaction, stored: StoredSeries) -> None:
    insert_copy(tx, stored, middle(stored), middle(stored) + 1_000)


def extra_before_the_first(tx: Transaction, stored: StoredSeries) -> None:
    insert_copy(tx, stored, middle(stored), stored.series.interval.add(stored.span.start_ms, -1))


def extra_behind_the_last(tx: Transaction, stored: StoredSeries) -> None:
    insert_copy(tx, stored, middle(stored), stored.series.interval.add(stored.span.end_ms, 2))


def doubled(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, f"alter table {{table}} drop constraint {stored.table}_pkey")
    run(tx, stored, "insert into {table} select * from {table} where time = %s", middle(stored))


def key_dropped(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, f"alter table {{table}} drop constraint {stored.table}_pkey")


def shifted(tx: Transaction, stored: StoredSeries, by: str) -> None:
    """By way of another table: TimescaleDB lets no update move a row out of its chunk."""
    run(tx, stored, "create temporary table moved on commit drop as select * from {table}; delete from {table}")
    run(tx, stored, f"update pg_temp.moved set time = time + {by}; insert into {{table}} select * from pg_temp.moved")


def an_hour_late(tx: Transaction, stored: StoredSeries) -> None:
    shifted(tx, stored, "interval '1 hour'")


def an_hour_early(tx: Transaction, stored: StoredSeries) -> None:
    shifted(tx, stored, "interval '-1 hour'")


def a_slot_late(tx: Transaction, stored: StoredSeries) -> None:
    step_ms = stored.series.interval.step_ms
    shifted(tx, stored, "interval '1 month'" if step_ms is None else f"interval '{step_ms} milliseconds'")


def values_a_slot_late(tx: Transaction, stored: StoredSeries) -> None:
    run(
        tx, stored, "update {table} as mine set close = theirs.shifted from (select time, lag(close, 1, close)"
        " over (order by time) as shifted from {table}) as theirs where theirs.time = mine.time",
    )  # fmt: skip


def swapped_high_and_low(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "update {table} set high = low, low = high")


def swapped_volumes(tx: Transaction, stored: StoredSeries) -> None:
    run(
        tx,
        stored,
        "update {table} set volume = quote_volume, quote_volume = volume where time = %s",
        middle(stored),
    )


def swapped_names(tx: Transaction, stored: StoredSeries) -> None:
    for old, new in (("open", "other"), ("close", "open"), ("other", "close")):
        run(tx, stored, f"alter table {{table}} rename column {old} to {new}")


def rounded_by_a_narrower_type(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "alter table {table} alter column quote_volume type numeric(30, 1)")


def floats(tx: Transaction, stored: StoredSeries) -> None:
    run(tx, stored, "drop view if exists public.ohlcv")
    run(tx, stored, "alter table {table} alter column open type double precision")


def lost_and_made_up(tx: Transaction, stored: StoredSeries) -> None:
    """As many rows as before."""
    insert_copy(tx, stored, middle(stored), times(stored)[1] + 1_000)
    missing(tx, stored)


DAMAGES: tuple[Damage, ...] = (
    missing,
    missing_first,
    missing_last,
    emptied,
    dropped,
    altered,
    altered_trades,
    altered_by_delete_and_insert,
    altered_without_the_watch,
    extra_between_two_slots,
    extra_before_the_first,
    extra_behind_the_last,
    doubled,
    key_dropped,
    an_hour_late,
    an_hour_early,
    a_slot_late,
    values_a_slot_late,
    swapped_high_and_low,
    swapped_volumes,
    swapped_names,
    rounded_by_a_narrower_type,
    floats,
    lost_and_made_up,
)


def thirds(series: Series, span: Span) -> list[Span]:
    interval, count = series.interval, series.interval.count(span.start_ms, span.end_ms)
    cuts = [interval.add(span.start_ms, count * third // 3) for third in range(4)]
    return [Span(start, end) for start, end in pairwise(cuts)]


def sound(database: Database, tmp_path: Path, text: str) -> AbstractContextManager[StoredSeries]:
    series, span = parse_series(text), CASES[text]
    fine = text in ("BTCUSDT", "BTCUSDT/5m")
    halts, off_grid = ((HALT,), (OFF_GRID,)) if fine else ((), ())
    if fine:  # a stretch off the grid begins after a halt
        halts = (Span(OFF_GRID.start_ms - 5 * MS_PER_MINUTE, OFF_GRID.start_ms + MS_PER_MINUTE), HALT)
    store = generated_store(series, span, 1, halts, off_grid)
    # Pieces that came by REST would be folded into one.
    source = Source.ARCHIVE_DAILY
    return stored_series(database, tmp_path, store, series, span, NOW_MS, thirds(series, span), source)


def explain_all(stored: StoredSeries) -> None:
    for _ in range(2):
        fill_missing(stored.recheck(), [stored.span])
        stored.replay.clock.advance(31 * MS_PER_MINUTE)


def checks(tx: Transaction, stored: StoredSeries, row: object) -> list[SeriesCheck]:
    """Return what is said of the whole series, and of the same range given by hand."""
    now_ms = stored.replay.clock.now_ms()
    spans = ((None, None), (stored.span.start_ms, stored.span.end_ms))
    return [check_series(tx, row, TimeRange(start, end), now_ms) for start, end in spans]


@pytest.mark.parametrize("text", list(CASES))
def test_a_sound_table_passes_and_every_kind_of_damage_is_noticed(
    database: Database, tmp_path: Path, text: str
) -> None:
    with sound(database, tmp_path, text) as stored:
        explain_all(stored)
        row = replace(stored.catalog_row(), wanted=TimeRange(None, stored.span.end_ms))  # or it would stand still
        with database.transaction("damage and check") as tx:
            for check in checks(tx, stored, row):
                assert check.is_complete
                assert check.expected == stored.series.interval.count(stored.span.start_ms, stored.span.end_ms)
                assert check.stored == len(stored.truth())
                assert check.expected == check.stored + check.not_at_exchange
            tx.cursor.execute("savepoint sound")
            unnoticed = []
            for damage in DAMAGES:
                damage(tx, stored)
                whole, ranged = checks(tx, stored, row)
                outside = damage in (extra_before_the_first, extra_behind_the_last)
                if whole.is_complete or (ranged.is_complete and not outside):
                    unnoticed.append(damage.__name__)
                tx.cursor.execute("rollback to savepoint sound")
            assert unnoticed == []
            assert all(check.is_complete for check in checks(tx, stored, row))


@pytest.mark.parametrize("text", ["BTCUSDT", "BTCUSDT/1d", "BTCUSDT/1M"])
def test_damage_is_named_for_what_it_is(database: Database, tmp_path: Path, text: str) -> None:
    with sound(database, tmp_path, text) as stored:
        explain_all(stored)
        interval, row = stored.series.interval, stored.catalog_row()
        piece = next(one for one in thirds(stored.series, stored.span) if one.start_ms <= middle(stored) < one.end_ms)
        slot_ms = interval.floor(middle(stored))
        with database.transaction("damage and check") as tx:
            tx.cursor.execute("savepoint sound")

            def after(damage: Damage) -> SeriesCheck:
                tx.cursor.execute("rollback to savepoint sound")
                damage(tx, stored)
                return checks(tx, stored, row)[0]

            check = after(missing)
            assert (check.unexplained, check.missing, check.altered) == (
                (Span(slot_ms, interval.add(slot_ms, 1)),),
                1,
                (),
            )
            check = after(altered)
            assert (check.altered, check.missing, check.extra_rows) == ((piece,), 0, 0)
            assert check.external_change is not None and check.external_change.startswith("update by ")
            check = after(doubled)
            assert check.doubled == 1
            assert check.faults == ("it has lost its primary key on time; verify --repair gives it back",)
            check = after(extra_between_two_slots)
            assert (check.extra, check.extra_rows, check.missing) == ((piece,), 1, 0)
            check = after(extra_behind_the_last)
            assert check.extra_rows == 1
            check = after(dropped)
            assert check.faults == (f"table public.{stored.table} does not exist",)
            check = after(emptied)
            assert check.missing == len(stored.truth())
            check = after(lost_and_made_up)
            assert (check.missing, check.extra_rows) == (1, 1)


@pytest.mark.parametrize("text", ["BTCUSDT", "BTCUSDT/1d"])
def test_a_row_too_many_is_noticed_in_a_range_that_cuts_through_what_was_committed_at_once(
    database: Database, tmp_path: Path, text: str
) -> None:
    with sound(database, tmp_path, text) as stored:
        explain_all(stored)
        interval, row = stored.series.interval, stored.catalog_row()
        with database.transaction("damage and check") as tx:
            extra_between_two_slots(tx, stored)
            start_ms, end_ms = (interval.add(interval.floor(middle(stored)), count) for count in (-3, 3))
            check = check_series(tx, row, TimeRange(start_ms, end_ms), NOW_MS)
            assert not check.is_complete


def test_holes_that_no_gap_tells_of_are_missing_and_nothing_is_extra(database: Database, tmp_path: Path) -> None:
    """As after an update from a version that kept no gaps."""
    with sound(database, tmp_path, "BTCUSDT") as stored:
        check = stored.check()
        assert (check.missing, check.extra_rows, check.altered) == (26, 0, ())


def test_rows_inside_a_gap_that_is_not_at_the_exchange_are_not_taken_for_candles(
    database: Database, tmp_path: Path
) -> None:
    with sound(database, tmp_path, "BTCUSDT") as stored:
        explain_all(stored)
        with database.transaction("damage and check") as tx:
            insert_copy(tx, stored, stored.span.start_ms, HALT.start_ms + 2 * MS_PER_MINUTE)
        fill_missing(stored.recheck(), [stored.span])
        check = stored.check()
        assert (check.extra_rows, check.is_complete) == (1, False)
        assert any(gap.span.start_ms <= HALT.start_ms and gap.span.end_ms >= HALT.end_ms for gap in stored.gaps())


def test_rows_after_the_delisting_are_too_many_and_those_before_the_listing_an_earlier_contracts(
    database: Database, tmp_path: Path
) -> None:
    with sound(database, tmp_path, "um:BTCUSDT/1h") as stored:
        life = (stored.span.start_ms + 2 * MS_PER_HOUR, stored.span.end_ms - 3 * MS_PER_HOUR)
        with database.transaction("delist") as tx:
            update_listing(tx, stored.series_id, ListingPeriod(*life, "SETTLING"))
        row = stored.catalog_row()
        with database.transaction("check") as tx:
            check = check_series(tx, row, TimeRange(), NOW_MS)
        assert check.extra_rows == 3
        assert check.earlier_listing == (Span(stored.span.start_ms, life[0]),)


def test_a_change_that_a_proof_could_not_see_is_noticed_however_late_it_is_committed(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Somebody updates in an open session; a run proves the old values meanwhile; then the session commits."""
    other = Database.connect(database_url, {}, "psql")
    try:
        with sound(database, tmp_path, "um:BTCUSDT/1h") as stored:
            with other.transaction("change by hand") as by_hand:
                altered(by_hand, stored)
                with database.transaction("prove") as tx:
                    entries = load_entries(tx, stored.series_id, stored.table)
                    set_hash_checked(tx, [entry.id for entry in entries], snapshot_of(tx))
            assert not stored.check().is_complete
    finally:
        other.close()


def test_a_halt_outside_the_range_is_no_row_too_many_inside_it(database: Database, tmp_path: Path) -> None:
    with sound(database, tmp_path, "BTCUSDT") as stored:
        explain_all(stored)
        row = stored.catalog_row()
        start_ms, end_ms = HALT.end_ms + 5 * MS_PER_MINUTE, HALT.end_ms + 50 * MS_PER_MINUTE
        stored.delete([start_ms + MS_PER_MINUTE])
        with database.transaction("check") as tx:
            check = check_series(tx, row, TimeRange(start_ms, end_ms), NOW_MS)
        assert (check.missing, check.extra_rows) == (1, 0)


@pytest.mark.parametrize("end_ms", [NOW_MS, NOW_MS + MS_PER_DAY, NOW_MS + 400 * MS_PER_DAY])
def test_candles_that_have_not_closed_by_the_exchanges_clock_are_not_missing(
    database: Database, tmp_path: Path, end_ms: int
) -> None:
    """The server's own clock, years ahead of the replay exchange's, would expect thousands of them."""
    series = parse_series("um:BTCUSDT/1h")
    span = Span(NOW_MS - 5 * MS_PER_DAY, NOW_MS)
    store = generated_store(series, span, 1)
    with stored_series(database, tmp_path, store, series, span, NOW_MS + 10_000) as stored:
        keep_clocks(database, stored.exchange, [(series.exchange, series.market)])
        row = stored.catalog_row()
        with database.transaction("check") as tx:
            now_ms = load_exchange_now_ms(tx, series.exchange, series.market)
            check = check_series(tx, row, TimeRange(span.start_ms, end_ms), now_ms)
            assert (check.expected, check.missing, check.is_complete) == (120, 0, True)
            tx.cursor.execute("delete from public.fetch_clock")
            by_server_ms = load_exchange_now_ms(tx, series.exchange, series.market)
            late = check_series(tx, row, TimeRange(span.start_ms, end_ms), by_server_ms)
            assert late.missing == series.interval.count(NOW_MS, end_ms)
