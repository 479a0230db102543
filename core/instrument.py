"""An instrument: what is traded where. Exchange, market and symbol, and how users write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from core.errors import ConfigurationError


class ExchangeName(StrEnum):
    """The exchanges that this program knows."""

    BINANCE = "binance"


class Market(StrEnum):
    """The three kinds of market, named as everywhere in this project."""

    SPOT = "spot"
    UM = "um"  # futures margined in dollars
    CM = "cm"  # futures margined in the coin


# Symbols are upper case; some are not ASCII (docs/binance.md, Symbols with odd letters). No control characters, no
# spaces, nothing that means something to a path, a URL or SQL.
_SYMBOL = re.compile(r"\w+")
_MAX_SYMBOL_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded, without an interval: candles, trades and order books hang on it alike."""

    exchange: ExchangeName
    market: Market
    symbol: str

    def __str__(self) -> str:
        return self.symbol if self.market is Market.SPOT else f"{self.market}:{self.symbol}"


def parse_market(text: str) -> Market:
    """Return the market named `text`. Raises ConfigurationError naming the allowed ones."""
    try:
        return Market(text)
    except ValueError as error:
        raise ConfigurationError(f"unknown market {quoted(text)}: allowed are {', '.join(Market)}") from error


def parse_symbol(text: str) -> str:
    """Return the validated symbol, upper-cased. Raises ConfigurationError."""
    symbol = text.upper()
    if len(symbol) > _MAX_SYMBOL_CHARACTERS or not _SYMBOL.fullmatch(symbol):
        raise ConfigurationError(
            f"{quoted(text)} is not a symbol: letters, digits and _ such as BTCUSDT or BTCUSD_PERP, "
            f"at most {_MAX_SYMBOL_CHARACTERS} characters; an interval follows after / or -, such as BTCUSDT/1h"
        )
    return symbol


def quoted(text: str) -> str:
    """Return what a user wrote, in quotes and cut where it is long, for messages."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
