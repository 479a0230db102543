"""What futures events say about the contract since COIN-M and USD-M came together (docs/binance.md, Streams)."""

from __future__ import annotations

from core.instrument import Market


def pair_of(symbol: str) -> str:
    """Return the pair of a contract: `BTCUSD` of `BTCUSD_PERP`."""
    return symbol.partition("_")[0]


def symbol_type(market: Market) -> dict[str, object]:
    """Return the key that tells the markets apart, 1 for USD-M and 2 for COIN-M."""
    return {"st": 1 if market is Market.UM else 2}


def pair_and_type(market: Market, symbol: str) -> dict[str, object]:
    """Return the keys that most events carry."""
    return {"ps": pair_of(symbol), **symbol_type(market)}
