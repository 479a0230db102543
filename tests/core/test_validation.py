"""What is refused before it can be stored, and with which words."""

from __future__ import annotations

import re
from random import Random

import pytest
from candles import validate
from core_samples import FIRST_HOUR, batch, batch_at, real_rows, row
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch
from core.columns import DECIMAL_COLUMNS, SCHEMA
from core.errors import UnusableAnswer
from core.times import MS_PER_HOUR
from core.validation import without_impossible

ONE_OF_BTCUSD_PERP = {  # COIN-M, 2022-10-24: volumes are contracts, whole numbers
    **{"open": "19560.7", "high": "19566.7", "low": "19555.5", "close": "19556.2", "volume": "19431"},
    **{"quote_volume": "99.33183109", "trades": 425, "taker_buy_volume": "9916"},
    **{"taker_buy_quote_volume": "50.69336469"},
}
WITHOUT_TRADES = {
    **dict.fromkeys(("open", "high", "low", "close"), "41732.35000000"),
    **dict.fromkeys(("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"), "0.00000000"),
    "trades": 0,
}


def refusal(candles: CandleBatch) -> str:
    with pytest.raises(UnusableAnswer) as refused:
        validate(candles)
    return str(refused.value)


def is_accepted(candles: CandleBatch) -> bool:
    """Whether every candle is kept, as it was given."""
    kept = without_impossible(candles)
    return kept.unusable == () and kept.columns.equals(candles.columns)


def test_real_candles_are_accepted() -> None:
    assert is_accepted(batch(*real_rows()))
    assert is_accepted(batch(row(1666569600000, **ONE_OF_BTCUSD_PERP)))


def test_a_candle_without_trades_is_accepted() -> None:
    assert is_accepted(batch(row(**WITHOUT_TRADES)))


def test_an_empty_batch_is_accepted() -> None:
    assert is_accepted(CandleBatch.empty())


def test_candles_off_the_grid_and_with_holes_are_accepted() -> None:
    assert is_accepted(batch_at(FIRST_HOUR + 14_789, FIRST_HOUR + 5 * MS_PER_HOUR))


@pytest.mark.parametrize("value", ["0.00000001", "9" * 20, "1." + "0" * 17 + "1"])
def test_the_smallest_and_the_largest_prices_are_accepted(value: str) -> None:
    assert is_accepted(batch(row(**dict.fromkeys(("open", "high", "low", "close"), value))))


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_missing_value_is_refused(name: str) -> None:
    changes = {"open_time": FIRST_HOUR, name: None}
    assert refusal(batch(row(**changes))).startswith(f"impossible candle, {name} is missing: open_time=")


@pytest.mark.parametrize("name", DECIMAL_COLUMNS)
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "nan",
        "inf",
        "-1",
        "+1",
        "1e5",
        "1E-8",
        "",
        " ",
        " 1",
        "1 ",
        "1\n",
        ".5",
        "5.",
        "1,5",
        "1_000",
        "0x10",
        "007",
        "1.2.3",
        "null",
        "１",
        "٣",
        "9" * 21,
        "1." + "0" * 19,
        "1;drop",
    ],
)
def test_anything_but_a_plain_decimal_is_refused(name: str, value: str) -> None:
    message = refusal(batch(row(**{name: value})))
    assert message.startswith(f"impossible candle, {name} is not a plain decimal number: open_time=1705276800000 ")
    assert f"{name}={value}" in message


@given(
    st.lists(
        st.one_of(
            st.from_regex(r"[0-9]{0,21}(\.[0-9]{0,19})?", fullmatch=True),
            st.text("0123456789..-+eE \n\u0663", max_size=6),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_first_text_that_is_no_plain_decimal_is_named(volumes: list[str]) -> None:
    candles = batch(*(row(number, volume=volume) for number, volume in enumerate(volumes)))
    plain = re.compile(r"(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?")
    bad = [number for number, volume in enumerate(volumes) if not plain.fullmatch(volume)]
    if bad:
        assert f"volume is not a plain decimal number: open_time={bad[0]} " in refusal(candles)
    else:
        validate(candles)


@pytest.mark.parametrize("low", ["0", "0.00000000"])
def test_a_price_of_zero_is_refused(low: str) -> None:
    assert refusal(batch(row(low=low))).startswith("impossible candle, a price is not above zero: open_time=")


@pytest.mark.parametrize(
    "changes",
    [
        {"high": "41717", "low": "41718"},
        {"high": "42279.74999999"},  # close is 42279.75
        {"low": "41732.35000001"},  # open is 41732.35
        {"open": "42353.94000001"},
        {"close": "41718.04999999"},
    ],
)
def test_prices_outside_low_to_high_are_refused_to_the_last_digit(changes: dict[str, str]) -> None:
    assert refusal(batch(row(**changes))).startswith("impossible candle, open or close lies outside low..high: ")


def test_numbers_are_compared_as_numbers_not_as_text() -> None:
    assert is_accepted(batch(row(open="9.5", low="9", high="10.00", close="10")))


@pytest.mark.parametrize("trades", [-1, 2**31, 2**62])
def test_an_impossible_number_of_trades_is_refused(trades: int) -> None:
    message = refusal(batch(row(trades=trades)))
    assert message.startswith("impossible candle, trades is outside 0..2147483647: ")
    assert f"trades={trades} " in message


def test_the_largest_number_of_trades_is_accepted() -> None:
    assert is_accepted(batch(row(trades=2**31 - 1)))


def test_doubled_candles_are_refused() -> None:
    assert refusal(batch_at(FIRST_HOUR, FIRST_HOUR)) == (
        "candles are doubled or out of order: 2024-01-15 follows 2024-01-15"
    )


def test_unsorted_candles_are_refused() -> None:
    assert refusal(batch_at(FIRST_HOUR, FIRST_HOUR + 2 * MS_PER_HOUR, FIRST_HOUR + MS_PER_HOUR)) == (
        "candles are doubled or out of order: 2024-01-15T01:00Z follows 2024-01-15T02:00Z"
    )


def test_the_first_impossible_candle_is_named() -> None:
    message = refusal(batch(row(1), row(2, volume="-1"), row(3, volume="-2")))
    assert "open_time=2 " in message


def test_batches_of_several_pieces_are_checked_across_their_joints() -> None:
    pieces = CandleBatch.concat([batch_at(1, 2), batch_at(2, 3)])
    assert refusal(pieces).startswith("candles are doubled")
    loose = CandleBatch.concat([batch_at(1), batch(row(2, volume="-1"))])
    assert "open_time=2 " in refusal(loose)


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=20), st.randoms())
def test_only_the_ascending_order_is_accepted(open_times: set[int], random: Random) -> None:
    ascending = sorted(open_times)
    shuffled = ascending.copy()
    random.shuffle(shuffled)
    validate(batch_at(*ascending))
    if shuffled != ascending:
        refusal(batch_at(*shuffled))
