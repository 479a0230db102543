"""Holes in real tables: found exactly and healed exactly, on and off the grid, on every kind of interval."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from candles import batch_of, stored_rows, truth_rows

from core.candles import missing_spans
from core.fetched import FetchedSpan
from core.plan import Source
from core.ranges import Span
from core.series import Market, parse_series
from core.times import parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database
from db.ledger import load_totals
from db.operations import save_ohlcv
from db.schema import create_table_if_not_exists
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from logic.checker import fill_missing, find_missing_timestamps
from logic.exchange import Exchange, ExchangeAddresses

CASES = {
    "BTCUSDT": Span(parse_time("2024-03-01"), parse_time("2024-03-03")),
    "BTCUSDT/3d": Span(parse_time("2022-01-02"), parse_time("2023-01-03")),
    "BTCUSDT/1w": Span(parse_time("2022-01-03"), parse_time("2024-01-01")),
    "BTCUSDT/1M": Span(parse_time("2018-01-01"), parse_time("2024-01-01")),
    "um:BTCUSDT/15m": Span(parse_time("2024-03-01"), parse_time("2024-03-11")),
    "cm:BTCUSD_PERP/1h": Span(parse_time("2024-02-01"), parse_time("2024-04-01")),
}


@pytest.mark.parametrize("text", list(CASES))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_deletions_are_found_and_healed_exactly(
    database: Database, tmp_path: Path, text: str, seed: int
) -> None:
    series, span, dice = parse_series(text), CASES[text], random.Random(seed)
    off_grid = (Span(parse_time("2024-03-01T10:00"), parse_time("2024-03-01T15:00")),) if text == "BTCUSDT" else ()
    halts = (Span(parse_time("2024-03-01T15:00"), parse_time("2024-03-01T15:20")),) if text == "BTCUSDT" else ()
    rows = list(generate_series(series, span, seed, off_grid=off_grid, halts=halts))
    store = CandleStore()
    store.add(series, rows)
    now_ms = parse_time("2025-01-01")
    with database.transaction("prepare") as cursor:
        series_id = sync_symbols(cursor, [WantedSeries(series)], authoritative=True)[series].id
        create_table_if_not_exists(cursor, series, timescale=False, compress_after_days=0)
        given = [FetchedSpan(span, batch_of(rows), Source.REST)]
        save_ohlcv(cursor, series_id, series.table_name, given, "run", now_ms)
    deleted = {row[0] for row in rows if dice.random() < dice.choice((0.01, 0.3))}
    with database.transaction("delete") as cursor:
        cursor.execute(
            f"delete from public.{series.table_name} where time = any(%s)", ([to_datetime(ms) for ms in deleted],)
        )
    left = [row[0] for row in rows if row[0] not in deleted]
    assert find_missing_timestamps(database, series, [span]) == missing_spans(left, series.interval, span)

    with ReplayExchange(store, ReplayClock(now_ms, speed=0.0)) as replay:
        addresses = ExchangeAddresses(
            dict.fromkeys(("spot", "um", "cm"), replay.url), replay.url, replay.url, 1.0, None, 2, tmp_path
        )
        exchange = Exchange(addresses, lambda _seconds: None, replay.clock.now_ms)
        for market in Market:
            if market is series.market:
                exchange.open_market(market, None)
        healed = fill_missing(database, exchange, series, series_id, [span], "heal", now_ms)
        again = fill_missing(database, exchange, series, series_id, [span], "heal", now_ms)
    absent = sum(
        series.interval.count(s.start_ms, s.end_ms) for s in missing_spans([r[0] for r in rows], series.interval, span)
    )
    assert (healed.healed, healed.still_missing) == (len(deleted), absent)
    assert (again.healed, again.still_missing) == (0, absent)
    with database.transaction("read") as cursor:
        assert stored_rows(cursor, series.table_name) == truth_rows(rows)
        totals = load_totals(cursor)[series_id]
    assert (totals.rows, totals.covered) == (len(rows), (span,))
