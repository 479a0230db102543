"""Tables that somebody changed: further columns do no harm anywhere, everything else is the same fault everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from candles import stored_rows
from generated import generated_store
from servers import HAS_TIMESCALE
from stored_series import StoredSeries, stored_series
from timescale import STORAGES, compress_chunks, compress_table

from core.compare import Kind
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.sources import AllowedSources
from core.times import MS_PER_HOUR, from_datetime, parse_time, to_datetime
from db.commit import CommitContext
from db.corrections import undo_corrections
from logic.gaps.checker import fill_missing
from logic.verify.verification import SeriesVerification, VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

SERIES = parse_series("BTCUSDT/1h")
SPAN = Span(parse_time("2024-03-04"), parse_time("2024-03-07"))
NOW_MS = SPAN.end_ms + 3 * MS_PER_HOUR + 10_000
NAMES = "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"
LATER = SPAN.end_ms - MS_PER_HOUR  # the last candle stored before the backfill

COLUMNS = """
    alter table {table} add column remark text;
    alter table {table} add column seen timestamptz not null default '2024-01-01Z'
"""
# TimescaleDB does not allow these in a table with compressed chunks, nor an identity in any hypertable.
COMPUTED = """;
    alter table {table} add column spread numeric generated always as (high - low) stored;
    alter table {table} add column number bigint generated always as identity
"""
FURTHER = {"plain": COLUMNS if HAS_TIMESCALE else COLUMNS + COMPUTED, "compressed": COLUMNS}


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stored(storage: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoredSeries]:
    store = generated_store(SERIES, Span(SPAN.start_ms, NOW_MS), 1)
    database = request.getfixturevalue("database" if storage == "plain" else "timescale")
    with stored_series(database, tmp_path, store, SERIES, SPAN, NOW_MS) as one:
        if storage == "compressed":
            with database.transaction("compress") as tx:
                compress_table(tx, f"public.{one.table}")
        yield one


@pytest.fixture
def further(stored: StoredSeries, storage: str) -> StoredSeries:
    """The table has further columns, of which somebody filled two for every candle."""
    stored.execute(FURTHER[storage])
    stored.execute("update {table} set remark = 'of ' || time::text, seen = time + interval '1 day'")
    compress_again(stored, storage)
    return stored


def compress_again(stored: StoredSeries, storage: str) -> None:
    """Compress what was changed by hand, so that what follows meets compressed chunks only."""
    if storage == "compressed":
        with stored.database.transaction("compress") as tx:
            compress_chunks(tx, f"public.{stored.table}")


def further_of(stored: StoredSeries) -> dict[int, tuple[object, object]]:
    """Return remark and sight of every candle by open time."""
    with stored.database.transaction("read") as tx:
        tx.cursor.execute(f"select time, remark, seen from public.{stored.table}")
        return {from_datetime(time): (remark, seen) for time, remark, seen in tx.cursor.fetchall()}


def verify(stored: StoredSeries, run_id: str, repair: bool = False) -> SeriesVerification:
    stored.begin_run()
    options = VerifyOptions(run_id, AllowedSources.REST, repair, False, None, None, TimeRange())
    rows = [stored.catalog_row()]
    now_ms = stored.replay.clock.now_ms
    [result] = run_verify(stored.database, stored.exchange, rows, options, now_ms, VerifyObserver()).results
    assert result.error is None
    return result


def test_further_columns_are_no_fault_for_backfill_check_and_verify(further: StoredSeries) -> None:
    before = further_of(further)
    result = further.backfill()
    assert (result.outcome, result.saved.inserted) == ("ok", 3)
    default = to_datetime(parse_time("2024-01-01"))
    assert further_of(further) == before | {SPAN.end_ms + hour * MS_PER_HOUR: (None, default) for hour in range(3)}
    assert further.check().is_complete
    assert verify(further, "verify").is_clean


def test_a_lost_candle_is_healed_beside_further_columns(further: StoredSeries) -> None:
    before = further_of(further)
    lost = SPAN.start_ms + 5 * MS_PER_HOUR
    further.delete([lost])
    assert fill_missing(further.recheck(), [SPAN]).healed == 1
    assert further.rows() == further.truth()
    assert further_of(further) == before | {lost: (None, to_datetime(parse_time("2024-01-01")))}


def test_a_repair_and_its_undo_keep_what_stands_in_further_columns(further: StoredSeries, storage: str) -> None:
    altered, extra, lost = (SPAN.start_ms + hour * MS_PER_HOUR for hour in (3, 5, 9))
    extra += 1_000
    further.execute("update {table} set close = close + 1 where time = %s", (to_datetime(altered),))
    further.execute(
        f"insert into {{table}} (time, {NAMES}, remark, seen) select time + interval '1 second', {NAMES}, 'mine', seen"
        " from {table} where time = %s",
        (to_datetime(extra - 1_000),),
    )
    further.delete([lost])
    compress_again(further, storage)
    damaged, before = further.rows(), further_of(further)
    result = verify(further, "repair", repair=True)
    assert [result.counts[kind] for kind in (Kind.MISSING, Kind.EXTRA, Kind.DIFFERENT)] == [1, 1, 1]
    assert (result.is_clean, further.rows()) == (True, further.truth())
    after = further_of(further)
    assert after[altered] == before[altered]
    assert {ms: kept for ms, kept in after.items() if ms != lost} == {
        ms: kept for ms, kept in before.items() if ms != extra
    }
    compress_again(further, storage)
    with further.database.transaction("undo") as tx:
        assert undo_corrections(tx, CommitContext(further.series_id, further.table, "undo", NOW_MS), "repair") == 3
        assert stored_rows(tx, further.table) == damaged
    assert further_of(further) == before


def test_an_undo_fills_a_column_that_was_added_since_as_a_new_row_would(stored: StoredSeries, storage: str) -> None:
    altered = SPAN.start_ms + 3 * MS_PER_HOUR
    stored.execute("update {table} set close = close + 1 where time = %s", (to_datetime(altered),))
    damaged = stored.rows()
    assert verify(stored, "repair", repair=True).repaired == 1
    stored.delete([altered])
    stored.execute(FURTHER[storage])
    compress_again(stored, storage)
    with stored.database.transaction("undo") as tx:
        assert undo_corrections(tx, CommitContext(stored.series_id, stored.table, "undo", NOW_MS), "repair") == 1
    assert stored.rows() == damaged
    assert further_of(stored)[altered] == (None, to_datetime(parse_time("2024-01-01")))


FAULTS = {
    "swapped": (
        "alter table {table} rename column open to x; alter table {table} rename column close to open;"
        " alter table {table} rename column x to close",
        "its columns are time timestamp with time zone, close numeric, high numeric",
    ),
    "dropped": ("alter table {table} drop column trades", "its columns are"),
    "no key": (
        "alter table {table} drop constraint ohlcv_btcusdt_1h_pkey",
        "it has lost its primary key on time; verify --repair gives it back",
    ),
    "to be filled": (
        "alter table {table} add column remark text not null default '';"
        " alter table {table} alter column remark drop default",
        "column remark has to be filled, and no candle has it; drop its NOT NULL or give a default",
    ),
}


# TimescaleDB does not allow these in a table with compressed chunks either.
RETYPED = {
    "retyped": (
        "alter table {table} alter column close type double precision",
        "close double precision",
    ),
    "rounded": ("alter table {table} alter column volume type numeric(20, 2)", "volume numeric(20,2)"),
}


@pytest.mark.parametrize(("change", "fault"), FAULTS.values(), ids=FAULTS)
def test_backfill_and_check_call_the_same_a_fault(stored: StoredSeries, change: str, fault: str) -> None:
    assert_both_call_it_a_fault(stored, change, fault)


@pytest.mark.parametrize("storage", ["plain"])
@pytest.mark.parametrize(("change", "fault"), RETYPED.values(), ids=RETYPED)
def test_backfill_and_check_call_another_type_a_fault(stored: StoredSeries, change: str, fault: str) -> None:
    assert_both_call_it_a_fault(stored, change, fault)


def assert_both_call_it_a_fault(stored: StoredSeries, change: str, fault: str) -> None:
    stored.execute(change)
    check = stored.check()
    assert not check.is_complete
    [said] = check.faults
    assert fault in said
    result = stored.backfill()
    assert result.error == f"table public.{stored.table} was changed, nothing is stored into it: {said}"
    assert (result.outcome, result.chunks) == ("failed", 0)


def test_a_key_that_verify_gave_back_lets_the_next_backfill_go_on(stored: StoredSeries, storage: str) -> None:
    stored.execute("alter table {table} drop constraint ohlcv_btcusdt_1h_pkey")
    stored.execute("insert into {table} select * from {table} where time = %s", (to_datetime(LATER),))
    compress_again(stored, storage)
    assert stored.backfill().outcome == "failed"
    assert verify(stored, "repair", repair=True).is_clean
    assert (stored.backfill("again").outcome, stored.check().is_complete) == ("ok", True)
