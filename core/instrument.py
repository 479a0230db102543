"""An instrument (exchange, market and symbol) and how users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from core.errors import ConfigurationError


class ExchangeName(StrEnum):
    """The supported exchanges."""

    BINANCE = "binance"


class Market(StrEnum):
    """The three kinds of market, by the names that users and tables use."""

    SPOT = "spot"
    UM = "um"  # futures margined in a dollar stablecoin (USD-M)
    CM = "cm"  # futures margined in the coin (COIN-M)


# Symbols are upper case; some are not ASCII (docs/binance.md, Symbols with odd letters). No control characters, no
# spaces, no character that is special in a path, a URL or SQL.
_SYMBOL = re.compile(r"\w+")
_MAX_SYMBOL_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded, without an interval. Candles, trades and order books all belong to one instrument."""

    exchange: ExchangeName
    market: Market
    symbol: str

    def __str__(self) -> str:
        return self.symbol if self.market is Market.SPOT else f"{self.market}:{self.symbol}"


def parse_market(text: str) -> Market:
    """Return the market named `text`. Raises ConfigurationError, which names the allowed ones."""
    try:
        return Market(text)
    except ValueError as error:
        raise ConfigurationError(f"unknown market {quoted(text)}: allowed are {', '.join(Market)}") from error


def parse_symbol(text: str) -> str:
    """Return `text` in upper case. Raises ConfigurationError when it is not a valid symbol."""
    symbol = text.upper()
    if len(symbol) > _MAX_SYMBOL_CHARACTERS or not _SYMBOL.fullmatch(symbol):
        raise ConfigurationError(
            f"{quoted(text)} is not a symbol: letters, digits and _ such as BTCUSDT or BTCUSD_PERP, "
            f"at most {_MAX_SYMBOL_CHARACTERS} characters; an interval follows after / or -, such as BTCUSDT/1h"
        )
    return symbol


def is_symbol(name: str) -> bool:
    """Whether this program can keep candles of a symbol that an exchange calls `name`, exactly so."""
    try:
        return parse_symbol(name) == name
    except ConfigurationError:
        return False


def quoted(text: str) -> str:
    """Return a user's text for a message: in quotes, cut when it is longer than 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
