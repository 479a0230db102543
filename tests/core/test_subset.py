"""How an operator writes a part or a share of what is to be verified."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.subset import Part, parse_part, parse_percent

parts = st.integers(1, 40).flatmap(lambda of: st.builds(Part, st.integers(1, of), st.just(of)))


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
