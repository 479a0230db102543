"""symbols.yml: what it can say, and what is said of every mistake in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from config.settings import PROJECT_ROOT
from config.symbols import load_symbols_file, parse_arguments, parse_symbols
from core.errors import ConfigurationError
from core.instrument import Market
from core.series import parse_series
from core.times import parse_time
from core.wanted import Wanted, WantedPattern, WantedSeries

ENTRY_KEYS = "symbol, interval, intervals, market, start, end, active, streams"
FUTURES_INTERVALS = "1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w, 1M"


def read(text: str, default_interval: str = "1m", start_ms: int | None = None, end_ms: int | None = None) -> Wanted:
    return parse_symbols(yaml.safe_load(text), "symbols.yml", default_interval, start_ms, end_ms)


def entries(text: str) -> list[str]:
    return [f"{entry.series}" for entry in read(text).entries if isinstance(entry, WantedSeries)]


def one(text: str) -> WantedSeries:
    (entry,) = read(text).entries
    assert isinstance(entry, WantedSeries)
    return entry


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    return str(refused.value)


@pytest.fixture
def symbols_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "symbols.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_file_as_shipped() -> None:
    wanted = load_symbols_file(PROJECT_ROOT / "symbols.yml", "1m", None, None)
    shipped = [(str(e.series), e.start_ms) for e in wanted.entries if isinstance(e, WantedSeries)]
    assert [series for series, _ in shipped] == ["BTCUSDT/1m", "ETHUSDT/1h", "BTCUSDT/1d"]
    assert all(start_ms is not None for _, start_ms in shipped)  # bounded, so that a first run ends soon
    assert wanted.exclude == ()


def commented_examples() -> list[str]:
    comments = (PROJECT_ROOT / "symbols.yml").read_text(encoding="utf-8")
    return re.findall(r"^#   - (.+?)(?:\s+#.*)?$", comments, re.MULTILINE)


def test_every_example_in_the_comments_of_the_shipped_file_can_be_used() -> None:
    examples = commented_examples()
    assert len(examples) >= 5
    for text in examples:
        assert read(f"symbols:\n  - {text}").entries


def test_a_list_of_names() -> None:
    assert entries("symbols: [BTCUSDT, ethusdt, 1000SATSUSDT]") == ["BTCUSDT/1m", "ETHUSDT/1m", "1000SATSUSDT/1m"]


def test_every_notation() -> None:
    text = "symbols: [BTCUSDT/1h, BTCUSDT-4h, um:BTCUSDT/5m, cm:BTCUSD_PERP/1d, 币安人生USDT]"
    assert entries(text) == ["BTCUSDT/1h", "BTCUSDT/4h", "um:BTCUSDT/5m", "cm:BTCUSD_PERP/1d", "币安人生USDT/1m"]


def test_defaults_hold_where_an_entry_does_not_say() -> None:
    text = "defaults: {market: um, interval: 5m}\nsymbols: [BTCUSDT, ETHUSDT/1h, spot:BNBUSDT, {symbol: X, market: cm}]"
    assert entries(text) == ["um:BTCUSDT/5m", "um:ETHUSDT/1h", "BNBUSDT/5m", "cm:X/5m"]


def test_several_intervals_are_several_series() -> None:
    assert entries("symbols: [{symbol: BTCUSDT, market: um, intervals: [1m, 1h, 1M]}]") == [
        "um:BTCUSDT/1m",
        "um:BTCUSDT/1h",
        "um:BTCUSDT/1M",
    ]


def test_a_mapping_may_use_the_short_notation_in_its_symbol() -> None:
    found = one("symbols: [{symbol: um:BTCUSDT/1h, start: 2023-01-01, active: false}]")
    assert found == WantedSeries(parse_series("um:BTCUSDT/1h"), parse_time("2023-01-01"), None, active=False)


@pytest.mark.parametrize(
    "written", ["2017-08-17", "'2017-08-17'", "2017-08-17T00:00:00Z", "2017-08-17 00:00:00", "'2017-08-17T00:00'"]
)
def test_dates_may_be_written_with_or_without_quotes(written: str) -> None:
    assert one(f"symbols: [{{symbol: A, start: {written}}}]").start_ms == parse_time("2017-08-17")


def test_the_range_of_an_entry_wins_over_the_files_and_that_over_the_settings() -> None:
    start_ms, end_ms = parse_time("2020-01-01"), parse_time("2025-01-01")
    text = "defaults: {start: 2021-01-01}\nsymbols: [A, {symbol: B, start: 2022-01-01, end: 2023-01-01}]"
    first, second = read(text, "1m", start_ms, end_ms).entries
    assert (first.start_ms, first.end_ms) == (parse_time("2021-01-01"), end_ms)
    assert (second.start_ms, second.end_ms) == (parse_time("2022-01-01"), parse_time("2023-01-01"))
    (plain,) = read("symbols: [A]", "1m", start_ms, end_ms).entries
    assert (plain.start_ms, plain.end_ms) == (start_ms, end_ms)


def test_the_interval_of_the_settings_holds_where_the_file_does_not_say() -> None:
    (entry,) = read("symbols: [A]", "4h").entries
    assert entry == WantedSeries(parse_series("A/4h"))


def test_patterns_and_excludes() -> None:
    wanted = read('symbols: ["*btc", "um:*USDT/1h"]\nexclude: ["*UPUSDT", "*downusdt"]')
    assert wanted.entries == (WantedPattern(Market.SPOT, "*BTC", "1m"), WantedPattern(Market.UM, "*USDT", "1h"))
    assert wanted.exclude == ("*UPUSDT", "*DOWNUSDT")


def test_keys_without_a_value_are_as_if_not_written() -> None:
    assert read("defaults:\nexclude:\nsymbols: [A]") == read("symbols: [A]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "symbol: [A]",
            "symbols.yml: unknown key 'symbol' (did you mean symbols?); allowed are defaults, symbols, exclude",
        ),
        ("colour: 1\nsymbols: [A]", "symbols.yml: unknown key 'colour'; allowed are defaults, symbols, exclude"),
        (
            "defaults: {intervall: 1m}\nsymbols: [A]",
            "symbols.yml, defaults: unknown key 'intervall' (did you mean interval?); "
            "allowed are market, interval, start, end",
        ),
        (
            "symbols: [A, {symbol: B, strat: 2023-01-01}]",
            f"symbols.yml, symbols, entry 2: unknown key 'strat' (did you mean start?); allowed are {ENTRY_KEYS}",
        ),
        ("symbols: [um: A]", f"symbols.yml, symbols, entry 1: unknown key 'um'; allowed are {ENTRY_KEYS}"),
        ("symbols: [{start: 2023-01-01}]", "symbols.yml, symbols, entry 1: a mapping needs the key symbol"),
        ("", "symbols.yml: expected a mapping with the keys defaults, symbols, exclude, found None"),
        ("[A, B]", "symbols.yml: expected a mapping with the keys defaults, symbols, exclude, found ['A', 'B']"),
        (
            "defaults: 1m\nsymbols: [A]",
            "symbols.yml, defaults: expected a mapping with the keys market, interval, start, end, found '1m'",
        ),
        ("exclude: ['*UP']", "symbols.yml, symbols: expected a list, found None"),
        ("symbols: BTCUSDT", "symbols.yml, symbols: expected a list, found 'BTCUSDT'"),
        ("symbols: {BTCUSDT: 1m}", "symbols.yml, symbols: expected a list, found {'BTCUSDT': '1m'}"),
        ("symbols: [A]\nexclude: '*UP'", "symbols.yml, exclude: expected a list, found '*UP'"),
        ("symbols: []", "symbols.yml: symbols is empty; name at least one, such as BTCUSDT"),
        ("symbols: [1000]", "symbols.yml, symbols, entry 1: 1000 is not text; put it in quotes"),
        ("symbols: [A, NO]", "symbols.yml, symbols, entry 2: False is not text; put it in quotes"),
        ("symbols: [A, ]\nexclude: [1]", "symbols.yml, exclude: 1 is not text; put it in quotes"),
        ("symbols: [[A]]", "symbols.yml, symbols, entry 1: ['A'] is not text; put it in quotes"),
        (
            "symbols: [{symbol: A, interval: 60}]",
            "symbols.yml, symbols, entry 1, interval: 60 is not text; put it in quotes",
        ),
        (
            "symbols: [{symbol: A, intervals: 1h}]",
            "symbols.yml, symbols, entry 1, intervals: expected a list, found '1h'",
        ),
        ("symbols: [{symbol: A, intervals: []}]", "symbols.yml, symbols, entry 1: intervals is empty"),
        (
            "symbols: [{symbol: A, interval: 1m, intervals: [1h]}]",
            "symbols.yml, symbols, entry 1: give interval or intervals, not both",
        ),
        (
            "symbols: [{symbol: A/1h, interval: 1h}]",
            "symbols.yml, symbols, entry 1: the symbol already names the interval 1h",
        ),
        (
            "symbols: [{symbol: A, streams: [kline, trades]}]",
            "symbols.yml, symbols, entry 1, streams: ['kline', 'trades'] is not one or more of kline, aggtrade, trade, "
            "ticker, mark_price, funding_rate, depth, depth_full, with commas between them",
        ),
        (
            "symbols: [{symbol: um:A, streams: [trade]}]",
            "symbols.yml, symbols, entry 1: streams: market um offers no trade; there are kline, aggtrade, ticker, "
            "depth, depth_full, mark_price, funding_rate (symbols.yml can say for each symbol what is streamed: "
            "streams: [kline, aggtrade])",
        ),
        (
            "symbols: [{symbol: A, active: maybe}]",
            "symbols.yml, symbols, entry 1: active: 'maybe' is not true or false",
        ),
        (
            "symbols: [{symbol: A, market: futures}]",
            "symbols.yml, symbols, entry 1: unknown market 'futures': allowed are spot, um, cm",
        ),
        (
            "defaults: {market: futures}\nsymbols: [A]",
            "symbols.yml, defaults, market: unknown market 'futures': allowed are spot, um, cm",
        ),
        (
            "symbols: [um:BTCUSDT/1s]",
            f"symbols.yml, symbols, entry 1: interval 1s does not exist on market um: allowed are {FUTURES_INTERVALS}",
        ),
        (
            "defaults: {market: cm}\nsymbols: ['*/1s']",
            f"symbols.yml, symbols, entry 1: interval 1s does not exist on market cm: allowed are {FUTURES_INTERVALS}",
        ),
        (
            "defaults: {market: um, interval: 1s}\nsymbols: [A]",
            "symbols.yml, defaults, interval: interval 1s does not exist on market um: "
            f"allowed are {FUTURES_INTERVALS}",
        ),
        (
            "symbols: [BTCUSDT/1H]",
            "symbols.yml, symbols, entry 1: interval '1H' is not offered on market spot: "
            f"allowed are 1s, {FUTURES_INTERVALS}",
        ),
        (
            "symbols: [BTC USDT]",
            "symbols.yml, symbols, entry 1: 'BTC USDT' is not a symbol: "
            "letters, digits and _ such as BTCUSDT or BTCUSD_PERP, at most 50 characters",
        ),
        (
            "symbols: [{symbol: A, start: '2023-02-30'}]",
            "symbols.yml, symbols, entry 1, start: '2023-02-30' is not an ISO date or time, "
            "such as 2023-01-31 or 2023-01-31T14:30 (UTC)",
        ),
        (
            "symbols: [{symbol: A, end: 2023}]",
            "symbols.yml, symbols, entry 1, end: 2023 is not an ISO date or time, "
            "such as 2023-01-31 or 2023-01-31T14:30 (UTC)",
        ),
        (
            "defaults: {start: 1999-12-31}\nsymbols: [A]",
            "symbols.yml, defaults, start: 1999-12-31 is outside 2009-01-01 .. 2100-01-01",
        ),
        (
            "symbols: [{symbol: A, start: 2024-01-01, end: 2023-01-01}]",
            "symbols.yml, symbols, entry 1: A/1m: end 2023-01-01 is not after start 2024-01-01 (the end is exclusive)",
        ),
        (
            "defaults: {end: 2023-01-01}\nsymbols: [{symbol: '*USDT', start: 2024-01-01}]",
            "symbols.yml, symbols, entry 1: *USDT: end 2023-01-01 is not after start 2024-01-01 (the end is exclusive)",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    "text", ["symbols: [A, a]", "symbols: [A, {symbol: A, intervals: [1h, 1m]}]", "symbols: [A, spot:A-1m]"]
)
def test_a_series_listed_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="series A/1m is listed twice"):
        read(text)


@pytest.mark.parametrize(
    "text", ["symbols: [A", "symbols: A: B", "\tsymbols: [A]", "symbols: [*USDT]", "a: !!python/none"]
)
def test_what_is_not_yaml_is_refused_with_its_place(text: str, symbols_file: Callable[[str], Path]) -> None:
    path = symbols_file(text)
    with pytest.raises(ConfigurationError) as refused:
        load_symbols_file(path, "1m", None, None)
    assert str(refused.value).startswith(f"{path} is not valid YAML: ")
    assert "line 1, column" in str(refused.value)


def test_yaml_cannot_make_python_objects(symbols_file: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigurationError, match="is not valid YAML"):
        load_symbols_file(symbols_file("symbols: !!python/object/apply:os.getcwd []"), "1m", None, None)


def test_a_file_that_is_not_there_or_no_text_is_refused_by_path(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"symbols: [\xff\xfe]")
    for path in (tmp_path / "absent.yml", tmp_path, binary):
        with pytest.raises(ConfigurationError) as refused:
            load_symbols_file(path, "1m", None, None)
        assert str(refused.value).startswith(f"{path} cannot be read: ")


def test_windows_line_ends_and_a_byte_order_mark_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "symbols.yml"
    path.write_bytes(b"\xef\xbb\xbfsymbols:\r\n  - BTCUSDT\r\n")
    assert load_symbols_file(path, "1m", None, None) == read("symbols: [BTCUSDT]")


def test_messages_name_the_file_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("symbols: [1]", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"^mine\.yml, symbols, entry 1: 1 is not text"):
        load_symbols_file(path, "1m", None, None)


def test_arguments_use_the_same_notation() -> None:
    wanted = parse_arguments(["BTCUSDT", "um:ETHUSDT/1h", "*BTC"], "4h", 1_500_000_000_000, None)
    assert wanted.entries == (
        WantedSeries(parse_series("BTCUSDT/4h"), 1_500_000_000_000),
        WantedSeries(parse_series("um:ETHUSDT/1h"), 1_500_000_000_000),
        WantedPattern(Market.SPOT, "*BTC", "4h", 1_500_000_000_000),
    )


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^--symbols: unknown market 'xx': allowed are spot, um, cm$"):
        parse_arguments(["xx:BTCUSDT"], "1m", None, None)


words = st.sampled_from(
    [
        "BTCUSDT",
        "um:BTCUSDT/5m",
        "*USDT",
        "1m",
        "1h",
        "1M",
        "1s",
        "spot",
        "um",
        "cm",
        "2023-01-01",
        "",
        "a/b/c",
        "::",
        "?",
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    words,
    st.text(max_size=12),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.binary(max_size=4),
)
keys = st.sampled_from(["symbol", "interval", "intervals", "market", "start", "end", "active"]) | scalars
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.sets(scalars, max_size=3),
    max_leaves=10,
)
times = st.dates(date(2008, 1, 1), date(2101, 1, 1)) | st.just(datetime(2023, 1, 1, 12)) | anything
entry_mappings = st.fixed_dictionaries(
    {"symbol": words | anything},
    optional={
        "interval": words | anything,
        "intervals": st.lists(words, max_size=3) | anything,
        "market": words | anything,
        "start": times,
        "end": times,
        "active": st.booleans() | anything,
    },
)
documents = st.fixed_dictionaries(
    {"symbols": st.lists(words | entry_mappings | anything, max_size=4) | anything},
    optional={
        "defaults": st.fixed_dictionaries({}, optional={"market": words, "interval": words, "start": times}) | anything,
        "exclude": st.lists(words, max_size=3) | anything,
    },
)


@given(documents | anything)
@example({"symbols": [{"symbol": "A", "market": ["um"]}]})
@example({"symbols": ["A"], "defaults": {"market": None}})
def test_no_document_raises_anything_but_a_configuration_error(document: object) -> None:
    try:
        wanted = parse_symbols(document, "symbols.yml", "1m", None, None)
    except ConfigurationError as error:
        assert str(error)
    else:
        assert wanted.entries


@given(
    st.text("symbols:defaultexcrk[]{}-*&!\"'#|>%@ \n\t,0123456789", max_size=60).map(lambda rest: f"symbols: {rest}")
)
def test_no_yaml_text_raises_anything_but_yaml_or_configuration_errors(text: str) -> None:
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    try:
        parse_symbols(document, "symbols.yml", "1m", None, None)
    except ConfigurationError as error:
        assert str(error)
