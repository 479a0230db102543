"""The first candle of a listed symbol, where a ticker that was used before must not be taken for one life.

The exchange gives a ticker to another contract: the old one's archives are kept under a ...SETTLED
name, or its candles are still answered under the ticker (contract section 5: identity is symbol plus
listing era). Futures alone say when a contract began, so only they can be told apart.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from core.errors import ArchiveUnavailable
from core.plan import SourceChoice
from core.ranges import Span
from core.series import Market, Series
from core.symbol_info import SymbolInfo
from core.times import MS_PER_DAY, format_ms
from fetcher.binance.exchange import Exchange

_log = logging.getLogger(__name__)

# An onboard date a few days behind the first candle is no second listing: contracts are announced late.
_TOLERANCE_MS = 7 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class Listing:
    """The open time (epoch ms) of the first candle that belongs to the symbol, and what a reader should know."""

    first_ms: int
    notes: tuple[str, ...] = ()


def find_first_candle(series: Series, symbol: SymbolInfo, exchange: Exchange, choice: SourceChoice) -> Listing | None:
    """Return where the series begins, or None when the exchange has no candle of it.

    Candles before the onboard date count as an earlier listing's when the exchange has none in the day
    before that date: BTCUSDT on USD-M has candles from 17 days before it, without a break. Raises
    SeriesError and ExchangeUnavailable.
    """
    rest = exchange.rest(series.market)
    first_ms = rest.find_listing(series)
    if first_ms is None:
        return None
    notes = settled_names_notes(series, exchange, choice)
    if symbol.onboard_ms is None or symbol.onboard_ms > exchange.now_ms(series.market):
        return Listing(first_ms, notes)
    onboard_ms = series.interval.floor(symbol.onboard_ms)  # a month's candle opens before the date in it
    if onboard_ms - first_ms <= _TOLERANCE_MS:
        return Listing(first_ms, notes)
    day_before = Span(min(onboard_ms - MS_PER_DAY, series.interval.add(onboard_ms, -1)), onboard_ms)
    if rest.has_candle_in(series, day_before):
        return Listing(first_ms, notes)
    later_ms = rest.find_listing(series, onboard_ms)
    if later_ms is None:
        return Listing(first_ms, notes)
    return Listing(later_ms, (*notes, f"{_reused(symbol.onboard_ms)} and are not fetched"))


def find_relisting(series: Series, symbol: SymbolInfo, ended_ms: int, exchange: Exchange) -> Listing | None:
    """Return where the symbol begins again after an earlier listing that ended at `ended_ms` (exclusive).

    None when it is the same listing that goes on, as far as the exchange says, or has no candle yet.
    Raises SeriesError and ExchangeUnavailable.
    """
    if symbol.onboard_ms is None or not ended_ms <= symbol.onboard_ms <= exchange.now_ms(series.market):
        return None
    first_ms = exchange.rest(series.market).find_listing(series, series.interval.floor(symbol.onboard_ms))
    if first_ms is None:
        return None
    return Listing(first_ms, (f"{_reused(symbol.onboard_ms)} (what is stored of them stays)",))


def _reused(onboard_ms: int) -> str:
    return f"ticker reused: candles before {format_ms(onboard_ms)} belong to an earlier listing"


def settled_names_notes(series: Series, exchange: Exchange, choice: SourceChoice) -> tuple[str, ...]:
    """Return a note when the archives hold earlier contracts of a futures symbol; one listing request."""
    if series.market is Market.SPOT or choice is not SourceChoice.AUTO:
        return ()
    try:
        names = exchange.archives.list_settled_names(series)
    except ArchiveUnavailable as error:
        # Only a hint: the series itself is as good without it.
        _log.debug("%s: not known whether the ticker was used before: %s", series, error)
        return ()
    return (f"ticker used before: the archives also hold {', '.join(names)}",) if names else ()
