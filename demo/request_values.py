"""The parameters of REST requests other than klines, read and checked as the exchange does (docs/binance.md)."""

from __future__ import annotations

from collections.abc import Mapping

from core.instrument import Market
from demo.reply import Refused

_MAX_DIGITS = 18


def symbol_of(params: Mapping[str, str]) -> str:
    """Return the symbol. Raises Refused (-1102) without one."""
    if not params.get("symbol"):
        raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    return params["symbol"]


def number_of(params: Mapping[str, str], name: str) -> int | None:
    """Return a whole number, or None where it was not sent. Raises Refused (-1100)."""
    text = params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def limit_of(market: Market, params: Mapping[str, str], default: int, most: int) -> int:
    """Return how many rows are wanted. Spot answers at most `most`, futures refuse more (-1130)."""
    limit = number_of(params, "limit")
    if limit is None:
        return default
    if limit < 1 or (market is not Market.SPOT and limit > most):
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)
