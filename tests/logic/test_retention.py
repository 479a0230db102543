"""Somebody's retention policy in TimescaleDB: what it drops is neither missing nor fetched again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_series import StoredSeries, stored_series
from timescale import can_compress, compress_table, needs_timescale

from core.ranges import Span, TimeRange
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from db.connection import Database
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from logic.gaps.checker import fill_missing
from logic.gaps.series_check import SeriesCheck, check_series

SERIES = parse_series("BTCUSDT/1h")
SPAN = Span(parse_time("2024-03-01"), parse_time("2024-03-21"))
KEPT_FROM_MS = parse_time("2024-03-11T00:30")


@pytest.fixture
def stored(timescale: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    """Twenty days in chunks of two, of which a policy keeps the last ten: half a chunk more stays."""
    store = CandleStore()
    store.add(SERIES, generate_series(SERIES, SPAN, 1))
    with stored_series(timescale, tmp_path, store, SERIES, SPAN, SPAN.end_ms + MS_PER_DAY) as one:
        with timescale.transaction("make it a hypertable") as tx:
            compress_table(tx, f"public.{one.table}")
            if not can_compress(tx):
                pytest.skip("the Apache edition has no retention policies")
        yield one


def whole_check(stored: StoredSeries) -> SeriesCheck:
    row = stored.catalog_row()
    with stored.database.transaction("check") as tx:
        return check_series(tx, row, TimeRange(), stored.span.end_ms)


def add_policy(stored: StoredSeries) -> None:
    stored.execute("select add_retention_policy('{table}', now() - %s)", ("2024-03-11T00:30Z",))


@needs_timescale
def test_what_a_policy_drops_is_not_missing_and_not_fetched_again(stored: StoredSeries) -> None:
    add_policy(stored)
    stored.execute("select drop_chunks('{table}', older_than => timestamptz '2024-03-11T00:30Z')")
    left = len(stored.rows())
    assert left == 11 * 24
    check = whole_check(stored)
    assert check.is_complete
    assert check.dropped_before_ms is not None
    assert 0 <= check.dropped_before_ms - KEPT_FROM_MS < MS_PER_DAY
    assert check.spans == (Span(parse_time("2024-03-11T01:00"), SPAN.end_ms),)
    recheck = stored.recheck()
    stored.replay.clear_requests()
    assert fill_missing(recheck, [SPAN]).healed == 0
    assert stored.replay.count("klines") == 0
    assert len(stored.rows()) == left
    assert stored.gaps() == []


@needs_timescale
def test_what_is_gone_within_the_time_that_a_policy_keeps_is_missing_and_healed(stored: StoredSeries) -> None:
    add_policy(stored)
    stored.execute("select drop_chunks('{table}', older_than => timestamptz '2024-03-11T00:30Z')")
    left = len(stored.rows())
    stored.delete([parse_time("2024-03-15T05:00")])
    assert whole_check(stored).missing == 1
    assert fill_missing(stored.recheck(), [SPAN]).healed == 1
    assert len(stored.rows()) == left
    assert whole_check(stored).is_complete


@needs_timescale
def test_a_series_that_a_policy_has_emptied_is_not_fetched_from_its_listing(stored: StoredSeries) -> None:
    stored.execute("select add_retention_policy('{table}', interval '1 hour')")
    stored.execute("select drop_chunks('{table}', older_than => now())")
    assert stored.rows() == []
    assert stored.backfill("later").saved.inserted <= 25  # what has closed since
    with stored.database.transaction("look") as tx:
        tx.cursor.execute("select min(span_start) from public.ohlcv_ledger")
        [(first,)] = tx.cursor.fetchall()
    assert first.date().isoformat() == "2024-03-01"


@needs_timescale
def test_without_a_policy_dropped_chunks_are_missing(stored: StoredSeries) -> None:
    stored.execute("select drop_chunks('{table}', older_than => timestamptz '2024-03-11T00:30Z')")
    check = whole_check(stored)
    assert check.missing > 0
    assert check.dropped_before_ms is None
