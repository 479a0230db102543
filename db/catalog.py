"""`public.ohlcv_series`: the catalog of the series that were ever fetched. Kept by the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg2.extras import execute_values

from core.errors import ConfigurationError
from core.listing import ListingPeriod
from core.ranges import TimeRange
from core.series import Series, make_series
from core.times import from_datetime, to_datetime
from core.wanted import WantedSeries
from db.connection import Transaction, named_rows
from db.locks import lock_schema


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One series of the catalog."""

    id: int
    series: Series
    active: bool  # the list of the last run named it
    listing: ListingPeriod = field(default_factory=ListingPeriod)
    checked_at_ms: int | None = None  # when the whole series was last checked for gaps
    wanted: TimeRange = field(default_factory=TimeRange)  # the range that the operator wants


def sync_symbols(tx: Transaction, wanted: Sequence[WantedSeries], replaces_catalog: bool) -> dict[Series, CatalogRow]:
    """Enter `wanted` into the catalog and return the rows of these series.

    With `replaces_catalog` (`wanted` is the whole list: symbols.yml or public.symbols) `active` and range are set from
    it, and series that it does not name become inactive; their candles stay. Without it (`--symbols`) new series are
    entered as inactive, so that an ad-hoc run does not change what `check` expects to be kept up to date.
    """
    # One run at a time: the table has two unique keys, and ON CONFLICT handles concurrent inserts for one of them only.
    lock_schema(tx)
    rows = sorted(
        (
            one.series.table_name,
            one.series.market.value,
            one.series.symbol,
            one.series.interval.code,
            one.active and replaces_catalog,
            _datetime(one.start_ms) if replaces_catalog else None,
            _datetime(one.end_ms) if replaces_catalog else None,
        )
        for one in wanted
    )
    taken_over = ["table_name"]
    if replaces_catalog:
        taken_over += ["active", "wanted_from", "wanted_until"]
        names = [row[0] for row in rows]
        tx.cursor.execute(
            "update public.ohlcv_series set active = false"
            " where active and (table_name is null or table_name <> all (%s))",
            (names,),
        )
    assignments = ", ".join(f"{column} = excluded.{column}" for column in taken_over)
    old, new = (", ".join(f"{table}.{column}" for column in taken_over) for table in ("known", "excluded"))
    execute_values(
        tx.cursor,
        "insert into public.ohlcv_series as known"
        ' (table_name, market, symbol, "interval", active, wanted_from, wanted_until) values %s'
        f' on conflict (market, symbol, "interval") do update set {assignments}'
        f" where row({old}) is distinct from row({new})",
        rows,
        page_size=1000,
    )
    wanted_series = {one.series for one in wanted}
    return {row.series: row for row in load_catalog(tx) if row.series in wanted_series}


def _series(market: str, symbol: str, interval: str) -> Series:
    try:
        return make_series(market, symbol, interval)
    except ConfigurationError as error:
        raise ConfigurationError(f"table public.ohlcv_series, row {market} {symbol} {interval}: {error}") from error


def load_catalog(tx: Transaction) -> list[CatalogRow]:
    """Return every series of the catalog that has a table name, by market, symbol and interval.

    Raises ConfigurationError for a row that is not a valid series because somebody edited it.
    """
    rows = named_rows(
        tx,
        'select id, market, symbol, "interval", active, listing, delisting, status, pending, notes, dormant_checked_at,'
        " checked_at, wanted_from, wanted_until from public.ohlcv_series where table_name is not null"
        " order by market desc, symbol, id",
    )
    return [
        CatalogRow(
            row.id,
            _series(row.market, row.symbol, row.interval),
            row.active,
            ListingPeriod(
                _ms(row.listing),
                _ms(row.delisting),
                row.status,
                row.pending,
                tuple(row.notes),
                _ms(row.dormant_checked_at),
            ),
            _ms(row.checked_at),
            TimeRange(_ms(row.wanted_from), _ms(row.wanted_until)),
        )
        for row in rows
    ]


def update_listing(tx: Transaction, series_id: int, listing: ListingPeriod) -> None:
    """Store the listing period of a series."""
    tx.cursor.execute(
        "update public.ohlcv_series set listing = %s, delisting = %s, status = %s, pending = %s, notes = %s,"
        " dormant_checked_at = %s where id = %s",
        (
            _datetime(listing.first_ms),
            _datetime(listing.end_ms),
            listing.status,
            listing.is_pending,
            [*listing.notes],
            _datetime(listing.dormant_checked_ms),
            series_id,
        ),
    )


def set_checked(tx: Transaction, series_id: int, at_ms: int) -> None:
    """Record that the whole series was checked for gaps at `at_ms` (epoch ms)."""
    tx.cursor.execute("update public.ohlcv_series set checked_at = %s where id = %s", (to_datetime(at_ms), series_id))


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else from_datetime(moment)


def _datetime(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)
