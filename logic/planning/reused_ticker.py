"""The first candle of a listed symbol, where a ticker that was used before must not be taken for one life.

The exchange gives a ticker to another contract: the old one's archives are kept under a ...SETTLED
name, or its candles are still answered under the ticker (docs/binance.md, Listings: identity is symbol plus
listing era). Futures alone say when a contract began, so only they can be told apart.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from core.errors import ArchiveUnavailable
from core.ranges import Span
from core.series import Series
from core.sources import AllowedSources
from core.symbol_info import SymbolInfo
from core.times import MS_PER_DAY, format_ms
from fetcher.source import ExchangeSource

_log = logging.getLogger(__name__)

# An onboard date a few days behind the first candle is no second listing: contracts are announced late.
_TOLERANCE_MS = 7 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class FirstListing:
    """The open time (epoch ms) of the first candle that belongs to the symbol, and what a reader should know."""

    first_ms: int
    notes: tuple[str, ...] = ()


def find_first_listing(
    series: Series, symbol: SymbolInfo, exchange: ExchangeSource, allowed: AllowedSources
) -> FirstListing | None:
    """Return where the series begins, or None when the exchange has no candle of it.

    Candles before the onboard date count as an earlier listing's when the exchange has none in the day
    before that date: BTCUSDT on USD-M has candles from 17 days before it, without a break. Raises
    SeriesError and ExchangeUnavailable.
    """
    first_ms = exchange.find_first_candle(series)
    if first_ms is None:
        return None
    notes = earlier_contracts_notes(series, exchange, allowed)
    if symbol.onboard_ms is None or symbol.onboard_ms > exchange.now_ms(series.market):
        return FirstListing(first_ms, notes)
    onboard_ms = series.interval.floor(symbol.onboard_ms)  # a month's candle opens before the date in it
    if onboard_ms - first_ms <= _TOLERANCE_MS:
        return FirstListing(first_ms, notes)
    day_before = Span(min(onboard_ms - MS_PER_DAY, series.interval.add(onboard_ms, -1)), onboard_ms)
    if exchange.has_candle_in(series, day_before):
        return FirstListing(first_ms, notes)
    later_ms = exchange.find_first_candle(series, onboard_ms)
    if later_ms is None:
        return FirstListing(first_ms, notes)
    return FirstListing(later_ms, (*notes, f"{_reused(symbol.onboard_ms)} and are not fetched"))


def find_relisting(series: Series, symbol: SymbolInfo, ended_ms: int, exchange: ExchangeSource) -> FirstListing | None:
    """Return where the symbol begins again after an earlier listing that ended at `ended_ms` (exclusive).

    None when it is the same listing that goes on, as far as the exchange says, or has no candle yet.
    Raises SeriesError and ExchangeUnavailable.
    """
    if symbol.onboard_ms is None or not ended_ms <= symbol.onboard_ms <= exchange.now_ms(series.market):
        return None
    first_ms = exchange.find_first_candle(series, series.interval.floor(symbol.onboard_ms))
    if first_ms is None:
        return None
    return FirstListing(first_ms, (f"{_reused(symbol.onboard_ms)} (what is stored of them stays)",))


def _reused(onboard_ms: int) -> str:
    return f"ticker reused: candles before {format_ms(onboard_ms)} belong to an earlier listing"


def earlier_contracts_notes(series: Series, exchange: ExchangeSource, allowed: AllowedSources) -> tuple[str, ...]:
    """Return a note when the archives hold earlier contracts of a futures symbol; one listing request."""
    if not allowed.archives:
        return ()
    try:
        names = exchange.archives.list_earlier_contracts(series)
    except ArchiveUnavailable as error:
        # Only a hint: the series itself is as good without it.
        _log.debug("%s: not known whether the ticker was used before: %s", series, error)
        return ()
    return (f"ticker used before: the archives also hold {', '.join(names)}",) if names else ()
