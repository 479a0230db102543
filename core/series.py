"""A series (one instrument and one interval), how users write it, and the names of its table and files."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from core.errors import ConfigurationError
from core.exchanges import offered_intervals
from core.instrument import ExchangeName, Instrument, Market, parse_market, parse_symbol, quoted
from core.intervals import INTERVALS, Interval


@dataclass(frozen=True, slots=True)
class Series:
    """One instrument and interval, stored in one table. Made by `make_series` or `parse_series`, which validate."""

    instrument: Instrument
    interval: Interval

    def __str__(self) -> str:
        return f"{self.instrument}/{self.interval.code}"

    @property
    def exchange(self) -> ExchangeName:
        """The instrument's exchange."""
        return self.instrument.exchange

    @property
    def market(self) -> Market:
        """The instrument's market."""
        return self.instrument.market

    @property
    def symbol(self) -> str:
        """The instrument's symbol."""
        return self.instrument.symbol

    def of(self, interval: Interval) -> Series:
        """Return the series of the same instrument with another interval."""
        return Series(self.instrument, interval)

    @property
    def file_stem(self) -> str:
        """`<market>_<symbol>_<interval>`, safe on case-insensitive file systems (`1mo` for the month)."""
        stem = f"{self.market}_{self.symbol}_{self.interval.name}"
        # A hash keeps symbols apart that are equal in lower case.
        return stem if self.symbol.lower().upper() == self.symbol else f"{stem}__{self._digest}"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    @property
    def table_name(self) -> str:
        """The table of the series: `ohlcv_btcusdt` (spot 1m), `ohlcv_btcusdt_1h`, `ohlcv_um_btcusdt_1mo`.

        At most 63 bytes (PostgreSQL's limit) and unique: a name that could also be that of another series or of one of
        the project's own tables gets a hash of the series appended.
        """
        parts = ["ohlcv"]
        if self.market is not Market.SPOT:
            parts.append(self.market.value)
        parts.append(self.symbol.lower())
        if self.interval.code != "1m":
            parts.append(self.interval.name)
        name = "_".join(parts)
        if not _is_ambiguous(self.market, self.symbol) and len(name.encode()) <= _MAX_NAME_BYTES:
            return name
        kept = name.encode()[: _MAX_NAME_BYTES - len(self._digest) - 2].decode(errors="ignore")
        # Two underscores before the hash: no name without a hash has them, so the two kinds cannot collide.
        return f"{kept}__{self._digest}"


_MAX_NAME_BYTES = 63
_NAMED = 5  # of many series, in a message
# ohlcv_ledger and the like are the project's own tables.
_RESERVED = frozenset(
    {
        "series",
        "ledger",
        "gaps",
        "corrections",
        "external_changes",
        "stage",
        "old",
        "migrations",
        "weight",
        "provisional",
    }
)
_INTERVAL_NAMES = frozenset(interval.name.lower() for interval in INTERVALS.values())


@cache
def _is_ambiguous(market: Market, symbol: str) -> bool:
    lower = symbol.lower()
    if lower.upper() != symbol or "__" in lower or lower.startswith("_") or lower.endswith("_"):
        return True
    parts = lower.split("_")
    if parts[-1] in _INTERVAL_NAMES:  # um:X_1H/1m would read as um:X/1h
        return True
    if market is Market.SPOT:  # spot symbols have no underscore; one could read as a prefix or a suffix
        return len(parts) > 1 or lower in _RESERVED or lower in {m.value for m in Market}
    return False


def parse_interval(text: str, market: Market, exchange: ExchangeName) -> Interval:
    """Return the interval with code `text` on `market`. Raises ConfigurationError, which names the allowed ones."""
    interval = INTERVALS.get(text)
    allowed = offered_intervals(exchange, market)
    if interval is None or text not in allowed:
        what = f"interval {quoted(text)} is not offered" if interval is None else f"interval {text} does not exist"
        raise ConfigurationError(f"{what} on market {market}: allowed are {', '.join(allowed)}")
    return interval


def make_series(market: str, symbol: str, interval: str) -> Series:
    """Return the series of three texts. Raises ConfigurationError when one of them is not valid."""
    parsed = parse_market(market)
    exchange = ExchangeName.BINANCE
    return Series(Instrument(exchange, parsed, parse_symbol(symbol)), parse_interval(interval, parsed, exchange))


@dataclass(frozen=True, slots=True)
class SeriesNotation:
    """The parts of what a user wrote. `symbol` may be a pattern such as `*USDT`; None means "not given"."""

    market: str | None
    symbol: str
    interval: str | None

    @property
    def is_pattern(self) -> bool:
        """Whether `symbol` has to be matched against the exchange's symbol list."""
        return "*" in self.symbol or "?" in self.symbol


def split_notation(text: str) -> SeriesNotation:
    """Split `BTCUSDT`, `BTCUSDT/1h`, `BTCUSDT-1h`, `um:BTCUSDT/5m`, `*USDT/1d` into its parts.

    Checks the form of the parts only, not whether the symbol exists. Raises ConfigurationError.
    """
    rest = text.strip()
    market: str | None = None
    if ":" in rest:
        market, rest = rest.split(":", 1)
        parse_market(market)
    interval: str | None = None
    if "/" in rest:
        rest, interval = rest.split("/", 1)
    elif "-" in rest and rest.rsplit("-", 1)[1] in INTERVALS:
        rest, interval = rest.rsplit("-", 1)
    if interval is not None:
        parse_interval(interval, Market(market) if market else Market.SPOT, ExchangeName.BINANCE)
    notation = SeriesNotation(market, rest.upper(), interval)
    parse_symbol(rest.replace("*", "A").replace("?", "A") if notation.is_pattern else rest)
    return notation


def parse_series(text: str, default_interval: str = "1m") -> Series:
    """Return the series that `text` names; spot and `default_interval` where not given. Raises ConfigurationError."""
    notation = split_notation(text)
    if notation.is_pattern:
        raise ConfigurationError(f"{text!r} is a pattern, not one series")
    return make_series(notation.market or Market.SPOT, notation.symbol, notation.interval or default_interval)


def brief_list(series: Sequence[object]) -> str:
    """Return the names of many series, or of their streams, for a message: the first ones, and how many more."""
    more = f" and {len(series) - _NAMED:,} more" if len(series) > _NAMED else ""
    return ", ".join(map(str, series[:_NAMED])) + more


def suggest(word: str, known: list[str]) -> str:
    """Return ` (did you mean X?)` with the most similar of `known`, or an empty text."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
