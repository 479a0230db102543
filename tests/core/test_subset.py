"""Which spans a verification takes: parts that share everything out, and those that wait longest."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.subset import Candidate, Part, choose_longest_waiting, choose_part, parse_part, parse_percent

keys = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=40)
parts = st.integers(1, 40).flatmap(lambda of: st.builds(Part, st.integers(1, of), st.just(of)))
shares = st.fractions(min_value=Fraction(1, 200), max_value=1).filter(bool)


def candidates_of(rows: st.SearchStrategy[int]) -> st.SearchStrategy[list[Candidate]]:
    one = st.tuples(st.text(max_size=4), rows, st.integers(0, 20))
    many = st.lists(one, max_size=30, unique_by=lambda fields: fields[0])
    return many.map(lambda all_fields: [Candidate(*fields) for fields in all_fields])


def named(names: list[str]) -> list[Candidate]:
    return [Candidate(name, 1000, 0) for name in names]


def chosen_keys(candidates: list[Candidate], part: Part) -> set[str]:
    return {candidates[i].key for i in choose_part(candidates, part)}


@pytest.mark.parametrize(
    ("text", "part"),
    [("3/30", Part(3, 30)), ("1/1", Part(1, 1)), ("30/30", Part(30, 30)), ("03/7", Part(3, 7))],
)
def test_a_part_is_written_as_number_and_total(text: str, part: Part) -> None:
    assert parse_part(text) == part


@given(parts)
def test_every_part_reads_back_as_it_is_written(part: Part) -> None:
    assert parse_part(f"{part.number}/{part.of}") == part


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "3", "3/", "/30", "0/30", "31/30", "-1/30", "3/-30", "0/0", "3.0/30", "3/30/1", "a/b", "3 of 30"),
        *(" 3/30", "3/30 ", "3 / 30", "+3/30", "³/30", "٣/30", "3/٣", "1_0/30", "3\\30", "1/10000000"),
    ],
)
def test_anything_else_is_no_part(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write n/t with n from 1 to t, such as 3/30"):
        parse_part(text)


@given(st.text(max_size=12) | st.from_regex(r"[0-9/]{0,12}", fullmatch=True))
def test_a_part_is_read_or_refused_with_a_configuration_error(text: str) -> None:
    try:
        part = parse_part(text)
    except ConfigurationError:
        return
    assert 1 <= part.number <= part.of


@pytest.mark.parametrize("text", ["9" * 5000 + "/30", "3/" + "9" * 5000, "x" * 5000])
def test_an_endless_part_is_refused_with_a_short_message(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_part(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("4", Fraction(1, 25)),
        ("4%", Fraction(1, 25)),
        ("2.5", Fraction(1, 40)),
        ("0.001", Fraction(1, 100_000)),
        ("100", Fraction(1)),
        ("100%", Fraction(1)),
    ],
)
def test_a_percentage_is_an_exact_share(text: str, share: Fraction) -> None:
    assert parse_percent(text) == share


@pytest.mark.parametrize(
    "text",
    [
        *("", "%", "4%%", "0", "0%", "0.0", "-4", "100.001", "101", "1000", "four", "4,5", "nan", "inf", "-inf", "1/0"),
        "9" * 5000,
    ],
)
def test_a_percentage_is_above_0_and_at_most_100(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write a number above 0, at most 100") as refused:
        parse_percent(text)
    assert len(str(refused.value)) < 200


@given(st.text("0123456789.,%-+/ x", max_size=8))
def test_a_percentage_is_read_or_refused_with_a_configuration_error(text: str) -> None:
    try:
        share = parse_percent(text)
    except ConfigurationError:
        return
    assert 0 < share <= 1


@given(keys, st.integers(1, 40))
def test_every_span_is_in_exactly_one_part(names: list[str], of: int) -> None:
    candidates = named(names)
    taken = Counter(i for number in range(1, of + 1) for i in choose_part(candidates, Part(number, of)))
    assert taken == Counter(range(len(names)))


@given(keys, keys, parts)
def test_a_span_stays_in_its_part_when_others_come_and_go(names: list[str], others: list[str], part: Part) -> None:
    both = named(list(dict.fromkeys([*others, *names])))
    assert chosen_keys(both, part) & set(names) == chosen_keys(named(names), part)


@given(candidates_of(st.integers(0, 1000)), parts)
def test_rows_and_waiting_do_not_move_a_span_to_another_part(candidates: list[Candidate], part: Part) -> None:
    changed = [replace(one, rows=one.rows + 7, waiting_since_ms=one.waiting_since_ms + 1) for one in candidates]
    assert choose_part(changed, part) == choose_part(candidates, part)


def test_the_only_part_of_one_is_everything() -> None:
    assert choose_part(named(["a", "b", "c"]), Part(1, 1)) == [0, 1, 2]
    assert choose_part([], Part(1, 1)) == []


def test_parts_are_the_same_on_every_machine_and_in_every_release() -> None:
    days = named([f"BTCUSDT/1m/2024-01-{day:02d}" for day in range(1, 32)])
    assert choose_part(days, Part(3, 5)) == [1, 3, 6, 8, 26, 28, 29]


@pytest.mark.parametrize("of", [2, 7, 30])
def test_parts_are_roughly_even(of: int) -> None:
    spans = named([f"{symbol}/1m/day {day}" for symbol in ("BTCUSDT", "um:ETHUSDT") for day in range(1500)])
    sizes = [len(choose_part(spans, Part(number, of))) for number in range(1, of + 1)]
    even = len(spans) / of
    assert max(abs(size - even) for size in sizes) < 5 * math.sqrt(even)


def test_the_longest_waiting_spans_make_up_the_share() -> None:
    waiting = [Candidate("young", 500, 30), Candidate("old", 200, 10), Candidate("middle", 300, 20)]
    assert choose_longest_waiting(waiting, Fraction(1, 5)) == [1]
    assert choose_longest_waiting(waiting, Fraction(1, 2)) == [1, 2]
    assert choose_longest_waiting(waiting, Fraction(51, 100)) == [0, 1, 2]


def test_at_least_one_span_is_taken_however_small_the_share() -> None:
    assert choose_longest_waiting([Candidate("a", 10**9, 5), Candidate("b", 1, 6)], Fraction(1, 10**9)) == [0]
    assert choose_longest_waiting([Candidate("empty", 0, 5)], Fraction(1, 100)) == [0]
    assert choose_longest_waiting([], Fraction(1)) == []


@given(candidates_of(st.integers(0, 1000)), shares)
def test_nothing_that_is_left_out_waits_longer_than_what_is_taken(candidates: list[Candidate], share: Fraction) -> None:
    chosen = choose_longest_waiting(candidates, share)
    left = set(range(len(candidates))) - set(chosen)
    assert chosen == sorted(set(chosen))
    assert bool(chosen) == bool(candidates)
    assert all(candidates[i].waiting_since_ms <= candidates[j].waiting_since_ms for i in chosen for j in left)


@given(candidates_of(st.integers(1, 1000)), shares)
def test_what_is_taken_reaches_the_share_and_not_without_its_last_span(
    candidates: list[Candidate], share: Fraction
) -> None:
    chosen = choose_longest_waiting(candidates, share)
    wanted = share * sum(one.rows for one in candidates)
    assert sum(candidates[i].rows for i in chosen) >= wanted
    if len(chosen) > 1:
        last = max(chosen, key=lambda i: (candidates[i].waiting_since_ms, candidates[i].key))
        assert sum(candidates[i].rows for i in chosen if i != last) < wanted


@given(candidates_of(st.integers(0, 1000)), shares, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_spans(
    candidates: list[Candidate], share: Fraction, random: Random
) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    one, other = ({some[i].key for i in choose_longest_waiting(some, share)} for some in (candidates, shuffled))
    assert one == other


@given(candidates_of(st.integers(1, 1000)), shares)
def test_runs_come_round_to_every_span_in_one_over_the_share(candidates: list[Candidate], share: Fraction) -> None:
    visited: set[int] = set()
    for run in range(math.ceil(1 / share)):
        chosen = choose_longest_waiting(candidates, share)
        visited |= set(chosen)
        for i in chosen:
            candidates[i] = replace(candidates[i], waiting_since_ms=100 + run)
    assert visited == set(range(len(candidates)))


def test_4_percent_a_day_come_round_in_25_days() -> None:
    candidates = [Candidate(f"day {number:03d}", 1440, 0) for number in range(1000)]
    visits: Counter[int] = Counter()
    for run in range(1, 26):
        chosen = choose_longest_waiting(candidates, parse_percent("4"))
        visits.update(chosen)
        candidates = [replace(c, waiting_since_ms=run) if i in chosen else c for i, c in enumerate(candidates)]
    assert visits == Counter(range(1000))


@given(candidates_of(st.integers(0, 3)))
def test_100_percent_are_all_spans_those_without_candles_too(candidates: list[Candidate]) -> None:
    assert choose_longest_waiting(candidates, parse_percent("100")) == list(range(len(candidates)))
