"""Stored candles against the exchange's: each damage is named, and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from core_samples import FIRST_HOUR, Row, batch, batch_at, real_rows, row
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch
from core.columns import DECIMAL_COLUMNS, SCHEMA
from core.compare import Difference, Kind, compare
from core.times import MS_PER_HOUR

VALUES = SCHEMA.names[1:]
EMPTY = CandleBatch.empty()


def kinds(stored: CandleBatch, right: CandleBatch) -> dict[int, Kind]:
    return {difference.time_ms: difference.kind for difference in compare(stored, right)}


def with_zeros(text: str, count: int) -> str:
    """Return the same number with `count` zeros behind its point."""
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return short if count == 0 else f"{short}{'' if '.' in short else '.'}{'0' * count}"


def test_equal_candles_do_not_differ() -> None:
    assert compare(batch(*real_rows()), batch(*real_rows())) == []
    assert compare(EMPTY, EMPTY) == []


def test_a_candle_that_is_not_stored_is_missing() -> None:
    first, second, third = real_rows()
    [difference] = compare(batch(first, third), batch(first, second, third))
    assert (difference.time_ms, difference.kind) == (second["open_time"], Kind.MISSING)
    assert difference.stored is None
    assert difference.reference == (
        *("42279.76", "42398.73", "42176.28", "42275.18", "1404.6404", "59385685.4522024"),
        *("47611", "821.97918", "34749537.5039819"),
    )


def test_a_candle_that_the_exchange_does_not_have_is_too_many() -> None:
    first, second, third = real_rows()
    [difference] = compare(batch(first, second, third), batch(first, third))
    assert (difference.time_ms, difference.kind) == (second["open_time"], Kind.EXTRA)
    assert difference.reference is None
    assert difference.stored is not None


@pytest.mark.parametrize("name", VALUES)
def test_any_other_value_is_a_difference(name: str) -> None:
    changed = row(**{name: 7 if name == "trades" else "7.5"})
    [difference] = compare(batch(changed), batch(row()))
    assert difference.kind is Kind.DIFFERENT
    assert difference.stored is not None
    assert difference.reference is not None
    pairs = zip(VALUES, difference.stored, difference.reference, strict=True)
    assert [differing for differing, a, b in pairs if a != b] == [name]


def test_the_last_digit_counts() -> None:
    stored, right = batch(row(volume="2433.52283001")), batch(row(volume="2433.52283000"))
    assert kinds(stored, right) == {FIRST_HOUR: Kind.DIFFERENT}


@given(st.lists(st.integers(0, 12), min_size=8, max_size=8), st.lists(st.integers(0, 12), min_size=8, max_size=8))
def test_trailing_zeros_are_no_difference(ours: list[int], theirs: list[int]) -> None:
    plain = row(open="100", high="100.5", low="0", close="0.00000001", volume="1000")
    stored, right = (
        batch({**plain, **{n: with_zeros(str(plain[n]), k) for n, k in zip(DECIMAL_COLUMNS, zeros, strict=True)}})
        for zeros in (ours, theirs)
    )
    assert compare(stored, right) == []


@pytest.mark.parametrize(("stored", "right"), [("1000", "100"), ("10", "1"), ("0", "0.1"), ("100.0", "10")])
def test_zeros_before_the_point_do_count(stored: str, right: str) -> None:
    assert kinds(batch(row(volume=stored)), batch(row(volume=right))) == {FIRST_HOUR: Kind.DIFFERENT}


def test_a_candle_that_is_stored_twice_is_one_too_many() -> None:
    [difference] = compare(batch(row(), row()), batch(row()))
    assert difference.kind is Kind.EXTRA
    assert difference.stored == difference.reference
    assert str(difference) == "2024-01-15: extra: there twice"


@pytest.mark.parametrize("right", [row(volume="1"), row(volume="2"), row(volume="3")])
def test_two_candles_of_one_time_with_different_values_are_too_many(right: Row) -> None:
    stored = batch(row(volume="1"), row(volume="2"))
    assert kinds(stored, batch(right)) == {FIRST_HOUR: Kind.EXTRA}
    assert kinds(stored, EMPTY) == {FIRST_HOUR: Kind.EXTRA}


def test_against_nothing_every_candle_is_missing_or_too_many() -> None:
    times = [row["open_time"] for row in real_rows()]
    assert kinds(EMPTY, batch(*real_rows())) == dict.fromkeys(times, Kind.MISSING)
    assert kinds(batch(*real_rows()), EMPTY) == dict.fromkeys(times, Kind.EXTRA)


def test_candles_near_each_other_are_not_taken_for_the_same() -> None:
    assert kinds(batch_at(FIRST_HOUR + 1), batch_at(FIRST_HOUR)) == {
        FIRST_HOUR: Kind.MISSING,
        FIRST_HOUR + 1: Kind.EXTRA,
    }


def test_differences_read_as_what_is_there_and_what_should_be() -> None:
    assert str(Difference(FIRST_HOUR, Kind.MISSING, None, ("1",))) == "2024-01-15: missing"
    assert str(Difference(FIRST_HOUR, Kind.EXTRA, ("1",), None)) == "2024-01-15: extra"
    [difference] = compare(batch(row(open="1.50", trades=3)), batch(row(open="2", trades=4)))
    assert str(difference) == "2024-01-15: different: open 1.5, not 2; trades 3, not 4"


def test_batches_made_of_several_are_compared_whole() -> None:
    pieces = CandleBatch.concat([batch(one) for one in real_rows()])
    assert compare(pieces, batch(*real_rows())) == []
    chopped = CandleBatch(pieces.columns.slice(1))
    assert kinds(chopped, pieces) == {FIRST_HOUR: Kind.MISSING}


@dataclass
class Damaged:
    """A table after some damage, and what was done to it."""

    stored: list[Row] = field(default_factory=list)
    reference: list[Row] = field(default_factory=list)
    kinds: dict[int, Kind] = field(default_factory=dict)


damages = st.sampled_from(["none", "none", "zeros", "lost", "extra", "twice", "changed"])


@st.composite
def damaged_tables(draw: st.DrawFn) -> Damaged:
    table = Damaged()
    for number, damage in enumerate(draw(st.lists(damages, max_size=12))):
        time_ms = FIRST_HOUR + number * MS_PER_HOUR
        candle = row(time_ms, volume=str(draw(st.integers(1, 3))))
        copies = {
            "none": [candle],
            "zeros": [candle | {"volume": f"{candle['volume']}.000"}],
            "lost": [],
            "extra": [candle],
            "twice": [candle, candle],
            "changed": [candle | {draw(st.sampled_from(DECIMAL_COLUMNS)): "9.9"}],
        }[damage]
        table.stored += copies
        table.reference += [] if damage == "extra" else [candle]
        if damage not in ("none", "zeros"):
            table.kinds[time_ms] = {"lost": Kind.MISSING, "changed": Kind.DIFFERENT}.get(damage, Kind.EXTRA)
    return table


@given(damaged_tables())
def test_every_damage_is_found_and_nothing_else(table: Damaged) -> None:
    differences = compare(batch(*table.stored), batch(*table.reference))
    assert [(one.time_ms, one.kind) for one in differences] == sorted(table.kinds.items())
    assert all((one.stored is None) == (one.kind is Kind.MISSING) for one in differences)


@given(damaged_tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table: Damaged, random: Random) -> None:
    stored, right = list(table.stored), list(table.reference)
    random.shuffle(stored)
    random.shuffle(right)
    assert compare(batch(*stored), batch(*right)) == compare(batch(*table.stored), batch(*table.reference))


@given(damaged_tables())
def test_the_other_way_round_missing_and_too_many_change_places(table: Damaged) -> None:
    swapped = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING, Kind.DIFFERENT: Kind.DIFFERENT}
    once = {
        time_ms for time_ms, kind in table.kinds.items() if sum(r["open_time"] == time_ms for r in table.stored) < 2
    }
    there, back = (
        kinds(batch(*ours), batch(*theirs))
        for ours, theirs in ((table.stored, table.reference), (table.reference, table.stored))
    )
    assert {ms: back[ms] for ms in once} == {ms: swapped[there[ms]] for ms in once}
