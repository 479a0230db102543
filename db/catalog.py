"""`public.symbols`: the catalog of series, synced from symbols.yml or edited by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extras import execute_values

from core.errors import ConfigurationError
from core.series import Series, make_series
from core.times import from_datetime, to_datetime
from core.wanted import WantedSeries
from db.connection import Transaction
from db.locks import lock_schema


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One series as the catalog knows it."""

    id: int
    series: Series
    active: bool
    listing_ms: int | None
    delisting_ms: int | None
    status: str | None
    note: str | None = None  # what a reader should know, such as a ticker that was used before
    silence_asked_ms: int | None = None  # when it was last asked whether a silent symbol is back; None: not silent
    checked_at_ms: int | None = None  # when all of the series was last looked through for gaps
    wanted_from_ms: int | None = None  # None: from its listing
    wanted_until_ms: int | None = None  # exclusive; None: to the last closed candle


def sync_symbols(tx: Transaction, wanted: Sequence[WantedSeries], replaces_catalog: bool) -> dict[Series, CatalogRow]:
    """Enter `wanted` into the catalog and return the rows of these series.

    With `replaces_catalog` (a symbols.yml was read) activity and range are taken over, and series it
    does not name become inactive; their candles stay. Without it (`--symbols`) new series come in
    inactive, so that an ad-hoc run does not change what an unattended run takes.
    """
    # One run at a time: with two unique keys on the table ON CONFLICT cannot catch what another enters meanwhile.
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
            "update public.symbols set active = false where active and (table_name is null or table_name <> all (%s))",
            (names,),
        )
    assignments = ", ".join(f"{column} = excluded.{column}" for column in taken_over)
    old, new = (", ".join(f"{table}.{column}" for column in taken_over) for table in ("known", "excluded"))
    execute_values(
        tx.cursor,
        "insert into public.symbols as known"
        ' (table_name, market, symbol, "interval", active, wanted_from, wanted_until) values %s'
        f' on conflict (market, symbol, "interval") do update set {assignments}'
        f" where row({old}) is distinct from row({new})",
        rows,
        page_size=1000,
    )
    ours = {one.series for one in wanted}
    return {row.series: row for row in load_catalog(tx) if row.series in ours}


def _series(market: str, symbol: str, interval: str) -> Series:
    try:
        return make_series(market, symbol, interval)
    except ConfigurationError as error:
        raise ConfigurationError(f"table public.symbols, row {market} {symbol} {interval}: {error}") from error


def load_catalog(tx: Transaction) -> list[CatalogRow]:
    """Return every series of the catalog that has a table name, by market, symbol and interval.

    Raises ConfigurationError for a row, changed by hand, that names no possible series.
    """
    tx.cursor.execute(
        'select id, market, symbol, "interval", active, listing, delisting, status, note, silence_asked_at,'
        " checked_at, wanted_from, wanted_until from public.symbols where table_name is not null"
        " order by market desc, symbol, id"
    )
    return [
        CatalogRow(
            id_,
            _series(market, symbol, interval),
            active,
            _ms(listing),
            _ms(delisting),
            status,
            note,
            *map(_ms, times),
        )
        for id_, market, symbol, interval, active, listing, delisting, status, note, *times in tx.cursor.fetchall()
    ]


def load_symbols_from_db(tx: Transaction) -> list[WantedSeries]:
    """Return the active series of the catalog with their ranges: what runs when there is no symbols.yml.

    Raises ConfigurationError for a hand-written row that names no possible series.
    """
    tx.cursor.execute(
        'select market, symbol, "interval", wanted_from, wanted_until from public.symbols where active order by id'
    )
    return [
        WantedSeries(_series(market, symbol, interval), _ms(start), _ms(end))
        for market, symbol, interval, start, end in tx.cursor.fetchall()
    ]


def update_life(
    tx: Transaction,
    series_id: int,
    listing_ms: int | None,
    delisting_ms: int | None,
    status: str | None,
    note: str | None,
    silence_asked_ms: int | None = None,
) -> None:
    """Store what is known of the symbol's life, times in epoch ms.

    An unknown listing does not erase a known one; all else is written as given.
    """
    tx.cursor.execute(
        """
        update public.symbols
        set listing = coalesce(%(listing)s, listing), delisting = %(delisting)s, status = %(status)s, note = %(note)s,
            silence_asked_at = %(asked)s
        where id = %(id)s and row(listing, delisting, status, note, silence_asked_at)
            is distinct from row(coalesce(%(listing)s, listing), %(delisting)s, %(status)s, %(note)s, %(asked)s)
        """,
        {
            "listing": _datetime(listing_ms),
            "delisting": _datetime(delisting_ms),
            "status": status,
            "note": note,
            "asked": _datetime(silence_asked_ms),
            "id": series_id,
        },
    )


def set_checked(tx: Transaction, series_id: int, at_ms: int) -> None:
    """Note that all of the series was looked through for gaps."""
    tx.cursor.execute("update public.symbols set checked_at = %s where id = %s", (to_datetime(at_ms), series_id))


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else from_datetime(moment)


def _datetime(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)
