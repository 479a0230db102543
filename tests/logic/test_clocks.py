"""Runs that ask the exchange keep its clock in the database, for those that ask nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from generated import generated_store
from stored_series import StoredSeries, stored_series

from core.instrument import ExchangeName, Market
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.sources import AllowedSources
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from db.connection import Database
from db.exchange_clock import load_exchange_now_ms
from logic.clocks import keep_clocks
from logic.verify.verification import VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

SERIES = parse_series("um:BTCUSDT/1h")
SPAN = Span(parse_time("2024-03-04"), parse_time("2024-03-07"))
NOW_MS = SPAN.end_ms + MS_PER_DAY


@pytest.fixture
def stored(database: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    store = generated_store(SERIES, Span(SPAN.start_ms, NOW_MS), 1)
    with stored_series(database, tmp_path, store, SERIES, SPAN, NOW_MS) as one:
        yield one


def known(stored: StoredSeries) -> list[str]:
    """Return the markets whose clock is kept."""
    with stored.database.transaction("read") as tx:
        tx.cursor.execute("select market from public.fetch_clock order by 1")
        return [market for (market,) in tx.cursor.fetchall()]


def verify(stored: StoredSeries, against: AllowedSources) -> None:
    stored.begin_run(against)
    options = VerifyOptions("verify", against, False, False, None, None, TimeRange())
    run_verify(
        stored.database, stored.exchange, [stored.catalog_row()], options, stored.replay.clock.now_ms, VerifyObserver()
    )


def test_a_backfill_keeps_the_clock_of_its_markets(stored: StoredSeries) -> None:
    assert stored.backfill().outcome == "ok"
    assert known(stored) == ["um"]
    with stored.database.transaction("read") as tx:
        now_ms = load_exchange_now_ms(tx, ExchangeName.BINANCE, Market.UM)
    assert NOW_MS - 1_000 <= now_ms < NOW_MS + MS_PER_MINUTE


def test_a_verification_keeps_it_unless_it_asks_archives_alone(stored: StoredSeries) -> None:
    verify(stored, AllowedSources.ARCHIVE)
    assert known(stored) == []
    verify(stored, AllowedSources.REST)
    assert known(stored) == ["um"]


def test_a_clock_that_was_not_asked_is_not_kept(stored: StoredSeries) -> None:
    keep_clocks(stored.database, stored.exchange, [(ExchangeName.BINANCE, market) for market in Market])
    assert known(stored) == ["cm", "um"]  # these two share one address pool, and its clock
