"""When ledger spans are folded: every kind of cron job leaves about one span for each 1,440 candles."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.folding import FOLDED_ROWS, MOST_SPANS, spans_to_fold
from core.ranges import Span


def days_of_runs(minutes: int, rows: int, days: int) -> tuple[list[tuple[Span, int]], int]:
    """Return the spans, the newest first, that runs every so many minutes leave, and how many candles were hashed."""
    newest_first: list[tuple[Span, int]] = []
    hashed = 0
    for run in range(days * 1440 // minutes):
        newest_first.insert(0, (Span(run * minutes, (run + 1) * minutes), rows))
        if count := spans_to_fold(newest_first[: 2 * MOST_SPANS]):
            folded = newest_first[:count]
            hashed += sum(one[1] for one in folded)
            newest_first[:count] = [(Span(folded[-1][0].start_ms, folded[0][0].end_ms), sum(one[1] for one in folded))]
    return newest_first, hashed


@pytest.mark.parametrize(
    ("minutes", "rows"),
    [(1, 1), (5, 5), (15, 15), (60, 60), (240, 240), (60, 1), (360, 360), (5, 300), (60, 59), (1440, 24)],
)
def test_a_cron_job_leaves_about_one_span_for_each_1440_candles(minutes: int, rows: int) -> None:
    spans, hashed = days_of_runs(minutes, rows, days=60)
    candles = sum(count for _, count in spans)
    assert candles == 60 * 1440 // minutes * rows
    assert len(spans) <= 1.2 * candles / FOLDED_ROWS + MOST_SPANS
    assert max(count for _, count in spans) <= FOLDED_ROWS
    assert hashed <= 25 * candles


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2_000)), max_size=70))
def test_what_is_folded_is_adjacent_and_small_enough(pieces: list[tuple[int, int]]) -> None:
    newest_first, start_ms = [], 10_000
    for distance, rows in pieces:
        newest_first.append((Span(start_ms - 10, start_ms), rows))
        start_ms -= 10 + distance
    count = spans_to_fold(newest_first)
    assert count != 1
    folded = newest_first[:count]
    assert all(newer.start_ms == older.end_ms for (newer, _), (older, _) in pairwise(folded))
    assert sum(rows for _, rows in folded) <= FOLDED_ROWS


def test_spans_that_are_large_already_stay() -> None:
    day = [(Span(n, n + 1), FOLDED_ROWS) for n in range(3, 0, -1)]
    assert spans_to_fold(day) == 0
    assert spans_to_fold([(Span(4, 5), 60), *day]) == 0
    assert spans_to_fold([]) == 0
