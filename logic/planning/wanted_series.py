"""Turns what is wanted into series, by public.symbols or the exchange's symbol list; loads what is stored of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import ConfigurationError, SeriesError, StatementRefused
from core.instrument import Market
from core.series import Series
from core.symbol_info import SymbolInfo
from core.wanted import Wanted, WantedSeries, odd_names, resolve
from core.wanted_rows import WantedList
from db.catalog import load_catalog
from db.connection import Database
from db.ledger import load_totals
from db.migrate import is_migrated
from db.symbols import load_symbols_from_db
from fetcher.source import ExchangeSource
from logic.planning.listing import StoredCoverage, is_completed


@dataclass(frozen=True, slots=True)
class Resolved:
    """The series of a run, and the names that a pattern matches but that this program cannot keep."""

    series: list[WantedSeries]
    odd_names: list[str]


def resolve_patterns(wanted: Wanted, database: Database | None, exchange: ExchangeSource) -> Resolved:
    """Return the wanted series; the exchange's symbol list is requested only when there is a pattern.

    A series that the exchange no longer lists stays wanted until its last archive files are in. Raises
    ConfigurationError when a pattern matches nothing, ExchangeUnavailable when a list cannot be read.
    """
    listed = {market: exchange.open_market(market, None) for market in sorted(wanted.pattern_markets)}
    symbols = {
        market: sorted(name for name, facts in found.items() if not facts.is_pending)
        for market, found in listed.items()
    }
    unlisted = [] if database is None or not listed else _to_complete(database, listed, exchange)
    return Resolved(resolve(wanted, symbols, unlisted), odd_names(wanted, symbols))


def _to_complete(
    database: Database, listed: Mapping[Market, Mapping[str, SymbolInfo]], exchange: ExchangeSource
) -> list[Series]:
    """Return the series of the catalog that the exchange no longer lists and that are not complete to their end."""
    with database.transaction("look for series that are no longer listed") as tx:
        catalog = load_catalog(tx) if is_migrated(tx) else []
        gone = [
            one for one in catalog if one.series.market in listed and one.series.symbol not in listed[one.series.market]
        ]
        totals = load_totals(tx, [row.id for row in gone])
    return [
        row.series
        for row in gone
        if row.id in totals
        and not is_completed(row.listing, totals[row.id].covered, exchange.now_ms(row.series.market))
    ]


def listed_series(database: Database, default_interval: str) -> WantedList:
    """Return the active series of public.symbols with their ranges. Raises ConfigurationError when it is no list."""
    try:
        with database.transaction("read the list in public.symbols") as tx:
            return load_symbols_from_db(tx, default_interval)
    except StatementRefused:  # for now
        raise
    except SeriesError as error:  # another program's view may fail by itself
        raise ConfigurationError(str(error)) from error


def load_known(database: Database, series: Sequence[Series]) -> dict[Series, StoredCoverage]:
    """Return listing and coverage of those of `series` that are in the catalog."""
    with database.transaction("read what is covered") as tx:
        if not is_migrated(tx):
            return {}
        rows = [row for row in load_catalog(tx) if row.series in set(series)]
        totals = load_totals(tx, [row.id for row in rows])
    return {row.series: StoredCoverage(row.listing, totals[row.id].covered if row.id in totals else ()) for row in rows}
