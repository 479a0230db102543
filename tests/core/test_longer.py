"""Longer candles made of shorter ones, held against sums in exact decimals and against recorded longer candles."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from candles import batch_of, generated_batch
from hypothesis import given
from hypothesis import strategies as st

from core.archives import day_of
from core.candles import CandleBatch, value_lines
from core.compare import compare
from core.intervals import INTERVALS
from core.longer import make_longer
from core.ranges import Span
from core.series import make_series
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from fetcher.binance.archive_csv import read_archive

START = parse_time("2024-12-30")
MINUTES = make_series("spot", "BTCUSDT", "1m")


def lines(batch: CandleBatch) -> list[str]:
    return list(value_lines(batch).to_pylist()) if batch.rows else []


@pytest.mark.parametrize("code", ["5m", "1h", "1d", "3d", "1w", "1M"])
def test_each_column_is_made_by_its_rule(code: str) -> None:
    interval = INTERVALS[code]
    given_rows = generated_batch(MINUTES, Span(START, START + 3 * MS_PER_DAY)).columns.to_pylist()
    slots = defaultdict(list)
    for row in given_rows:
        slots[interval.floor(row["open_time"])].append(row)
    made = make_longer(generated_batch(MINUTES, Span(START, START + 3 * MS_PER_DAY)), interval).columns.to_pylist()
    assert [row["open_time"] for row in made] == sorted(slots)
    for row in made:
        parts = slots[row["open_time"]]
        assert (row["open"], row["close"]) == (parts[0]["open"], parts[-1]["close"])
        assert Decimal(row["high"]) == max(Decimal(part["high"]) for part in parts)
        assert Decimal(row["low"]) == min(Decimal(part["low"]) for part in parts)
        assert row["trades"] == sum(part["trades"] for part in parts)
        for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):
            assert Decimal(row[name]) == sum(Decimal(part[name]) for part in parts)


@given(st.lists(st.integers(1, 299), max_size=4), st.integers(0, 59))
def test_parts_make_the_same_as_the_whole(cuts: list[int], shift: int) -> None:
    first = START + shift * MS_PER_MINUTE
    whole = generated_batch(MINUTES, Span(first, first + 300 * MS_PER_MINUTE))
    edges = [first, *(first + cut * MS_PER_MINUTE for cut in sorted(set(cuts))), first + 300 * MS_PER_MINUTE]
    parts = [whole.within(Span(a, b)) for a, b in pairwise(edges)]
    hour = INTERVALS["1h"]
    again = make_longer(CandleBatch.concat([make_longer(part, hour) for part in parts]), hour)
    assert lines(again) == lines(make_longer(whole, hour))


def test_nothing_makes_nothing() -> None:
    assert make_longer(CandleBatch.empty(), INTERVALS["1h"]).rows == 0


def test_no_digit_is_lost_in_a_large_sum() -> None:
    big = "99999999999999999.123456789012345678"
    rows = [
        [START + n * MS_PER_MINUTE, "1", "2", "0.5", "1", big, 0, "1", 1, "0.000000000000000001", "0", "0"]
        for n in range(60)
    ]
    made = make_longer(batch_of(rows), INTERVALS["1h"]).columns.to_pylist()[0]
    assert made["volume"] == "5999999999999999947.407407340740740680"  # 60 times, beyond any float
    assert Decimal(made["taker_buy_volume"]) == Decimal("0.00000000000000006")


def test_recorded_hours_are_what_their_minutes_make(recordings: Path) -> None:
    day = parse_time("2023-03-23")
    hours = make_series("spot", "BTCUSDT", "1h")
    stored = read_archive(next((recordings / "spot/1m/BTCUSDT-2023").glob("*1m-2023-03-23.zip")), MINUTES, day_of(day))
    recorded = read_archive(next((recordings / "spot").rglob("BTCUSDT-1h-2023-03-23.zip")), hours, day_of(day))
    assert recorded.rows == MS_PER_DAY // MS_PER_HOUR
    assert compare(make_longer(stored, INTERVALS["1h"]), recorded) == []
