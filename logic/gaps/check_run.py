"""Checks the chosen series against grid, ledger and gaps, one after the other. Read-only, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.errors import StatementRefused
from core.ranges import TimeRange
from db.catalog import CatalogRow
from db.connection import Database, read_one_moment
from db.exchange_clock import load_exchange_now_ms
from logic.gaps.series_check import SeriesCheck, check_series


def check_each(database: Database, rows: Sequence[CatalogRow], asked: TimeRange) -> Iterator[SeriesCheck]:
    """Yield the check of each of `rows`, over its expected range or the range `asked` for.

    Which candles have closed is decided by the exchange's clock as last stored (db/exchange_clock.py). Each series is
    read in one database snapshot, so a run that commits meanwhile does not matter. One that cannot be read now, because
    its table is locked for example, is no complete one and says why. Raises DatabaseUnavailable.
    """
    for row in rows:
        try:
            with database.transaction(f"check {row.series}") as tx:
                read_one_moment(tx)
                now_ms = load_exchange_now_ms(tx, row.series.exchange, row.series.market)
                check = check_series(tx, row, asked, now_ms)
        except StatementRefused as error:
            check = SeriesCheck(row, (), not_checked=str(error))
        yield check
