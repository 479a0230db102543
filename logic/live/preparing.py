"""Which of the wanted series can be streamed: entered into the catalog, and known and trading at the exchange."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import ExchangeUnavailable, SeriesError
from core.instrument import Market
from core.ranges import Span
from core.series import Series
from core.streams import StreamKey
from core.symbol_info import SymbolInfo
from core.times import MS_PER_DAY
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database
from db.ledger import load_totals
from fetcher.source import ExchangeSource
from logic.live.tools import LiveSeries


@dataclass(frozen=True, slots=True)
class History:
    """How much of the past is fetched before the stream."""

    is_wanted: bool = True  # False: nothing older than the end of what is covered
    days: int | None = None  # so many, from a midnight (UTC) on, instead of what the list says


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What a live run has to do."""

    wanted: list[WantedSeries]  # everything that is to be complete up to now
    series: list[LiveSeries]  # of these, what is streamed
    left_out: dict[Series, str]  # what is not streamed, with why


def plan_live(
    database: Database,
    exchange: ExchangeSource,
    wanted: Sequence[WantedSeries],
    replaces_catalog: bool,
    history: History,
) -> LivePlan:
    """Enter `wanted` into the catalog and return what is to be done.

    Raises DatabaseUnavailable, and ExchangeUnavailable when nothing can be streamed because of that.
    """
    with database.transaction("enter the series into the catalog") as tx:
        rows = sync_symbols(tx, wanted, replaces_catalog)
        totals = load_totals(tx, [row.id for row in rows.values()])
    active = [one for one in wanted if one.active]
    left_out: dict[Series, str] = {}
    unavailable: ExchangeUnavailable | None = None
    for market in sorted({one.series.market for one in active}):
        of_market = [one for one in active if one.series.market is market]
        try:
            symbols = exchange.open_market(market, {one.series.symbol for one in of_market})
        except (ExchangeUnavailable, SeriesError) as error:
            left_out |= {one.series: str(error) for one in of_market}
            if isinstance(error, ExchangeUnavailable):
                unavailable = error
            continue
        now_ms = exchange.now_ms(market)
        reasons = {one.series: _why_not(one, symbols, now_ms) for one in of_market}
        left_out |= {series: why for series, why in reasons.items() if why is not None}
    if unavailable is not None and left_out.keys() >= {one.series for one in active}:
        raise unavailable
    # Now the clocks are the exchange's.
    begun = []
    for one in active:
        total = totals.get(rows[one.series].id)
        covered = () if total is None else total.covered
        begun.append(_with_history(one, history, covered, exchange.now_ms(one.series.market)))
    streamed = [LiveSeries(rows[one.series].id, one) for one in begun if one.series not in left_out]
    return LivePlan(begun, streamed, left_out)


def _with_history(one: WantedSeries, history: History, covered: Sequence[Span], now_ms: int) -> WantedSeries:
    if not history.is_wanted:
        start_ms = covered[-1].end_ms if covered else one.series.interval.floor(now_ms)
    elif history.days is not None:
        start_ms = now_ms // MS_PER_DAY * MS_PER_DAY - history.days * MS_PER_DAY
    else:
        return one
    if one.end_ms is not None and start_ms >= one.end_ms:
        return one
    return dataclasses.replace(one, start_ms=start_ms)


def _why_not(one: WantedSeries, symbols: Mapping[str, SymbolInfo], now_ms: int) -> str | None:
    """Return why a series is not streamed, or None."""
    if one.end_ms is not None and one.end_ms <= now_ms:
        return "its wanted range has ended"
    return _why_not_traded(one.series.market, one.series.symbol, symbols)


def _why_not_traded(market: Market, symbol: str, symbols: Mapping[str, SymbolInfo]) -> str | None:
    facts = symbols.get(symbol)
    if facts is None:
        return f"the exchange lists no symbol {symbol} on market {market}"
    if not facts.is_trading:
        return f"it is not trading (status {facts.status})"
    return None


def plan_records(
    exchange: ExchangeSource, keys: Sequence[StreamKey]
) -> tuple[tuple[StreamKey, ...], dict[StreamKey, str]]:
    """Return which streams of the other kinds can be had, and why the rest cannot."""
    left_out: dict[StreamKey, str] = {}
    for market in sorted({key.market for key in keys}):
        of_market = [key for key in keys if key.market is market]
        try:
            symbols = exchange.open_market(market, {key.instrument.symbol for key in of_market})
        except (ExchangeUnavailable, SeriesError) as error:
            left_out |= {key: str(error) for key in of_market}
            continue
        reasons = {key: _why_not_traded(market, key.instrument.symbol, symbols) for key in of_market}
        left_out |= {key: why for key, why in reasons.items() if why is not None}
    return tuple(key for key in keys if key not in left_out), left_out
