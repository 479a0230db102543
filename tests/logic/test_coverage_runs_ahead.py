"""A stream stores a candle seconds before REST counts it as closed: to every other command that is nothing to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from candles import Row
from generated import generated_store
from stored_series import StoredSeries, stored_series

from core.binance.row import ROW_POSITIONS
from core.closed_round import ClosedCandle, Fate
from core.closing import CLOSE_SETTLE_MS
from core.columns import VALUE_NAMES
from core.compare import Kind
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.sources import AllowedSources
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from db.closed_candles import RoundCommit, commit_round
from db.connection import Database
from logic.planning.dry_run import plan_backfill
from logic.planning.listing import StoredCoverage
from logic.planning.series_plan import FetchPolicy
from logic.state_files import SeriesState, load_state, save_state
from logic.stored import read_stored
from logic.verify.verification import VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

BTC = parse_series("BTCUSDT")
SPAN = Span(parse_time("2024-03-05"), parse_time("2024-03-05T12:00"))
NOW_MS = SPAN.end_ms + MS_PER_MINUTE + 200  # the candle of 12:00 closed 0.2 s ago


@pytest.fixture
def ahead(database: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    """A series that is covered by REST up to 12:00, and by a stream one candle further."""
    store = generated_store(BTC, Span(SPAN.start_ms - MS_PER_DAY, SPAN.end_ms + MS_PER_HOUR), 1, ())
    with stored_series(database, tmp_path, store, BTC, SPAN, NOW_MS) as stored:
        stored.backfill()
        [row] = store.rows(BTC, SPAN.end_ms, SPAN.end_ms + MS_PER_MINUTE)
        values = tuple(row[ROW_POSITIONS[name]] for name in VALUE_NAMES)
        final = ClosedCandle(stored.series_id, BTC, SPAN.end_ms, values)  # type: ignore[arg-type]
        [outcome] = commit_round(database, [final], {}, RoundCommit("stream", NOW_MS))
        assert outcome.fate is Fate.STORED and not outcome.after_hole
        stored.replay.clear_requests()
        yield stored


def asked(stored: StoredSeries) -> int:
    return sum(one.path.endswith("/klines") for one in stored.replay.requests)


def test_a_backfill_has_nothing_to_do_and_nothing_to_say(ahead: StoredSeries, caplog: pytest.LogCaptureFixture) -> None:
    before: list[Row] = ahead.rows()
    with caplog.at_level(logging.WARNING):
        result = ahead.backfill("beside")
    assert (result.outcome, result.chunks, result.saved.inserted) == ("ok", 0, 0)
    assert (result.covered_until_ms, asked(ahead)) == (SPAN.end_ms + MS_PER_MINUTE, 0)
    assert caplog.records == []  # the state file lagged behind, which is nothing odd
    assert ahead.rows() == before


def test_a_dry_run_plans_nothing(ahead: StoredSeries) -> None:
    ahead.begin_run()
    covered = [Span(SPAN.start_ms, SPAN.end_ms + MS_PER_MINUTE)]
    stored = {BTC: StoredCoverage(ahead.catalog_row().listing, covered)}
    policy = FetchPolicy(AllowedSources.AUTO, chunk_days=1)
    [planned] = plan_backfill([WantedSeries(BTC, SPAN.start_ms)], ahead.exchange, policy, stored)
    assert planned.plan is not None and planned.plan.chunks == () and planned.error is None


def test_check_and_status_find_it_complete(ahead: StoredSeries) -> None:
    checked = ahead.check()
    assert checked.is_complete and checked.extra_rows == 0
    assert checked.covered_until_ms == SPAN.end_ms + MS_PER_MINUTE
    [stored] = read_stored(ahead.database, None)
    assert stored.rows == len(ahead.rows()) and stored.lag_ms is not None
    assert not stored.is_stale


def verify(stored: StoredSeries) -> tuple[int, int]:
    """Return how many ledger spans a verification took and how many of them are equal."""
    stored.begin_run()
    options = VerifyOptions("verify", AllowedSources.REST, True, False, None, None, TimeRange())
    rows = [stored.catalog_row()]
    [result] = run_verify(
        stored.database, stored.exchange, rows, options, stored.replay.clock.now_ms, VerifyObserver()
    ).results
    assert result.error is None and result.counts == dict.fromkeys(Kind, 0) and result.repaired == 0
    return result.spans, result.verified


def test_verify_leaves_what_rest_may_still_change_to_the_next_run(ahead: StoredSeries) -> None:
    assert verify(ahead) == (1, 1)
    ahead.replay.clock.set(NOW_MS + CLOSE_SETTLE_MS)
    assert verify(ahead) == (2, 2)


def test_a_state_file_that_claims_more_than_the_database_is_said(
    ahead: StoredSeries, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ahead.addresses.state_dir
    save_state(folder, BTC, SeriesState(covered_until_ms=SPAN.end_ms + MS_PER_DAY))
    with caplog.at_level(logging.WARNING):
        ahead.backfill("beside")
    assert [record.message for record in caplog.records] == [
        "BTCUSDT/1m: the state file says covered to 2024-03-06T12:00Z, the database 2024-03-05T12:01Z; "
        "the database decides"
    ]
    state = load_state(folder, BTC)
    assert state is not None and state.covered_until_ms == SPAN.end_ms + MS_PER_MINUTE
