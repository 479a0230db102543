"""Which series are stored, and what the database holds of each. Read-only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.errors import ConfigurationError
from core.provisional import ProvisionalCandles
from core.ranges import Span
from core.series import Series
from core.staleness import NewestCoverage, is_stale
from core.wanted import Wanted, WantedSeries, resolve
from db.catalog import CatalogRow, load_catalog
from db.connection import Database, Transaction
from db.exchange_clock import load_exchange_now_ms
from db.ledger import LedgerTotals, VerificationAge, load_newest_coverage, load_totals, load_verification_ages
from db.many_tables import read_many
from db.operations import get_first_timestamp, get_last_timestamp, load_newest
from db.provisional import find_provisional
from db.schema import find_tables
from db.witness import WitnessTotals, load_witness_totals

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series of the catalog with figures of its table and the ledger. Times are open times, epoch ms."""

    row: CatalogRow
    rows: int  # by the ledger: counting would read the whole table, which `check` does
    first_ms: int | None
    last_ms: int | None
    covered: tuple[Span, ...]  # merged
    verification: VerificationAge | None  # None: nothing committed
    now_ms: int  # the exchange's clock when this was read
    newest: NewestCoverage | None = None
    witness: WitnessTotals = field(default_factory=WitnessTotals)
    provisional: ProvisionalCandles = field(default_factory=ProvisionalCandles)

    @property
    def lag_ms(self) -> int | None:
        """The time since the end of the newest candle in ms; None where no newer one is to come, or none is there."""
        until_ms = self.row.wanted.end_ms
        is_bounded = until_ms is not None and until_ms <= self.now_ms
        if self.last_ms is None or self.row.listing.end_ms is not None or is_bounded:
            return None
        interval = self.row.series.interval
        return max(0, self.now_ms - interval.add(interval.floor(self.last_ms), 1))

    @property
    def is_audit_overdue(self) -> bool:
        """Whether streamed candles wait for their audit for too long, as `check` tells it."""
        return self.provisional.is_overdue(self.now_ms)

    @property
    def is_stale(self) -> bool:
        """Whether it should grow and stands still, as `check` tells it."""
        row = self.row
        if not row.active or self.newest is None:
            return False
        return is_stale(row.series.interval, row.listing, row.wanted, self.newest, self.now_ms)


def read_catalog(database: Database, wanted: Wanted | None) -> list[CatalogRow]:
    """Return the rows of the catalog that `wanted` names, patterns included; None: all.

    Raises ConfigurationError for a series that is not in the catalog.
    """
    with database.transaction("read the catalog") as tx:
        return choose_series(tx, wanted)


def read_stored(database: Database, wanted: Wanted | None) -> list[StoredSeries]:
    """Return what is stored of the series that `wanted` names; None: of all.

    Raises ConfigurationError for a series that is not in the catalog.
    """
    with database.transaction("read what is stored") as tx:
        chosen = choose_series(tx, wanted)
        totals = load_totals(tx, [row.id for row in chosen])
        ages = load_verification_ages(tx)
        newest = load_newest_coverage(tx, [row.id for row in chosen])
        witnesses = load_witness_totals(tx, [row.id for row in chosen])
        provisional = find_provisional(tx, [row.id for row in chosen])
        there = sorted(find_tables(tx, [row.series.table_name for row in chosen]))
        markets = {(row.series.exchange, row.series.market) for row in chosen}
        now_ms = {market: load_exchange_now_ms(tx, *market) for market in markets}
    first, unreadable = read_many(database, there, get_first_timestamp)
    last, _ = read_many(database, [table for table in there if table not in unreadable], get_last_timestamp)
    for error in unreadable.values():
        _log.warning("%s", error)
    stored = []
    for row in chosen:
        series, total = row.series, totals.get(row.id, LedgerTotals((), 0))
        stored.append(
            StoredSeries(
                row,
                total.rows,
                first.get(series.table_name),
                last.get(series.table_name),
                total.covered,
                ages.get(row.id),
                now_ms[series.exchange, series.market],
                newest.get(row.id),
                witnesses.get(row.id, WitnessTotals()),
                ProvisionalCandles.of(series.interval, provisional.get(row.id, ())),
            )
        )
    return stored


def newest_candles(database: Database, series: Series, limit: int) -> tuple[list[str], Sequence[Sequence[str]]]:
    """Return the column names and the newest `limit` candles of a stored series as text, the newest first."""
    with database.transaction(f"read the newest candles of {series}") as tx:
        return load_newest(tx, series.table_name, limit)


def choose_series(tx: Transaction, wanted: Wanted | None) -> list[CatalogRow]:
    """Return the rows of the catalog that `wanted` names; None: all. Raises ConfigurationError for an unknown one."""
    catalog = load_catalog(tx)
    if wanted is None:
        return catalog
    markets = {row.series.market for row in catalog} | wanted.pattern_markets
    known = {m: [row.series.symbol for row in catalog if row.series.market is m] for m in markets}
    chosen = {one.series for one in resolve(wanted, known) if isinstance(one, WantedSeries)}
    if unknown := chosen - {row.series for row in catalog}:
        names = ", ".join(sorted(map(str, unknown)))
        raise ConfigurationError(f"nothing is stored of {names}; see status for what there is")
    return [row for row in catalog if row.series in chosen]
