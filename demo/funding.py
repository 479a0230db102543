"""Mark prices and funding of perpetual contracts: made up, the same each time (docs/binance.md, Funding)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from core.instrument import Market
from core.times import MS_PER_HOUR
from demo.decimal_text import units_of, units_text
from demo.prices import Prices

_DECIMALS = 8
_USUAL_HOURS = 8
_ADJUSTED_HOURS = 4
_LARGEST_RATE = 40_000  # in 8 decimals
_AWAY = 100_000  # mark and index stay within a part of the price of one in this


@dataclass(frozen=True, slots=True)
class MarkPrice:
    """What markPrice streams and premiumIndex say. A delivery contract has no funding: "" and 0."""

    mark: str
    index: str
    estimated_settle: str
    average: str
    rate: str
    next_funding_ms: int


@dataclass(frozen=True, slots=True)
class FundingRate:
    """One settled funding."""

    at_ms: int
    hours: int  # since the one before
    rate: str
    mark: str


def hours_of(symbol: str) -> int:
    """Return how many hours lie between two fundings: 8, or 4 where it was adjusted (all but BTC here)."""
    return _USUAL_HOURS if symbol.startswith("BTC") else _ADJUSTED_HOURS


def is_perpetual(symbol: str) -> bool:
    """Whether a futures symbol is a contract without delivery."""
    return not symbol.rpartition("_")[2].isdigit()


class Funding:
    """Mark prices and settled rates by instant."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def mark_price(self, market: Market, symbol: str, now_ms: int) -> MarkPrice | None:
        """Return mark price and funding as they stand, or None for a symbol that is not traded yet."""
        price = self._units(market, symbol, now_ms)
        if price is None:
            return None
        mark, index, settle, average = (
            units_text(price + price * _away(f"{symbol}/{what}/{now_ms // 1000}") // _AWAY, _DECIMALS)
            for what in ("mark", "index", "settle", "average")
        )
        if not is_perpetual(symbol):
            return MarkPrice(mark, index, settle, average, "", 0)
        every_ms = hours_of(symbol) * MS_PER_HOUR
        next_ms = (now_ms // every_ms + 1) * every_ms
        return MarkPrice(mark, index, settle, average, _rate(market, symbol, next_ms), next_ms)

    def settled(self, market: Market, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Return the fundings in `[start_ms, end_ms)`, ascending, from the first candle on."""
        if not is_perpetual(symbol):
            return []
        every_ms = hours_of(symbol) * MS_PER_HOUR
        rates = []
        for due_ms in range(-(-start_ms // every_ms) * every_ms - every_ms, end_ms, every_ms):
            at_ms = due_ms + zlib.crc32(f"{market}:{symbol}/{due_ms}".encode()) % 9
            price = self._units(market, symbol, due_ms) if start_ms <= at_ms < end_ms else None
            if price is not None:
                rates.append(
                    FundingRate(at_ms, hours_of(symbol), _rate(market, symbol, due_ms), units_text(price, _DECIMALS))
                )
        return rates

    def _units(self, market: Market, symbol: str, at_ms: int) -> int | None:
        """Return the price in 8 decimals."""
        candle = self._prices.candle(market, symbol, at_ms)
        if candle is None:
            return None
        return units_of(units_text(candle.price(at_ms), candle.decimals), _DECIMALS)


def _away(what: str) -> int:
    return zlib.crc32(what.encode()) % 101 - 50


def _rate(market: Market, symbol: str, due_ms: int) -> str:
    drawn = zlib.crc32(f"rate/{market}:{symbol}/{due_ms}".encode())
    return units_text(drawn % (2 * _LARGEST_RATE) - _LARGEST_RATE, _DECIMALS)
