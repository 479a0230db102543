"""Reads symbols.yml, the series to fetch. An error names its place, the value and what is allowed."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.instrument import ExchangeName, parse_market
from core.series import make_series, parse_interval, split_notation, suggest
from core.stream_kinds import StreamKind
from core.times import parse_time
from core.wanted import Wanted, WantedPattern, WantedSeries
from core.wanted_streams import parse_kinds, require_offered

# With a few YAML aliases a value can be so large that its text would not fit into memory.
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother = 3, 80, 80
_shown = _brief.repr

_TOP_KEYS = ("defaults", "symbols", "exclude")
_DEFAULT_KEYS = ("market", "interval", "start", "end")
_ENTRY_KEYS = ("symbol", "interval", "intervals", "market", "start", "end", "active", "streams")


def load_symbols_file(
    path: Path, default_interval: str, start_ms: int | None, end_ms: int | None, interval: str | None = None
) -> Wanted:
    """Return the series and patterns in the file `path`.

    `default_interval`, `start_ms` and `end_ms` are used where neither an entry nor the file's own
    `defaults` give a value; `interval` (from the command line) overrides the file's `defaults`.
    Raises ConfigurationError.
    """
    from config.yaml_file import read_yaml  # late: `--symbols` and `status` do without

    return parse_symbols(read_yaml(path), path.name, default_interval, start_ms, end_ms, interval)


def parse_symbols(
    document: object,
    where: str,
    default_interval: str,
    start_ms: int | None,
    end_ms: int | None,
    interval: str | None = None,
) -> Wanted:
    """Return the series and patterns in the parsed YAML `document`; `where` names it in messages."""
    top = _mapping(document, where, _TOP_KEYS)
    defaults = _mapping(_given(top, "defaults", {}), f"{where}, defaults", _DEFAULT_KEYS)
    settled = {
        "market": defaults.get("market", "spot"),
        "interval": interval or defaults.get("interval", default_interval),
        "start": _time(defaults["start"], f"{where}, defaults, start") if "start" in defaults else start_ms,
        "end": _time(defaults["end"], f"{where}, defaults, end") if "end" in defaults else end_ms,
    }
    market = _named(parse_market, settled["market"], f"{where}, defaults, market")
    _named(
        lambda code: parse_interval(code, market, ExchangeName.BINANCE),
        settled["interval"],
        f"{where}, defaults, interval",
    )
    entries: list[WantedSeries | WantedPattern] = []
    for number, item in enumerate(_list(top.get("symbols"), f"{where}, symbols"), start=1):
        entries += _entry(item, f"{where}, symbols, entry {number}", settled)
    if not entries:
        raise ConfigurationError(f"{where}: symbols is empty; name at least one, such as BTCUSDT")
    excluded = _list(_given(top, "exclude", []), f"{where}, exclude")
    exclude = [_text(item, f"{where}, exclude").upper() for item in excluded]
    try:
        return Wanted(tuple(entries), tuple(exclude))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}, symbols: {error}") from error


def parse_arguments(series_texts: list[str], default_interval: str, start_ms: int | None, end_ms: int | None) -> Wanted:
    """Return the series and patterns given by `--symbols`. Raises ConfigurationError."""
    settled = {"market": "spot", "interval": default_interval, "start": start_ms, "end": end_ms}
    entries: list[WantedSeries | WantedPattern] = []
    for text in series_texts:
        entries += _entry(text, "--symbols", settled)
    return Wanted(tuple(entries))


def _entry(item: object, where: str, defaults: dict[str, Any]) -> list[WantedSeries | WantedPattern]:
    if isinstance(item, dict):
        keys = _mapping(item, where, _ENTRY_KEYS)
        if "symbol" not in keys:
            raise ConfigurationError(f"{where}: a mapping needs the key symbol")
        if "interval" in keys and "intervals" in keys:
            raise ConfigurationError(f"{where}: give interval or intervals, not both")
    else:
        keys = {"symbol": item}
    text = _text(keys["symbol"], where)
    with _located(where):
        notation = split_notation(text)
        if notation.market is not None and "market" in keys:
            raise ConfigurationError(f"the symbol already names the market {notation.market}")
    market = notation.market or _text(keys.get("market", defaults["market"]), f"{where}, market")
    intervals = _intervals(keys, notation.interval, defaults["interval"], where)
    start_ms = _time(keys["start"], f"{where}, start") if "start" in keys else defaults["start"]
    end_ms = _time(keys["end"], f"{where}, end") if "end" in keys else defaults["end"]
    active = keys.get("active", True)
    if not isinstance(active, bool):
        raise ConfigurationError(f"{where}: active: {_shown(active)} is not true or false")
    wanted: list[WantedSeries | WantedPattern] = []
    streams = _streams(keys, market, where)
    with _located(where):
        for interval in intervals:
            if notation.is_pattern:
                parsed = parse_market(market)
                parse_interval(interval, parsed, ExchangeName.BINANCE)
                wanted.append(WantedPattern(parsed, notation.symbol, interval, start_ms, end_ms, active, streams))
            else:
                series = make_series(market, notation.symbol, interval)
                wanted.append(WantedSeries(series, start_ms, end_ms, active, streams))
    return wanted


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Add the place in the file to ConfigurationErrors that are raised inside."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _intervals(keys: dict[str, Any], from_notation: str | None, default: str, where: str) -> list[str]:
    if from_notation is not None:
        if "interval" in keys or "intervals" in keys:
            raise ConfigurationError(f"{where}: the symbol already names the interval {from_notation}")
        return [from_notation]
    if "intervals" in keys:
        intervals = [_text(item, f"{where}, intervals") for item in _list(keys["intervals"], f"{where}, intervals")]
        if not intervals:
            raise ConfigurationError(f"{where}: intervals is empty")
        return intervals
    return [_text(keys.get("interval", default), f"{where}, interval")]


def _streams(keys: dict[str, Any], market: str, where: str) -> tuple[StreamKind, ...] | None:
    if "streams" not in keys:
        return None
    names = [_text(item, f"{where}, streams") for item in _list(keys["streams"], f"{where}, streams")]
    try:
        kinds = parse_kinds(",".join(names))
    except ValueError as error:
        raise ConfigurationError(f"{where}, streams: {_shown(names)} is not {error}") from error
    with _located(where):
        require_offered(kinds, ExchangeName.BINANCE, parse_market(market), "streams")
    return kinds


def _given(top: dict[str, Any], key: str, default: object) -> object:
    """Return the value of an optional key; `key:` without a value counts as not given."""
    value = top.get(key)
    return default if value is None else value


def _mapping(value: object, where: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{where}: expected a mapping with the keys {', '.join(allowed)}, found {_shown(value)}"
        )
    for key in value:
        if key not in allowed:
            near = suggest(str(key), list(allowed))
            raise ConfigurationError(f"{where}: unknown key {key!r}{near}; allowed are {', '.join(allowed)}")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: expected a list, found {_shown(value)}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {_shown(value)} is not text; put it in quotes")
    return value


def _time(value: object, where: str) -> int:
    try:
        return parse_time(value)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _named(read: Any, value: object, where: str) -> Any:
    text = _text(value, where)
    try:
        return read(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
