"""Which stored series a command is about, and what the database holds of each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from commands.database import database_exists, open_database
from commands.run_log import set_up_logging
from config.settings import Settings
from config.symbols import parse_arguments
from core.errors import ConfigurationError
from core.ranges import Span
from core.wanted import WantedSeries, resolve
from db.catalog import CatalogRow, load_catalog
from db.connection import Database, Transaction
from db.ledger import LedgerTotals, VerificationAge, load_totals, load_verification_ages
from db.migrate import is_migrated
from db.operations import get_first_timestamp, get_last_timestamp
from db.schema import find_tables


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series of the catalog with what its table and the ledger say. Times are epoch ms (open times)."""

    row: CatalogRow
    rows: int  # by the ledger: counting would read whole tables, which is what `check` is for
    first_ms: int | None
    last_ms: int | None
    covered: tuple[Span, ...]  # merged
    verification: VerificationAge | None  # None: nothing committed


def open_for_reading(arguments: argparse.Namespace, settings: Settings) -> Database | None:
    """Return a connection for a command that only reads, or None when nothing was ever stored.

    Raises DatabaseUnavailable.
    """
    level = "DEBUG" if arguments.verbose else "WARNING"
    set_up_logging("-", level, settings.secrets, folder=None, terminal=None)
    if not database_exists(settings):
        return None
    database = open_database(settings)
    try:
        with database.transaction("look for the tables") as tx:
            if is_migrated(tx):
                return database
    except BaseException:
        database.close()
        raise
    database.close()
    return None


def choose_series(tx: Transaction, symbols: Sequence[str] | None, default_interval: str) -> list[CatalogRow]:
    """Return every series of the catalog, or those of --symbols.

    Raises ConfigurationError for a --symbols that is not in the catalog.
    """
    catalog = load_catalog(tx)
    if not symbols:
        return catalog
    wanted = parse_arguments(list(symbols), default_interval, None, None)
    markets = {row.series.market for row in catalog} | wanted.pattern_markets
    known = {m: [row.series.symbol for row in catalog if row.series.market is m] for m in markets}
    chosen = {one.series for one in resolve(wanted, known) if isinstance(one, WantedSeries)}
    if unknown := chosen - {row.series for row in catalog}:
        names = ", ".join(sorted(map(str, unknown)))
        raise ConfigurationError(f"--symbols: nothing is stored of {names}; see status for what there is")
    return [row for row in catalog if row.series in chosen]


def load_stored(tx: Transaction, symbols: Sequence[str] | None, default_interval: str) -> list[StoredSeries]:
    """Return what is stored of every series of the catalog, or of those of --symbols."""
    chosen = choose_series(tx, symbols, default_interval)
    totals = load_totals(tx, [row.id for row in chosen])
    ages = load_verification_ages(tx)
    there = sorted(find_tables(tx, [row.series.table_name for row in chosen]))
    first, last = get_first_timestamp(tx, there), get_last_timestamp(tx, there)
    stored = []
    for row in chosen:
        table, total = row.series.table_name, totals.get(row.id, LedgerTotals((), 0))
        stored.append(StoredSeries(row, total.rows, first.get(table), last.get(table), total.covered, ages.get(row.id)))
    return stored
