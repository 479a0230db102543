"""From what the operator wrote to the series of a run."""

from __future__ import annotations

import pytest

from core.errors import ConfigurationError
from core.instrument import Market
from core.series import parse_series
from core.times import parse_time
from core.wanted import Wanted, WantedPattern, WantedSeries, odd_names, resolve

SPOT = ["BTCUSDT", "ETHUSDT", "ETHBTC", "BTCUPUSDT", "BTCDOWNUSDT", "币安人生USDT"]
UM = ["BTCUSDT", "BTCUSDT_230630", "1000SHIBUSDT"]
SYMBOLS = {Market.SPOT: SPOT, Market.UM: UM}
START, END = parse_time("2023-01-01"), parse_time("2024-01-01")


def pattern(text: str, interval: str = "1m", market: Market = Market.SPOT) -> WantedPattern:
    return WantedPattern(market, text, interval)


def one(text: str) -> WantedSeries:
    return WantedSeries(parse_series(text))


def names(*entries: WantedSeries | WantedPattern, exclude: tuple[str, ...] = ()) -> list[str]:
    return [str(found.series) for found in resolve(Wanted(entries, exclude), SYMBOLS)]


def refusal(*entries: WantedSeries | WantedPattern, exclude: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigurationError) as refused:
        resolve(Wanted(entries, exclude), SYMBOLS)
    return str(refused.value)


def test_series_keep_the_order_in_which_they_are_written() -> None:
    assert names(one("ETHUSDT/1h"), one("um:BTCUSDT"), one("BTCUSDT")) == ["ETHUSDT/1h", "um:BTCUSDT/1m", "BTCUSDT/1m"]


def test_a_pattern_becomes_the_symbols_it_matches_in_the_exchanges_order() -> None:
    assert names(pattern("ETH*")) == ["ETHUSDT/1m", "ETHBTC/1m"]
    assert names(pattern("???USDT", "1d")) == ["BTCUSDT/1d", "ETHUSDT/1d"]
    assert names(pattern("*人生*")) == ["币安人生USDT/1m"]


def test_a_pattern_looks_at_its_own_market_only() -> None:
    assert names(pattern("BTC*", "5m", Market.UM)) == ["um:BTCUSDT/5m", "um:BTCUSDT_230630/5m"]


def test_a_pattern_matches_whole_symbols() -> None:
    assert names(pattern("*BTC")) == ["ETHBTC/1m"]


def test_excluded_symbols_are_left_out() -> None:
    assert names(pattern("BTC*"), exclude=("*UPUSDT", "*DOWNUSDT")) == ["BTCUSDT/1m"]


def test_an_exclude_does_not_touch_a_series_named_outright() -> None:
    found = names(one("BTCUPUSDT"), pattern("*USDT"), exclude=("*UPUSDT", "*DOWNUSDT", "币*"))
    assert found == ["BTCUPUSDT/1m", "BTCUSDT/1m", "ETHUSDT/1m"]


@pytest.mark.parametrize("outright_first", [True, False])
def test_a_series_named_outright_wins_over_the_pattern_that_brings_it_in(outright_first: bool) -> None:
    outright = WantedSeries(parse_series("ETHUSDT"), START, END, active=False)
    entries = (outright, pattern("*USDT")) if outright_first else (pattern("*USDT"), outright)
    found = resolve(Wanted(entries), SYMBOLS)
    assert [entry for entry in found if entry.series.symbol == "ETHUSDT"] == [outright]
    assert len(found) == 5


def test_another_interval_is_another_series() -> None:
    assert names(one("ETHUSDT/1h"), pattern("ETHU*")) == ["ETHUSDT/1h", "ETHUSDT/1m"]


def test_what_two_patterns_bring_in_comes_once_as_the_first_says() -> None:
    first = WantedPattern(Market.SPOT, "ETH*", "1m", START)
    found = resolve(Wanted((first, pattern("*BTC"))), SYMBOLS)
    assert [(entry.series.symbol, entry.start_ms) for entry in found] == [("ETHUSDT", START), ("ETHBTC", START)]


def test_a_patterns_range_and_activity_go_to_its_series() -> None:
    wanted = Wanted((WantedPattern(Market.SPOT, "*BTC", "1h", START, END, active=False),))
    assert resolve(wanted, SYMBOLS) == [WantedSeries(parse_series("ETHBTC/1h"), START, END, active=False)]


def test_a_series_named_outright_twice_is_refused_before_any_list_is_read() -> None:
    with pytest.raises(ConfigurationError, match="series BTCUSDT/1m is listed twice"):
        Wanted((one("BTCUSDT"), one("spot:btcusdt")))
    assert refusal(one("BTCUSDT/1h"), one("ETHBTC"), one("BTCUSDT-1h")) == "series BTCUSDT/1h is listed twice"


def test_a_pattern_without_a_match_is_refused() -> None:
    assert refusal(pattern("*XYZ")) == "pattern '*XYZ' matches none of the 6 symbols of market spot"


def test_a_pattern_whose_matches_are_all_excluded_is_refused_with_the_reason() -> None:
    assert refusal(pattern("*BTC"), exclude=("ETH*",)) == (
        "pattern '*BTC' matches none of the 6 symbols of market spot that are not excluded"
    )


def test_only_the_markets_of_patterns_need_a_list() -> None:
    wanted = Wanted((one("BTCUSDT"), one("cm:BTCUSD_PERP"), pattern("*", "1m", Market.UM)))
    assert wanted.pattern_markets == {Market.UM}
    assert resolve(Wanted((one("BTCUSDT"),)), {}) == [one("BTCUSDT")]


@pytest.mark.parametrize("end", [START, START - 1])
def test_an_end_that_is_not_after_the_start_is_refused(end: int) -> None:
    with pytest.raises(ConfigurationError, match=r"BTCUSDT/1m: end .* is not after start 2023-01-01"):
        WantedSeries(parse_series("BTCUSDT"), START, end)
    with pytest.raises(ConfigurationError, match=r"\*USDT: end .* is not after start 2023-01-01"):
        WantedPattern(Market.SPOT, "*USDT", "1m", START, end)


def test_names_that_cannot_be_kept_are_skipped_and_named() -> None:
    symbols = {Market.SPOT: [*SPOT, "DOGE🐕USDT", "A-BUSDT", "A.BUSDT", "lowUSDT", "X" * 51 + "USDT"]}
    wanted = Wanted((pattern("*USDT"),), exclude=("A.*",))
    found = [str(one.series) for one in resolve(wanted, symbols)]
    assert found == ["BTCUSDT/1m", "ETHUSDT/1m", "BTCUPUSDT/1m", "BTCDOWNUSDT/1m", "币安人生USDT/1m"]
    odd = {"spot:A-BUSDT", "spot:DOGE🐕USDT", "spot:lowUSDT", f"spot:{'X' * 51}USDT"}
    assert set(odd_names(wanted, symbols)) == odd


def test_a_pattern_takes_series_of_the_catalog_that_the_exchange_no_longer_lists() -> None:
    gone = [parse_series(text) for text in ("um:GONEUSDT/5m", "um:GONEUSDT/1h", "GONEUSDT/5m", "um:OUTUSDT/5m")]
    wanted = Wanted((pattern("*USDT", "5m", Market.UM),), exclude=("OUT*",))
    found = [str(one.series) for one in resolve(wanted, SYMBOLS, gone)]
    assert found == ["um:BTCUSDT/5m", "um:1000SHIBUSDT/5m", "um:GONEUSDT/5m"]
