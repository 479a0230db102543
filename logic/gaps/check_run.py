"""Holds the chosen series against grid, ledger and gaps, one after the other. Reads only, asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from db.catalog import CatalogRow
from db.connection import Database, read_one_moment
from logic.gaps.series_check import SeriesCheck, check_series


def check_each(
    database: Database,
    rows: Sequence[CatalogRow],
    start_ms: int | None,
    end_ms: int | None,
    now_ms: Callable[[], int],
) -> Iterator[SeriesCheck]:
    """Yield the check of each of `rows`, over its expected range or from `start_ms` to `end_ms` (exclusive).

    Each is seen at one moment of the database, so a run that commits meanwhile does not disturb it.
    Raises DatabaseUnavailable and SeriesError.
    """
    for row in rows:
        with database.transaction(f"check {row.series}") as tx:
            read_one_moment(tx)
            check = check_series(tx, row, start_ms, end_ms, now_ms())
        yield check
