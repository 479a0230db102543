"""The series and time ranges that the operator wants, before and after patterns are resolved."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import ConfigurationError
from core.instrument import Market, is_symbol
from core.series import Series, make_series
from core.stream_kinds import StreamKind
from core.times import format_ms


@dataclass(frozen=True, slots=True)
class WantedSeries:
    """A series and its wanted half-open range (epoch ms); None means from its first candle, or up to now."""

    series: Series
    start_ms: int | None = None
    end_ms: int | None = None
    active: bool = True
    streams: tuple[StreamKind, ...] | None = None  # kinds of live data; None: what the settings say

    def __post_init__(self) -> None:
        _refuse_reversed(str(self.series), self.start_ms, self.end_ms)


@dataclass(frozen=True, slots=True)
class WantedPattern:
    """A symbol pattern such as `*USDT`, to be matched against the exchange's symbol list."""

    market: Market
    pattern: str
    interval: str
    start_ms: int | None = None
    end_ms: int | None = None
    active: bool = True
    streams: tuple[StreamKind, ...] | None = None

    def __post_init__(self) -> None:
        _refuse_reversed(self.pattern, self.start_ms, self.end_ms)


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that one run should fetch. Raises ConfigurationError when a series is listed by name twice."""

    entries: tuple[WantedSeries | WantedPattern, ...]
    exclude: tuple[str, ...] = ()  # patterns of symbols that are left out when a pattern matches them

    def __post_init__(self) -> None:
        _listed_by_name(self.entries)

    @property
    def pattern_markets(self) -> frozenset[Market]:
        """The markets whose symbol lists are needed to resolve the patterns."""
        return frozenset(entry.market for entry in self.entries if isinstance(entry, WantedPattern))


def resolve(
    wanted: Wanted, symbols: Mapping[Market, Sequence[str]], unlisted: Iterable[Series] = ()
) -> list[WantedSeries]:
    """Return the wanted series in the order written, patterns replaced by the symbols they match.

    `symbols` are the markets' lists; names in them that are no symbols to this program are left out (`odd_names`).
    `unlisted` are series to be completed although the lists no longer have them. A series listed by name takes
    precedence over the same series from a pattern, and `exclude` does not apply to it. Raises ConfigurationError when
    a pattern matches nothing.
    """
    gone = set(unlisted)
    by_name = _listed_by_name(wanted.entries)
    found: dict[Series, WantedSeries] = {}
    for entry in wanted.entries:
        if isinstance(entry, WantedSeries):
            found.setdefault(entry.series, entry)
            continue
        of_catalog = [one.symbol for one in gone if (one.market, one.interval.code) == (entry.market, entry.interval)]
        known = [*filter(is_symbol, symbols[entry.market]), *sorted(of_catalog)]
        matched = [s for s in known if fnmatch.fnmatchcase(s, entry.pattern)]
        kept = _not_excluded(matched, wanted)
        if not kept:
            raise ConfigurationError(
                f"pattern {entry.pattern!r} matches none of the {len(symbols[entry.market])} symbols "
                f"of market {entry.market}" + (" that are not excluded" if matched else "")
            )
        for symbol in kept:
            series = make_series(entry.market, symbol, entry.interval)
            one = by_name.get(series) or WantedSeries(series, entry.start_ms, entry.end_ms, entry.active, entry.streams)
            found.setdefault(series, one)
    return list(found.values())


def odd_names(wanted: Wanted, symbols: Mapping[Market, Sequence[str]]) -> list[str]:
    """Return what a pattern matches in the lists of `symbols` but this program cannot keep: an emoji, a hyphen, ..."""
    patterns = [entry for entry in wanted.entries if isinstance(entry, WantedPattern)]
    found = {
        f"{entry.market}:{name}"
        for entry in patterns
        for name in _not_excluded(symbols[entry.market], wanted)
        if fnmatch.fnmatchcase(name.upper(), entry.pattern) and not is_symbol(name)
    }
    return sorted(found)


def _not_excluded(names: Iterable[str], wanted: Wanted) -> list[str]:
    return [name for name in names if not any(fnmatch.fnmatchcase(name.upper(), bad) for bad in wanted.exclude)]


def _listed_by_name(entries: Iterable[WantedSeries | WantedPattern]) -> dict[Series, WantedSeries]:
    named: dict[Series, WantedSeries] = {}
    for entry in entries:
        if isinstance(entry, WantedSeries):
            if entry.series in named:
                raise ConfigurationError(f"series {entry.series} is listed twice")
            named[entry.series] = entry
    return named


def _refuse_reversed(what: str, start_ms: int | None, end_ms: int | None) -> None:
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise ConfigurationError(
            f"{what}: end {format_ms(end_ms)} is not after start {format_ms(start_ms)} (the end is exclusive)"
        )
