"""Turns what is wanted into series, by the catalog or the exchange's symbol list; loads what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence

from core.series import Series
from core.wanted import Wanted, WantedSeries, resolve
from db.catalog import load_catalog, load_symbols_from_db
from db.connection import Database
from db.ledger import load_totals
from db.migrate import is_migrated
from fetcher.source import ExchangeSource
from logic.planning.listing import StoredCoverage


def resolve_patterns(wanted: Wanted, exchange: ExchangeSource) -> list[WantedSeries]:
    """Return the wanted series; the exchange's symbol list is requested only when there is a pattern.

    Raises ConfigurationError when a pattern matches nothing, ExchangeUnavailable when a list cannot be read.
    """
    symbols = {
        market: sorted(name for name, facts in exchange.open_market(market, None).items() if not facts.is_pending)
        for market in sorted(wanted.pattern_markets)
    }
    return resolve(wanted, symbols)


def active_series(database: Database) -> list[WantedSeries]:
    """Return the active series of the catalog with their ranges; none when there is no catalog yet."""
    with database.transaction("read the active series from public.symbols") as tx:
        return load_symbols_from_db(tx) if is_migrated(tx) else []


def load_known(database: Database, series: Sequence[Series]) -> dict[Series, StoredCoverage]:
    """Return listing and coverage of those of `series` that are in the catalog."""
    with database.transaction("read what is covered") as tx:
        if not is_migrated(tx):
            return {}
        rows = [row for row in load_catalog(tx) if row.series in set(series)]
        totals = load_totals(tx, [row.id for row in rows])
    return {row.series: StoredCoverage(row.listing, totals[row.id].covered if row.id in totals else ()) for row in rows}
