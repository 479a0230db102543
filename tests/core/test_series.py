"""How users write a series, and how its table and its files are named."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.instrument import ExchangeName, Instrument, Market
from core.intervals import INTERVALS
from core.series import Series, SeriesNotation, make_series, parse_interval, parse_series, split_notation, suggest

_OWN = ("ledger", "migrations", "stage", "gaps", "corrections", "weight")
OWN_TABLES = {"ohlcv", *(f"ohlcv_{name}" for name in _OWN)}
FUTURES_INTERVALS = "1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w, 1M"


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        parse_series(text)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "market", "symbol", "code"),
    [
        ("BTCUSDT", "spot", "BTCUSDT", "1m"),
        ("btcusdt", "spot", "BTCUSDT", "1m"),
        (" BTCUSDT ", "spot", "BTCUSDT", "1m"),
        ("spot:BTCUSDT", "spot", "BTCUSDT", "1m"),
        ("BTCUSDT/1h", "spot", "BTCUSDT", "1h"),
        ("BTCUSDT-1h", "spot", "BTCUSDT", "1h"),
        ("BTCUSDT-1M", "spot", "BTCUSDT", "1M"),
        ("BTCUSDT/1s", "spot", "BTCUSDT", "1s"),
        ("um:BTCUSDT/5m", "um", "BTCUSDT", "5m"),
        ("um:BTCUSDT_230630-1h", "um", "BTCUSDT_230630", "1h"),
        ("cm:BTCUSD_PERP/1d", "cm", "BTCUSD_PERP", "1d"),
        ("币安人生USDT/1h", "spot", "币安人生USDT", "1h"),
        ("1000SATSUSDT", "spot", "1000SATSUSDT", "1m"),
    ],
)
def test_every_notation_names_its_series(text: str, market: str, symbol: str, code: str) -> None:
    assert parse_series(text) == Series(Instrument(ExchangeName.BINANCE, Market(market), symbol), INTERVALS[code])


def test_a_series_that_does_not_say_its_interval_gets_the_default() -> None:
    assert parse_series("BTCUSDT", "4h") == make_series("spot", "BTCUSDT", "4h")
    assert parse_series("BTCUSDT/1m", "4h") == make_series("spot", "BTCUSDT", "1m")


@pytest.mark.parametrize(
    ("text", "notation"),
    [
        ("BTCUSDT", SeriesNotation(None, "BTCUSDT", None)),
        ("*USDT", SeriesNotation(None, "*USDT", None)),
        ("*usdt/1d", SeriesNotation(None, "*USDT", "1d")),
        ("um:*USDT-1h", SeriesNotation("um", "*USDT", "1h")),
        ("cm:BTCUSD_??????", SeriesNotation("cm", "BTCUSD_??????", None)),
        ("*", SeriesNotation(None, "*", None)),
    ],
)
def test_notations_are_split_into_what_was_said(text: str, notation: SeriesNotation) -> None:
    assert split_notation(text) == notation
    assert notation.is_pattern == ("*" in text or "?" in text)


@given(
    st.sampled_from(Market),
    st.from_regex(r"[A-Z0-9]{1,12}(_[A-Z0-9]{1,6})?", fullmatch=True),
    st.sampled_from(list(INTERVALS)),
    st.sampled_from("/-"),
)
def test_what_a_series_prints_parses_to_the_same_series(market: Market, symbol: str, code: str, joint: str) -> None:
    if code == "1s":
        market = Market.SPOT
    series = make_series(market, symbol, code)
    assert parse_series(str(series)) == parse_series(f"{market}:{symbol}{joint}{code}") == series


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eu:BTCUSDT", "unknown market 'eu': allowed are spot, um, cm"),
        ("UM:BTCUSDT", "unknown market 'UM': allowed are spot, um, cm"),
        (":BTCUSDT", "unknown market '': allowed are spot, um, cm"),
        ("BTCUSDT/7m", f"interval '7m' is not offered on market spot: allowed are 1s, {FUTURES_INTERVALS}"),
        ("BTCUSDT/1H", f"interval '1H' is not offered on market spot: allowed are 1s, {FUTURES_INTERVALS}"),
        ("BTCUSDT/", f"interval '' is not offered on market spot: allowed are 1s, {FUTURES_INTERVALS}"),
        ("um:BTCUSDT/1s", f"interval 1s does not exist on market um: allowed are {FUTURES_INTERVALS}"),
        ("cm:BTCUSD_PERP/1s", f"interval 1s does not exist on market cm: allowed are {FUTURES_INTERVALS}"),
        ("*USDT", "'*USDT' is a pattern, not one series"),
    ],
)
def test_a_wrong_notation_is_named_with_what_is_allowed(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "um:",
        "BTC USDT",
        "BTC,USDT",
        "BTC+USDT",
        "BTC..USDT",
        "-",
        ".",
        "BTCUSDT.",
        "A.B",
        "BTCUSDT-7m",
        "BTCUSDT-1H",
    ],
)
def test_what_is_no_symbol_is_named_with_an_example(text: str) -> None:
    message = refusal(text)
    shown = text.strip().removeprefix("um:")
    assert message.startswith(f"{shown!r} is not a symbol: letters, digits and _ such as BTCUSDT or BTCUSD_PERP")


@pytest.mark.parametrize(
    "text",
    [
        "BTC'USDT",
        'BTC"USDT',
        "BTCUSDT;drop table symbols",
        "BTCUSDT--",
        "BTC\nUSDT",
        "BTC\rUSDT",
        "BTC\tUSDT",
        "BTC\0USDT",
        "BTC\u2028USDT",
        "BTC\u200bUSDT",
        "BTC\ud800USDT",
        "../../etc/passwd",
        "..\\..\\windows",
        "~root",
        "$(id)",
        "%2e%2e",
        "BTCUSDT?limit=1",
        "BTCUSDT&limit=1",
        "BTCUSDT#",
        "x" * 51,
        "x" * 10_000,
        "*" * 10_000,
        "a." * 5_000,
    ],
)
@pytest.mark.parametrize("market", ["", "um:"])
def test_injection_attempts_are_refused(market: str, text: str) -> None:
    assert len(refusal(market + text)) < 400


@pytest.mark.parametrize("symbol", ["BTCUSDT\n", "BTCUSDT ", "*USDT", "BTCUSDT/1h", "um:BTCUSDT", "", "x" * 10_000])
def test_make_series_takes_bare_symbols_only(symbol: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a symbol"):
        make_series("spot", symbol, "1m")


@given(st.text(max_size=60))
def test_any_text_is_a_series_or_a_configuration_error(text: str) -> None:
    try:
        series = parse_series(text)
    except ConfigurationError:
        return
    assert set(series.table_name).isdisjoint("\"';/\\ \n\r\t\0")
    assert set(series.file_stem).isdisjoint("\"';/\\: \n\r\t\0")


def test_candles_of_one_second_exist_on_spot_only() -> None:
    assert parse_interval("1s", Market.SPOT, ExchangeName.BINANCE) is INTERVALS["1s"]
    for market in (Market.UM, Market.CM):
        with pytest.raises(ConfigurationError, match="interval 1s does not exist on market"):
            parse_interval("1s", market, ExchangeName.BINANCE)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("BTCUSDT", "ohlcv_btcusdt"),
        ("BTCUSDT/1h", "ohlcv_btcusdt_1h"),
        ("BTCUSDT/1M", "ohlcv_btcusdt_1mo"),
        ("um:BTCUSDT", "ohlcv_um_btcusdt"),
        ("um:BTCUSDT/1M", "ohlcv_um_btcusdt_1mo"),
        ("um:BTCUSDT_230630/5m", "ohlcv_um_btcusdt_230630_5m"),
        ("cm:BTCUSD_PERP", "ohlcv_cm_btcusd_perp"),
        ("cm:BTCUSD_PERP/1d", "ohlcv_cm_btcusd_perp_1d"),
    ],
)
def test_tables_have_the_documented_names(text: str, table: str) -> None:
    assert parse_series(text).table_name == table


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("LEDGER", "ohlcv_ledger__"),
        ("STAGE", "ohlcv_stage__"),
        ("MIGRATIONS", "ohlcv_migrations__"),
        ("UM", "ohlcv_um__"),
        ("UM_X", "ohlcv_um_x__"),
        ("um:X_1H", "ohlcv_um_x_1h__"),
        ("um:1H", "ohlcv_um_1h__"),
    ],
)
def test_a_name_that_could_be_read_otherwise_gets_a_hash(text: str, start: str) -> None:
    table = parse_series(text).table_name
    assert table.startswith(start)
    assert len(table) == len(start) + 12


def test_a_table_name_does_not_change_from_release_to_release() -> None:
    assert parse_series("LEDGER").table_name == "ohlcv_ledger__5e13feb16f8a"


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("BTCUSDT", "spot_BTCUSDT_1m"),
        ("BTCUSDT/1M", "spot_BTCUSDT_1mo"),
        ("um:BTCUSDT/1h", "um_BTCUSDT_1h"),
        ("cm:BTCUSD_PERP/1d", "cm_BTCUSD_PERP_1d"),
    ],
)
def test_files_are_named_by_market_symbol_and_interval(text: str, stem: str) -> None:
    assert parse_series(text).file_stem == stem


words = st.sampled_from(
    [
        "BTCUSDT",
        "X",
        "LEDGER",
        "GAPS",
        "STAGE",
        "MIGRATIONS",
        "CORRECTIONS",
        "UM",
        "CM",
        "SPOT",
        "OHLCV",
        "PERP",
        "1H",
        "1M",
        "1MO",
        "1m",
        "5M",
        "1D",
        "币安",
        "Ж",
        "ß",
        "É",
        "Σ",
        "A" * 20,
        "币" * 15,
    ]
)
hostile_symbols = st.lists(words | st.just(""), min_size=1, max_size=4).map("_".join)
odd_symbols = st.text(st.sampled_from("AZ09_.-1HMO币ЖÉΣς"), min_size=1, max_size=50)


def series_or_none(market: str, symbol: str, code: str) -> Series | None:
    try:
        return make_series(market, symbol, code)
    except ConfigurationError:
        return None


any_series = st.builds(
    series_or_none,
    st.sampled_from(["spot", "um", "cm"]),
    hostile_symbols | odd_symbols,
    st.sampled_from(["1m", "1M", "1h", "5m", "1d"]) | st.sampled_from(list(INTERVALS)),
).filter(lambda series: series is not None)


@given(st.lists(any_series, min_size=2, max_size=30))
def test_different_series_share_neither_table_nor_file(several: list[Series]) -> None:
    different = set(several)
    assert len({series.table_name.casefold() for series in different}) == len(different)
    assert len({series.file_stem.lower() for series in different}) == len(different)


def test_series_made_to_collide_do_not() -> None:
    symbols = ["X", "X_1H", "X_1M", "X_1MO", "1H", "UM", "UM_X", "UM_X_1H", "UM_1H", "CM", "CM_X", "_X", "X_", "X__1H"]
    symbols += ["LEDGER", "UM_LEDGER", "SPOT", "SPOT_X", "OHLCV", "STAGE", "A" * 50, "A" * 49, "A" * 49 + "B"]
    every = [
        series
        for market in ("spot", "um", "cm")
        for symbol in symbols
        for code in INTERVALS
        if (series := series_or_none(market, symbol, code)) is not None
    ]
    assert len({series.table_name.casefold() for series in every}) == len(every)
    assert len({series.file_stem.casefold() for series in every}) == len(every)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("um:K", "um:\u212a"),  # the Kelvin sign is a k in lower case
        ("um:Å", "um:\u212b"),  # the Angstrom sign is an å
        ("um:Ω", "um:\u2126"),
        ("um:Θ", "um:\u03f4"),
        ("um:SS", "um:\u1e9e"),
    ],
)
def test_symbols_that_are_alike_in_lower_case_have_their_own_tables(first: str, second: str) -> None:
    assert parse_series(first).table_name.casefold() != parse_series(second).table_name.casefold()


@pytest.mark.parametrize("text", ["um:X_1H", "um:1H", "UM", "UM_X", "cm:X__Y"])
def test_a_symbol_made_of_anothers_hashed_name_has_its_own_table(text: str) -> None:
    hashed = parse_series(text).table_name
    for market in ("um", "cm"):
        copycat = hashed.removeprefix(f"ohlcv_{market}_")
        assert parse_series(f"{market}:{copycat}").table_name != hashed


@given(any_series)
@example(make_series("um", "币" * 50, "1M"))
@example(make_series("spot", "LEDGER", "1m"))
def test_a_table_name_fits_postgresql_and_is_none_of_our_own(series: Series) -> None:
    assert len(series.table_name.encode()) <= 63
    assert series.table_name.startswith("ohlcv_")
    assert series.table_name.casefold() not in OWN_TABLES
    assert len(series.file_stem.encode()) <= 220


def test_the_nearest_known_word_is_suggested() -> None:
    assert suggest("simbol", ["symbol", "market"]) == " (did you mean symbol?)"
    assert suggest("xyz", ["symbol", "market"]) == ""
