"""Rounds of closed candles: what may be stored, and which ledger rows grow."""

from __future__ import annotations

from candles import batch_of
from hypothesis import given
from hypothesis import strategies as st

from core.binance.row import ROW_POSITIONS
from core.candles import content_hash
from core.closed_round import (
    ClosedCandle,
    Fate,
    GivenCandle,
    OpenRow,
    RowBefore,
    check_round,
    extend_rows,
    judge_round,
)
from core.columns import VALUE_NAMES
from core.folding import FOLDED_ROWS
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_MINUTE, parse_time
from demo.generated_market import generate_series

BTC, ETH = parse_series("BTCUSDT"), parse_series("ETHUSDT")
START_MS = parse_time("2024-03-01")
ROWS = list(generate_series(BTC, Span(START_MS, START_MS + 1500 * MS_PER_MINUTE), 1))
IDS = {BTC: 1, ETH: 2}


def final(slot: int, series: object = BTC, **changes: object) -> ClosedCandle:
    row = ROWS[slot]
    values = {name: row[ROW_POSITIONS[name]] for name in VALUE_NAMES} | changes
    known = ETH if series is ETH else BTC
    return ClosedCandle(IDS[known], known, int(str(row[0])), tuple(values.values()))  # type: ignore[arg-type]


def inserted(slot: int, before: RowBefore | None = None) -> GivenCandle:
    [checked], _ = check_round([final(slot)])
    return GivenCandle(checked, before, was_inserted=True)


def row_of(first: int, last: int) -> OpenRow:
    row = OpenRow.begun(inserted(first).checked)
    for slot in range(first + 1, last):
        row = row.extended(inserted(slot).checked)
    return OpenRow(7, row.start_ms, row.end_ms, row.rows, row.digest)


def test_a_round_is_ordered_by_series_and_time_and_takes_a_candle_once() -> None:
    checked, refused = check_round([final(1, ETH), final(1), final(0), final(1), final(0, ETH)])
    assert [(one.candle.series, one.candle.open_ms - START_MS) for one in checked] == [
        (BTC, 0), (BTC, MS_PER_MINUTE), (ETH, 0), (ETH, MS_PER_MINUTE)
    ]  # fmt: skip
    assert refused == []


def test_an_empty_round_is_no_fault() -> None:
    assert check_round([]) == ([], [])
    assert judge_round([]) == []
    assert extend_rows([], [], None) == []


def test_all_impossible_candles_of_a_round_are_refused_and_no_other() -> None:
    """However many they are: in a round of many series one market's fault is not another's."""
    candles = [final(slot, volume="-1") if slot % 2 else final(slot) for slot in range(400)]
    checked, refused = check_round(candles)
    assert [one.candle for one in checked] == candles[::2]
    assert {one.candle.open_ms for one in refused} == {one.open_ms for one in candles[1::2]}
    assert {(one.fate, one.why) for one in refused} == {(Fate.IMPOSSIBLE, "volume is not a plain decimal number")}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_hash_of_a_row_that_grew_is_that_of_its_candles(portions: list[int]) -> None:
    row, slot = None, 0
    for portion in portions:
        given_now = [inserted(n, None if row is None else _left(row)) for n in range(slot, slot + portion)]
        [row] = extend_rows(given_now, judge_round(given_now), row)
        row = OpenRow(7, row.start_ms, row.end_ms, row.rows, row.digest)
        slot += portion
    assert row is not None
    assert (row.rows, row.end_ms) == (slot, START_MS + slot * MS_PER_MINUTE)
    assert row.content_hash == content_hash(batch_of(ROWS[:slot]))


def _left(row: OpenRow, is_provisional: bool = True) -> RowBefore:
    assert row.id is not None
    return RowBefore(row.id, row.end_ms, row.content_hash, is_provisional)


def test_a_row_that_is_not_as_it_was_left_is_not_extended() -> None:
    row = row_of(0, 3)
    for before in (
        None,
        _left(row, is_provisional=False),
        RowBefore(8, row.end_ms, row.content_hash, True),
        RowBefore(7, row.end_ms, None, True),
        RowBefore(7, row.end_ms, "other", True),
    ):
        given_now = [inserted(3, before)]
        [begun] = extend_rows(given_now, judge_round(given_now), row)
        assert (begun.id, begun.rows) == (None, 1)
    given_now = [inserted(3, _left(row))]
    [extended] = extend_rows(given_now, judge_round(given_now), row)
    assert (extended.id, extended.rows, row.rows) == (7, 4, 3)  # the one before is as it was: a commit may fail


def test_a_full_row_is_followed_by_another() -> None:
    row = row_of(0, FOLDED_ROWS - 1)
    given_now = [inserted(slot, _left(row)) for slot in range(FOLDED_ROWS - 1, FOLDED_ROWS + 2)]
    full, begun = extend_rows(given_now, judge_round(given_now), row)
    assert (full.id, full.rows, begun.id, begun.rows) == (7, FOLDED_ROWS, None, 2)


def test_what_the_table_held_decides_the_fate() -> None:
    [checked], _ = check_round([final(0)])
    covering = RowBefore(3, START_MS + MS_PER_MINUTE, "hash", is_provisional=False)
    same = tuple(f"{value}000" if "." in str(value) else str(value) for value in final(0).values)
    other = tuple(str(value) for value in final(0, trades=5).values)
    for before, held, fate, is_covered in (
        (covering, same, Fate.EQUAL, True),
        (None, same, Fate.EQUAL, True),
        (covering, other, Fate.CONFLICT, True),
        (None, other, Fate.CONFLICT, False),
        (covering, None, Fate.GAP, True),
    ):
        given_now = [GivenCandle(checked, before, False, held)]
        [outcome] = judge_round(given_now)
        assert (outcome.fate, outcome.is_covered) == (fate, is_covered)
        rows = extend_rows(given_now, [outcome], None)
        assert len(rows) == (before is None and is_covered)
