"""Batches of candles: their hash, their holes, their union."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from core_samples import FIRST_HOUR, batch, batch_at, real_rows, row
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch, coalesce, content_hash, merge_batches, missing_spans
from core.columns import DECIMAL_COLUMNS, SCHEMA
from core.intervals import INTERVALS, Interval
from core.ranges import Span
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time

MINUTE, HOUR, MONTH = INTERVALS["1m"], INTERVALS["1h"], INTERVALS["1M"]


def test_a_batch_knows_its_rows_and_open_times() -> None:
    real = batch(*real_rows())
    assert real.rows == 3
    assert real.open_times() == [FIRST_HOUR, FIRST_HOUR + MS_PER_HOUR, FIRST_HOUR + 2 * MS_PER_HOUR]
    assert CandleBatch.empty().rows == 0
    assert CandleBatch.empty().open_times() == []


def test_within_is_half_open() -> None:
    real = batch(*real_rows())
    assert real.within(Span(FIRST_HOUR, FIRST_HOUR + MS_PER_HOUR)).open_times() == [FIRST_HOUR]
    assert real.within(Span(FIRST_HOUR + 1, FIRST_HOUR + MS_PER_HOUR)).rows == 0


def test_batches_are_put_together_in_the_order_given() -> None:
    assert CandleBatch.concat([batch_at(3), CandleBatch.empty(), batch_at(1, 2)]).open_times() == [3, 1, 2]
    assert CandleBatch.concat([]).columns.schema == SCHEMA


def test_a_candle_reads_as_names_and_values() -> None:
    assert batch(row()).row_text(0).startswith("open_time=1705276800000 open=41732.35000000 high=42353.94000000 ")


# The documented form, written out by hand: open time, nine values, no trailing zeros, one line a candle.
HASHED_TEXT = (
    "1705276800000,41732.35,42353.94,41718.05,42279.75,2433.52283,102456168.2255989,66725,1348.93805,56779695.6466306\n"
    "1705280400000,42279.76,42398.73,42176.28,42275.18,1404.6404,59385685.4522024,47611,821.97918,34749537.5039819\n"
    "1705284000000,42275.17,42411.62,42194.12,42399.72,850.09544,35959618.5850806,36777,482.46314,20408786.5609911\n"
)


def test_the_content_hash_is_the_sha256_of_the_documented_text() -> None:
    assert content_hash(batch(*real_rows())) == hashlib.sha256(HASHED_TEXT.encode()).hexdigest()


def test_the_content_hash_does_not_change_from_release_to_release() -> None:
    assert content_hash(batch(*real_rows())) == "1ad28faf6f5125e38ed3f6620af4664a425018b2a9e116775b94a4755a98a5fb"


def test_no_candles_have_the_hash_of_nothing() -> None:
    assert content_hash(CandleBatch.empty()) == hashlib.sha256(b"").hexdigest()


def test_a_candle_without_trades_is_hashed_with_plain_zeros() -> None:
    flat = row(**dict.fromkeys(DECIMAL_COLUMNS, "0.00000000"), trades=0) | {
        "open": "100.0",
        "high": "100",
        "low": "10.50",
    }
    assert content_hash(batch(flat)) == hashlib.sha256(b"1705276800000,100,100,10.5,0,0,0,0,0,0\n").hexdigest()


@given(st.integers(0, 10**12), st.text("0123456789", max_size=8), st.integers(0, 9))
def test_trailing_zeros_do_not_change_the_hash(whole: int, fraction: str, zeros: int) -> None:
    short = f"{whole}.{fraction}".rstrip("0").rstrip(".") if fraction else str(whole)
    long = f"{short}{'' if '.' in short else '.'}{'0' * (zeros + 1)}"
    assert content_hash(batch(row(volume=short))) == content_hash(batch(row(volume=long)))


@pytest.mark.parametrize("name", SCHEMA.names)
def test_the_hash_depends_on_every_value(name: str) -> None:
    changed = 7 if name in ("open_time", "trades") else "7.5"
    assert content_hash(batch(row(**{"open_time": FIRST_HOUR, name: changed}))) != content_hash(batch(row()))


def test_the_hash_depends_on_which_column_holds_a_value() -> None:
    assert content_hash(batch(row(volume="1", quote_volume="2"))) != content_hash(
        batch(row(volume="2", quote_volume="1"))
    )


def test_the_hash_depends_on_the_order_and_the_number_of_candles() -> None:
    first, second, third = real_rows()
    hashes = {
        content_hash(batch(*rows)) for rows in ([first, second], [second, first], [first], [first, second, third])
    }
    assert len(hashes) == 4


def test_the_hash_does_not_depend_on_how_the_batch_was_put_together() -> None:
    pieces = CandleBatch.concat([batch(one) for one in real_rows()])
    assert content_hash(pieces) == content_hash(batch(*real_rows()))
    sliced = CandleBatch(CandleBatch.concat([batch(row(1)), *[batch(one) for one in real_rows()]]).columns.slice(1))
    assert content_hash(sliced) == content_hash(pieces)


HALT = Span(parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))


def test_a_halt_is_one_missing_span() -> None:
    day = Span(parse_time("2023-03-24"), parse_time("2023-03-25"))
    opens = range(day.start_ms, day.end_ms, MS_PER_MINUTE)
    traded = [ms for ms in opens if not HALT.start_ms <= ms < HALT.end_ms]
    assert missing_spans(traded, MINUTE, day) == [HALT]
    assert missing_spans(opens, MINUTE, day) == []
    assert missing_spans([], MINUTE, day) == [day]


def test_a_candle_off_the_grid_stands_for_the_minute_it_falls_in() -> None:
    start = parse_time("2018-02-09T09:58")
    off_grid = [start + 14_789 + number * MS_PER_MINUTE for number in range(5)]  # as in the monthly file
    assert missing_spans(off_grid, MINUTE, Span(start, start + 5 * MS_PER_MINUTE)) == []


def test_a_missing_month_is_a_whole_month() -> None:
    year = Span(parse_time("2024-01-01"), parse_time("2025-01-01"))
    present = [MONTH.add(year.start_ms, number) for number in range(12) if number != 1]
    assert missing_spans(present, MONTH, year) == [Span(parse_time("2024-02-01"), parse_time("2024-03-01"))]


@pytest.mark.parametrize("code", ["1s", "1m", "1h", "3d", "1w", "1M"])
@given(data=st.data())
def test_missing_slots_are_those_that_no_candle_falls_in(code: str, data: st.DataObject) -> None:
    interval = INTERVALS[code]
    origin = interval.floor(parse_time("2024-01-31T23:00"))
    length = interval.typical_ms
    inside = st.integers(origin - 3 * length, origin + 25 * length)
    start_ms = data.draw(inside)
    span = Span(start_ms, start_ms + data.draw(st.integers(1, 20 * length)))
    on_grid = st.integers(-3, 25).map(lambda number: interval.add(origin, number))
    open_times = data.draw(st.lists(on_grid | inside, max_size=25))

    slots = slots_of(interval, span)
    expected = {slot for slot in slots if not any(slot <= ms < interval.add(slot, 1) for ms in open_times)}
    found = missing_spans(open_times, interval, span)
    assert {slot for hole in found for slot in slots_of(interval, hole)} == expected
    assert all(left.end_ms < right.start_ms for left, right in itertools.pairwise(found))


def slots_of(interval: Interval, span: Span) -> list[int]:
    slots, slot = [], interval.ceil(span.start_ms)
    while slot < span.end_ms:
        slots.append(slot)
        slot = interval.add(slot, 1)
    return slots


def minutes(start: int, end: int) -> Span:
    return Span(FIRST_HOUR + start * MS_PER_MINUTE, FIRST_HOUR + end * MS_PER_MINUTE)


def test_spans_at_most_so_many_candles_apart_become_one() -> None:
    holes = [minutes(0, 1), minutes(3, 4), minutes(7, 8)]
    assert coalesce(holes, MINUTE, 0) == holes
    assert coalesce(holes, MINUTE, 2) == [minutes(0, 4), minutes(7, 8)]
    assert coalesce(holes, MINUTE, 3) == [minutes(0, 8)]
    assert coalesce([], MINUTE, 3) == []


def test_merging_keeps_the_first_and_adds_what_it_lacks_in_order() -> None:
    ours, theirs = batch(row(FIRST_HOUR, close="1"), row(FIRST_HOUR + 2 * MS_PER_HOUR)), batch(*real_rows())
    merged = merge_batches(ours, theirs, HOUR)
    assert merged.open_times() == [FIRST_HOUR, FIRST_HOUR + MS_PER_HOUR, FIRST_HOUR + 2 * MS_PER_HOUR]
    assert merged.columns["close"].to_pylist() == ["1", "42275.18000000", "42279.75000000"]


def test_merging_leaves_out_a_candle_whose_slot_holds_one_off_the_grid() -> None:
    assert merge_batches(batch_at(FIRST_HOUR + 14_789), batch_at(FIRST_HOUR), MINUTE).open_times() == [
        FIRST_HOUR + 14_789
    ]


def test_merging_with_nothing_changes_nothing() -> None:
    real = batch(*real_rows())
    assert merge_batches(real, CandleBatch.empty(), HOUR).columns == real.columns
    assert merge_batches(CandleBatch.empty(), real, HOUR).columns == real.columns


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_merging_is_the_union_by_slot_and_the_first_wins(first: set[int], second: set[int]) -> None:
    ours = batch(*(row(slot * MS_PER_MINUTE, trades=1) for slot in sorted(first)))
    theirs = batch(*(row(slot * MS_PER_MINUTE, trades=2) for slot in sorted(second)))
    merged = merge_batches(ours, theirs, MINUTE).columns
    assert merged["open_time"].to_pylist() == [slot * MS_PER_MINUTE for slot in sorted(first | second)]
    assert merged["trades"].to_pylist() == [1 if slot in first else 2 for slot in sorted(first | second)]
