"""Finds the listing period of a symbol; asks the exchange only for what is not known yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.closing import closed_end
from core.errors import ArchiveUnavailable, SeriesError
from core.intervals import Interval
from core.listing import UNLISTED, ListingPeriod
from core.ranges import Span, span_or_none, subtract
from core.series import Series, suggest
from core.sources import AllowedSources
from core.symbol_info import SymbolInfo
from core.times import MS_PER_DAY, format_ms
from core.wanted import WantedSeries
from fetcher.at_once import both
from fetcher.source import ExchangeSource
from logic.planning.archived_listing import find_archived_span
from logic.planning.reused_ticker import FirstListing, earlier_contracts_notes, find_first_listing, find_relisting

_log = logging.getLogger(__name__)

# A symbol without a candle for this long, and for this many candles, has ended whatever its status says: a market that
# is open has candles even without trades (docs/binance.md, Listings and reused tickers).
_LONG_MS = 7 * MS_PER_DAY
_LONG_CANDLES = 3
# How often a dormant symbol is checked for new candles: its status does not show them.
_DORMANT_CHECK_MS = 7 * MS_PER_DAY
# The last archive files of a symbol can be this late; eight days were seen (docs/binance.md, Archives).
_ARCHIVES_FINAL_MS = 14 * MS_PER_DAY

FindLast = Callable[[int | None], int | None]
"""Returns the open time of the newest candle of a series; takes that of the first one, if known."""


@dataclass(frozen=True, slots=True)
class StoredCoverage:
    """The listing and the coverage of a series from earlier runs."""

    listing: ListingPeriod = field(default_factory=ListingPeriod)
    covered: Sequence[Span] = ()  # merged
    # Open time (epoch ms) of the newest stored candle, if known. It only decides whether the exchange is asked if the
    # symbol has ended: a wrong value costs two requests, or the end is noticed later.
    last_candle_ms: int | None = None


def resolve_listing(
    wanted: WantedSeries,
    symbols: Mapping[str, SymbolInfo],
    stored: StoredCoverage,
    exchange: ExchangeSource,
    allowed: AllowedSources,
) -> ListingPeriod:
    """Return the listing period of a series; asks the exchange only for what is not known or may have changed.

    A symbol has ended when its status or its delivery date says so, or when it is dormant: its status is trading, but
    it has had no candle for more than 7 days and 3 candles. Dormancy is checked (two requests) only when more than
    that is left to fetch after the newest candle: never for a series that is up to date, once in a first run over a
    longer range. No request is made for an end that is known, covered and more than 7 days old while the status
    stays the same. A dormant symbol is checked for new candles once a week. A symbol that is not in `symbols` (the
    market's list) is unlisted: its archives are used, if allowed.

    New notes and a new dormancy are logged as warnings. Raises SeriesError for a symbol that is neither in the list nor
    in the archives, and ExchangeUnavailable.
    """
    resolver = _Resolver(wanted, stored, exchange, allowed)
    symbol = symbols.get(wanted.series.symbol)
    if symbol is None:
        period = resolver.unlisted()
    elif symbol.is_pending:
        # The end and notes of an earlier listing are kept: they are needed when trading begins.
        period = ListingPeriod(None, stored.listing.end_ms, symbol.status, is_pending=True, notes=stored.listing.notes)
    else:
        period = resolver.listed(symbol)
    _log_news(wanted.series, period, stored.listing)
    return period


def wanted_span(wanted: WantedSeries, period: ListingPeriod, now_ms: int) -> Span | None:
    """Return the wanted range on the grid, limited to the listing period and to closed candles, or None."""
    if period.first_ms is None:
        return None
    interval = wanted.series.interval
    start_ms = interval.floor(period.first_ms)
    if wanted.start_ms is not None:
        start_ms = max(start_ms, interval.ceil(wanted.start_ms))
    end_ms = closed_end(interval, now_ms)
    if period.end_ms is not None:
        end_ms = min(end_ms, interval.ceil(period.end_ms))
    if wanted.end_ms is not None:
        # An end inside a candle's slot includes that candle.
        end_ms = min(end_ms, interval.ceil(wanted.end_ms))
    return span_or_none(start_ms, end_ms)


def is_completed(listing: ListingPeriod, covered: Sequence[Span], now_ms: int) -> bool:
    """Whether nothing more is to come of an unlisted series: its archives are final, and covered to their end."""
    end_ms = listing.end_ms
    if not listing.is_unlisted or end_ms is None or now_ms - end_ms <= _ARCHIVES_FINAL_MS:
        return False
    return bool(covered) and covered[-1].end_ms >= end_ms


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Resolves the listing of one series."""

    wanted: WantedSeries
    stored: StoredCoverage
    exchange: ExchangeSource
    allowed: AllowedSources

    @property
    def _series(self) -> Series:
        return self.wanted.series

    @property
    def _known(self) -> ListingPeriod:
        return self.stored.listing

    def _now_ms(self) -> int:
        return self.exchange.now_ms(self._series.market)

    def listed(self, symbol: SymbolInfo) -> ListingPeriod:
        """Return the listing of a symbol that is in the exchange's list and has begun to trade."""
        known = self._known
        find_last: FindLast = self._find_last
        trades = symbol.is_trading and not _is_delivered(symbol, self._now_ms())
        period = ListingPeriod(known.first_ms, None, symbol.status, notes=known.notes)
        if known.first_ms is None:
            found, find_last = self._first_and_last(symbol, trades)
            if found is None:
                raise SeriesError(
                    f"{self._series}: the exchange lists the symbol ({symbol.status}) but has no candle of it by REST; "
                    "try again later, or --source archive"
                )
            period = replace(period, first_ms=found.first_ms).with_notes(*found.notes)
        elif trades and known.end_ms is not None:
            again = find_relisting(self._series, symbol, known.end_ms, self.exchange)
            if again is not None:
                return replace(period, first_ms=again.first_ms).with_notes(*again.notes)
        return self._with_dormancy(period, find_last) if trades else self._with_end(period, symbol, find_last)

    def _first_and_last(self, symbol: SymbolInfo, trades: bool) -> tuple[FirstListing | None, FindLast]:
        """Return the first candle, and how the last one is found: asked for beside it where it is needed anyway."""

        def find_first() -> FirstListing | None:
            return find_first_listing(self._series, symbol, self.exchange, self.allowed)

        begins_ms = self.wanted.start_ms if self.wanted.start_ms is not None else symbol.onboard_ms
        ends_ms = self.wanted.end_ms if self.wanted.end_ms is not None else self._now_ms()
        if trades and (begins_ms is None or not _is_long(self._series.interval, begins_ms, ends_ms)):
            return find_first(), self._find_last
        found, last_ms = both(find_first, lambda: self._find_last(None))
        return found, lambda _listing_ms: last_ms

    def _find_last(self, listing_ms: int | None) -> int | None:
        return self.exchange.find_last_candle(self._series, listing_ms)

    def _with_end(self, period: ListingPeriod, symbol: SymbolInfo, find_last: FindLast) -> ListingPeriod:
        """Return the listing of a symbol that no longer trades, with the end of its last candle."""
        known, now_ms = self._known, self._now_ms()
        if known.status == symbol.status and self._is_final(period, now_ms):
            return replace(period, end_ms=known.end_ms)
        last_ms = find_last(period.first_ms)
        if last_ms is not None:
            return replace(period, end_ms=_end_of(self._series.interval, last_ms))
        if known.end_ms is not None:
            return replace(period, end_ms=known.end_ms)
        return replace(period, end_ms=symbol.delivery_ms if _is_delivered(symbol, now_ms) else None)

    def _with_dormancy(self, period: ListingPeriod, find_last: FindLast) -> ListingPeriod:
        """Return the listing of a symbol whose status is trading, with an end if it is dormant."""
        interval, known, now_ms = self._series.interval, self._known, self._now_ms()
        asked_ms = known.dormant_checked_ms if known.status == period.status else None
        still_dormant = replace(period, end_ms=known.end_ms, dormant_checked_ms=asked_ms)
        if (
            asked_ms is not None
            and asked_ms <= now_ms < asked_ms + _DORMANT_CHECK_MS
            and self._is_final(period, now_ms)
        ):
            return still_dormant
        whole, covered = wanted_span(self.wanted, period, now_ms), self.stored.covered
        if whole is None or not subtract([whole], covered):
            return period if asked_ms is None else still_dormant
        stored_until_ms = max(whole.start_ms, self._stored_until_ms()) if covered else whole.start_ms
        if not _is_long(interval, stored_until_ms, whole.end_ms):
            return period
        last_ms = find_last(period.first_ms)
        if last_ms is None:
            return period
        end_ms = _end_of(interval, last_ms)
        if not _is_long(interval, end_ms, closed_end(interval, now_ms)):
            return period
        return replace(period, end_ms=end_ms, dormant_checked_ms=now_ms)

    def _stored_until_ms(self) -> int:
        """Return the end of the newest stored candle. Coverage can extend further, over slots without candles."""
        last_ms, covered = self.stored.last_candle_ms, self.stored.covered
        covered_until_ms = covered[-1].end_ms
        if last_ms is None or last_ms >= covered_until_ms:
            return covered_until_ms
        return min(_end_of(self._series.interval, max(last_ms, covered[0].start_ms)), covered_until_ms)

    def _is_final(self, period: ListingPeriod, now_ms: int) -> bool:
        """Whether a known end is final: more than 7 days ago, and the wanted range is covered up to it."""
        end_ms, covered = self._known.end_ms, self.stored.covered
        if end_ms is None or now_ms - end_ms <= _LONG_MS:
            return False
        whole = wanted_span(self.wanted, replace(period, end_ms=end_ms), now_ms)
        return whole is None or (bool(covered) and covered[-1].end_ms >= whole.end_ms)

    def unlisted(self) -> ListingPeriod:
        """Return the listing of an unlisted symbol, from the catalog or else from the archives."""
        series, known = self._series, self._known
        if not self.allowed.archives:
            raise self._unknown_symbol("")
        if known.first_ms is not None and known.end_ms is not None:
            period = ListingPeriod(known.first_ms, known.end_ms, UNLISTED, notes=known.notes)
            now_ms = self._now_ms()
            if known.is_unlisted:
                is_known = now_ms - known.end_ms > _ARCHIVES_FINAL_MS
            else:
                is_known = self._is_final(period, now_ms)
            if is_known:
                return period
        try:
            found = find_archived_span(series, self.exchange, known.first_ms)
        except ArchiveUnavailable as error:
            raise self._unknown_symbol(f", and whether the archives hold it is not known ({error})") from error
        stored_until_ms = self._stored_until_ms() if self.stored.covered else None
        if found is None and stored_until_ms is None:
            raise self._unknown_symbol(", and the archives hold no file of it")
        notes = earlier_contracts_notes(series, self.exchange, self.allowed) if known.first_ms is None else ()
        # The last files may be to come, and REST had more than they have so far.
        ends_ms = [ms for ms in (stored_until_ms, found.end_ms if found is not None else None) if ms is not None]
        first_ms = known.first_ms if found is None else found.start_ms
        return ListingPeriod(first_ms, max(ends_ms), UNLISTED, notes=known.notes).with_notes(*notes)

    def _unknown_symbol(self, archives: str) -> SeriesError:
        series = self._series
        near = suggest(series.symbol, list(self.exchange.open_market(series.market, None)))
        return SeriesError(
            f"market {series.market} has no symbol {series.symbol}{near}{archives}; correct symbols.yml or --symbols"
        )


def _is_delivered(symbol: SymbolInfo, now_ms: int) -> bool:
    """Whether the delivery date has passed; a delisting moves it (docs/binance.md, Symbol list and statuses)."""
    return symbol.delivery_ms is not None and symbol.delivery_ms <= now_ms


def _end_of(interval: Interval, open_ms: int) -> int:
    """Return the end of the grid slot of a candle, whose open time may be off the grid."""
    return interval.add(interval.floor(open_ms), 1)


def _is_long(interval: Interval, since_ms: int, until_ms: int) -> bool:
    """Whether a range without candles is too long for a symbol that trades."""
    candles_ms = interval.add(interval.floor(since_ms), _LONG_CANDLES)
    return until_ms > max(since_ms + _LONG_MS, candles_ms)


def _is_newly_dormant(period: ListingPeriod, known: ListingPeriod) -> bool:
    if period.dormant_checked_ms is None:
        return False
    return known.dormant_checked_ms is None or (period.end_ms, period.status) != (known.end_ms, known.status)


def _log_news(series: Series, period: ListingPeriod, known: ListingPeriod) -> None:
    for text in period.notes:
        if text not in known.notes:
            _log.warning("%s: %s", series, text)
    if period.is_unlisted and not known.is_unlisted:
        _log.warning("%s: the exchange no longer lists the symbol; only the archives are used", series)
    elif period.end_ms is not None and _is_newly_dormant(period, known):
        _log.warning(
            "%s: no candle since %s although the exchange lists it as %s; "
            "it counts as delisted and is asked about once a week",
            series,
            format_ms(period.end_ms),
            period.status,
        )
    elif period.end_ms is not None and known.end_ms is None:
        _log.info("%s: delisted, its last candle ended %s", series, format_ms(period.end_ms))
