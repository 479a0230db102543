"""Holes in real tables: found exactly, healed exactly and judged, on and off the grid, on every kind of interval."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from stored_series import stored_series

from core.candles import missing_spans
from core.gaps import GapStatus
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_MINUTE, parse_time
from db.connection import Database
from db.ledger import load_entries, load_totals
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from logic.gaps.checker import fill_missing, find_missing_timestamps

CASES = {
    "BTCUSDT": Span(parse_time("2024-03-01"), parse_time("2024-03-03")),
    "BTCUSDT/3d": Span(parse_time("2022-01-02"), parse_time("2023-01-03")),
    "BTCUSDT/1w": Span(parse_time("2022-01-03"), parse_time("2024-01-01")),
    "BTCUSDT/1M": Span(parse_time("2018-01-01"), parse_time("2024-01-01")),
    "um:BTCUSDT/15m": Span(parse_time("2024-03-01"), parse_time("2024-03-11")),
    "cm:BTCUSD_PERP/1h": Span(parse_time("2024-02-01"), parse_time("2024-04-01")),
}


@pytest.mark.parametrize("text", list(CASES))
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_random_deletions_are_found_and_healed_exactly(
    database: Database, tmp_path: Path, text: str, seed: int
) -> None:
    series, span, dice = parse_series(text), CASES[text], random.Random(seed)
    off_grid = (Span(parse_time("2024-03-01T10:00"), parse_time("2024-03-01T15:00")),) if text == "BTCUSDT" else ()
    halts = (Span(parse_time("2024-03-01T15:00"), parse_time("2024-03-01T15:20")),) if text == "BTCUSDT" else ()
    rows = list(generate_series(series, span, seed, off_grid=off_grid, halts=halts))
    store = CandleStore()
    store.add(series, rows)
    absent = sum(
        series.interval.count(s.start_ms, s.end_ms) for s in missing_spans([r[0] for r in rows], series.interval, span)
    )
    with stored_series(database, tmp_path, store, series, span, parse_time("2025-01-01")) as stored:
        deleted = [row[0] for row in rows if dice.random() < dice.choice((0.01, 0.3))]
        stored.delete(deleted)
        left = [row[0] for row in rows if row[0] not in set(deleted)]
        with database.transaction("look") as tx:
            entries = load_entries(tx, stored.series_id, stored.table)
            found = find_missing_timestamps(tx, series, entries, [], [span])
        assert found == missing_spans(left, series.interval, span)
        assert stored.check().is_complete is (not deleted and not absent)

        healed = fill_missing(stored.recheck(), [span])
        stored.replay.clock.advance(31 * MS_PER_MINUTE)
        again = fill_missing(stored.recheck(), [span])
        assert (healed.healed, again.healed) == (len(deleted), 0)
        assert healed.not_at_exchange + again.not_at_exchange == absent
        assert again.unexplained == 0
        assert stored.rows() == stored.truth()
        assert all(gap.status is GapStatus.NOT_AT_EXCHANGE for gap in stored.gaps())
        check = stored.check()
        assert (check.missing, check.not_at_exchange, check.extra_rows, check.altered) == (0, absent, 0, ())
        assert check.is_complete
        with database.transaction("read") as tx:
            totals = load_totals(tx, [stored.series_id])[stored.series_id]
        assert (totals.rows, totals.covered) == (len(rows), (span,))
