"""What the database holds of each series, for `status` and `check`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from commands.database import database_exists, open_database
from commands.run_log import set_up_logging
from config.settings import Settings
from config.symbols import parse_arguments
from core.errors import ConfigurationError
from core.ranges import Span
from core.wanted import WantedSeries, resolve
from db.catalog import CatalogRow, load_catalog
from db.ledger import LedgerTotals, load_totals
from db.migrate import is_migrated
from db.operations import count_rows, get_first_timestamp, get_last_timestamp
from db.schema import table_exists


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series of the catalog with what its table and the ledger say. Times are epoch ms (open times)."""

    row: CatalogRow
    rows: int  # counted in the table
    rows_recorded: int  # summed over the ledger
    first_ms: int | None
    last_ms: int | None
    covered: tuple[Span, ...]  # merged


def load_stored(arguments: argparse.Namespace, settings: Settings) -> list[StoredSeries]:
    """Return every series of the catalog, or those of --symbols. Reads only.

    Raises DatabaseUnavailable, and ConfigurationError for a --symbols that is not in the catalog.
    """
    wanted = parse_arguments(arguments.symbols, settings.default_interval, None, None) if arguments.symbols else None
    level = "DEBUG" if arguments.verbose else "WARNING"
    set_up_logging("-", level, settings.secrets, folder=None, terminal=None)
    if not database_exists(settings):
        return []
    database = open_database(settings)
    try:
        with database.transaction("read what is stored") as cursor:
            if not is_migrated(cursor):
                return []
            catalog = load_catalog(cursor)
            totals = load_totals(cursor)
            if wanted is not None:
                markets = {row.series.market for row in catalog} | wanted.pattern_markets
                symbols = {m: [row.series.symbol for row in catalog if row.series.market is m] for m in markets}
                chosen = {one.series for one in resolve(wanted, symbols) if isinstance(one, WantedSeries)}
                if unknown := chosen - {row.series for row in catalog}:
                    names = ", ".join(sorted(map(str, unknown)))
                    raise ConfigurationError(f"--symbols: nothing is stored of {names}; see status for what there is")
                catalog = [row for row in catalog if row.series in chosen]
            stored = []
            for row in catalog:
                table, total = row.series.table_name, totals.get(row.id, LedgerTotals((), 0))
                if table_exists(cursor, table):
                    first_ms, last_ms = get_first_timestamp(cursor, table), get_last_timestamp(cursor, table)
                    rows = count_rows(cursor, table)
                else:
                    first_ms, last_ms, rows = None, None, 0
                stored.append(StoredSeries(row, rows, total.rows, first_ms, last_ms, total.covered))
            return stored
    finally:
        database.close()
