"""Tables without the trigger that notes changes by others get it with the next backfill, and are hashed once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_series import StoredSeries, stored_series

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_HOUR, parse_time
from db.connection import Database
from db.external_changes import find_unwatched, is_watched
from demo.candle_store import CandleStore
from demo.generated_market import generate_series

SERIES = parse_series("BTCUSDT/1h")
OTHER = parse_series("ETHUSDT/1h")
SPAN = Span(parse_time("2024-03-04"), parse_time("2024-03-05"))
NOW_MS = SPAN.end_ms + 3 * MS_PER_HOUR + 10_000
BY_NAME = "select tgname from pg_trigger where tgrelid = 'public.ohlcv_btcusdt_1h'::regclass and not tgisinternal"


@pytest.fixture
def stored(database: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    store = CandleStore()
    store.add(SERIES, generate_series(SERIES, Span(SPAN.start_ms, NOW_MS), 1))
    with stored_series(database, tmp_path, store, SERIES, SPAN, NOW_MS) as one:
        yield one


def is_watched_now(stored: StoredSeries) -> bool:
    with stored.database.transaction("look") as tx:
        return is_watched(tx, stored.table)


def unwatch(stored: StoredSeries) -> None:
    """Take the triggers away, as a table has none that was made by another program or restored without them."""
    with stored.database.transaction("look") as tx:
        tx.cursor.execute(BY_NAME)
        names = [name for (name,) in tx.cursor.fetchall()]
    for name in names:
        stored.execute(f"drop trigger {name} on {{table}}")


def test_a_table_without_the_trigger_gets_it_and_what_changed_meanwhile_is_found(stored: StoredSeries) -> None:
    unwatch(stored)
    stored.execute("update {table} set close = close + 1 where time = '2024-03-04T05:00Z'")
    assert stored.check().altered == (SPAN,)  # all is hashed where nobody notes changes
    assert stored.backfill().outcome == "ok"
    assert is_watched_now(stored)
    assert stored.check().altered == (SPAN,)


def test_what_was_hashed_once_is_not_hashed_again(stored: StoredSeries) -> None:
    unwatch(stored)
    stored.backfill()
    checked = stored.check()
    assert (checked.is_complete, checked.hashed) == (True, (SPAN,))
    stored.backfill(heals=True)
    checked = stored.check()
    assert (checked.is_complete, checked.hashed) == (True, ())
    stored.execute("update {table} set close = close + 1 where time = '2024-03-04T05:00Z'")
    assert stored.check().altered == (SPAN,)


def test_a_trigger_that_somebody_switched_off_stays_off(stored: StoredSeries) -> None:
    stored.execute("alter table {table} disable trigger user")
    stored.backfill()
    assert not is_watched_now(stored)


def test_a_table_that_others_own_is_left_as_it_is(stored: StoredSeries) -> None:
    unwatch(stored)
    stored.execute("drop role if exists candle_owner; create role candle_owner")
    stored.execute("grant all on schema public to candle_owner; alter table {table} owner to candle_owner")
    with stored.database.transaction("look") as tx:
        assert find_unwatched(tx, [stored.table]) == [stored.table]  # a superuser may
        tx.cursor.execute("drop role if exists candle_writer; create role candle_writer; set local role candle_writer")
        assert find_unwatched(tx, [stored.table, "ohlcv_none"]) == []
    stored.execute("drop owned by candle_owner cascade; drop role candle_owner; drop role candle_writer")


def test_a_table_that_cannot_get_it_is_filled_all_the_same(
    stored: StoredSeries, caplog: pytest.LogCaptureFixture
) -> None:
    stored.replay.store.add(OTHER, generate_series(OTHER, Span(SPAN.start_ms, NOW_MS), 2))
    stored.backfill_all([OTHER])
    unwatch(stored)
    stored.execute("drop trigger ohlcv_note_external_change on public.ohlcv_ethusdt_1h")
    stored.execute(
        "create function refuse() returns event_trigger language plpgsql as 'begin raise exception ''no''; end'"
    )
    stored.execute("create event trigger no_triggers on ddl_command_start when tag in ('CREATE TRIGGER')"
                   " execute function refuse()")  # fmt: skip
    with caplog.at_level(logging.WARNING):
        result, _ = stored.backfill_all([SERIES, OTHER])
    stored.execute("drop event trigger no_triggers; drop function refuse()")
    assert (result.outcome, result.saved.inserted) == ("ok", 3)
    [told] = [one.message for one in caplog.records if "cannot get the trigger" in one.message]
    assert "others: 2; of the first one" in told
    assert not is_watched_now(stored)
