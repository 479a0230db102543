"""Finds the first candle of a listed symbol, apart from earlier listings under the same ticker.

The exchange may reuse a ticker for another contract. The old contract's archives are kept under a ...SETTLED
name, or its candles are still returned under the ticker (docs/binance.md, Listings and reused tickers). Only futures
give the date when a contract began, so only their listings can be told apart.
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
from fetcher.at_once import both
from fetcher.source import ExchangeSource

_log = logging.getLogger(__name__)

# An onboard date a few days after the first candle is not a second listing: some dates are late.
_TOLERANCE_MS = 7 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class FirstListing:
    """The open time (epoch ms) of the first candle of the present listing, and notes for the operator."""

    first_ms: int
    notes: tuple[str, ...] = ()


def find_first_listing(
    series: Series, symbol: SymbolInfo, exchange: ExchangeSource, allowed: AllowedSources
) -> FirstListing | None:
    """Return where the series begins, or None when the exchange has no candle of it.

    Candles before the onboard date belong to an earlier listing only when there are none in the day
    before that date: BTCUSDT on USD-M has candles from 17 days before it, without a break. Raises
    SeriesError and ExchangeUnavailable.
    """
    first_ms, notes = both(
        lambda: exchange.find_first_candle(series), lambda: earlier_contracts_notes(series, exchange, allowed)
    )
    if first_ms is None:
        return None
    if symbol.onboard_ms is None or symbol.onboard_ms > exchange.now_ms(series.market):
        return FirstListing(first_ms, notes)
    onboard_ms = series.interval.floor(symbol.onboard_ms)  # a 1M candle opens before the date in its month
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
    """Return where the symbol begins again after an earlier listing that ended at `ended_ms` (exclusive, epoch ms).

    None when by the onboard date it is still the same listing, or when it has no candle yet.
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
    """Return a note when the archives hold earlier contracts of a futures symbol. Sends one request."""
    if not allowed.archives:
        return ()
    try:
        names = exchange.archives.list_earlier_contracts(series)
    except ArchiveUnavailable as error:
        # The note is only information; the series can be fetched without it.
        _log.debug("%s: not known whether the ticker was used before: %s", series, error)
        return ()
    return (f"ticker used before: the archives also hold {', '.join(names)}",) if names else ()
