"""Brings the project's own tables up to date with numbered SQL files, each applied once, all in one transaction."""

from __future__ import annotations

import logging
from pathlib import Path

import psycopg2

from core.errors import DatabaseUnavailable, SeriesError, StatementRefused
from db.connection import Database, Transaction, fetch_one
from db.locks import lock_schema
from db.neighbours import find_marked, find_other_writers

OWN_TABLES = (
    "ohlcv_series",
    "ohlcv_ledger",
    "ohlcv_gaps",
    "ohlcv_corrections",
    "ohlcv_external_changes",
    "ohlcv_weight",
    "fetch_clock",
    "market_instruments",
    "market_agg_trades",
    "market_trades",
    "market_depth",
    "market_tickers",
    "market_mark_prices",
    "market_funding_rates",
    "stream_gaps",
    "fetch_environment",
    "stream_sessions",
    "stream_status",
    "ohlcv_migrations",
)
_FOLDER = Path(__file__).parent / "migrations"

_MADE_ANEW = (
    "restore the project's own tables from a backup, or have all of them made anew: "
    'docs/storage.md, "When one of them is gone"'
)

_ELSEWHERE = (
    "nothing was made or changed there; use a database of its own for this program (DATABASE_URL or PG_DATABASE)"
)
_TAKEN_NAMES = frozenset({"42P07", "42710", "42723"})  # SQLSTATE: a relation, another object, a function exists already

# Until version 5 the catalog was public.symbols, a name that other programs use too. The ledger's foreign key tells
# which table it is. Later migrations use its present name.
_RENAME_CATALOG = """
do $$
declare
    catalog regclass = (select confrelid from pg_constraint
                        where conrelid = to_regclass('public.ohlcv_ledger') and contype = 'f');
    old record;
begin
    if catalog is null then
        raise undefined_table using message = 'the catalog is gone: no table that public.ohlcv_ledger refers to';
    end if;
    if catalog is not distinct from to_regclass('public.ohlcv_series') then
        return;
    end if;
    execute format('alter sequence %s rename to ohlcv_series_id_seq', pg_get_serial_sequence(catalog::text, 'id'));
    execute format('alter table %s rename to ohlcv_series', catalog);
    for old in select conname from pg_constraint where conrelid = catalog and starts_with(conname, 'symbols_') loop
        execute format('alter table public.ohlcv_series rename constraint %I to %I',
                       old.conname, 'ohlcv_series' || substr(old.conname, length('symbols') + 1));
    end loop;
end $$
"""

_log = logging.getLogger(__name__)


def migrate(database: Database) -> None:
    """Apply the migrations that the database lacks.

    Raises DatabaseUnavailable when the schema is newer than this program, or when a table of the project is gone.
    """
    known = _known_migrations()
    with database.transaction("read the schema version") as tx:
        applied = applied_versions(tx)
        if applied == set(known):
            _require_own_tables(tx)
            return
    try:
        _apply(database, known)
    except StatementRefused as error:
        raise DatabaseUnavailable(str(error)) from error
    except SeriesError as error:  # a statement failed: the tables are not those that the migrations made
        is_taken = isinstance(error.__cause__, psycopg2.Error) and error.__cause__.pgcode in _TAKEN_NAMES
        raise DatabaseUnavailable(f"{error}; {_ELSEWHERE if is_taken else _MADE_ANEW}") from error
    with database.transaction("look for other programs' tables") as tx:
        _say_what_is_shared(tx)


def _apply(database: Database, known: dict[int, Path]) -> None:
    with database.transaction("bring the schema up to date") as tx:
        lock_schema(tx)
        applied = applied_versions(tx)
        if not applied:
            _require_free_names(tx, database.address)
        tx.cursor.execute(
            "create table if not exists public.ohlcv_migrations"
            " (version integer primary key, name text not null, applied_at timestamptz not null default now())"
        )
        if newer := applied - set(known):
            raise DatabaseUnavailable(
                f"the database's schema has version {max(newer)}, this program knows up to {max(known)}: "
                "update the program"
            )
        if applied:
            tx.cursor.execute(_RENAME_CATALOG)
        for version, path in known.items():
            if version not in applied:
                tx.cursor.execute(path.read_text(encoding="utf-8"))
                tx.cursor.execute(
                    "insert into public.ohlcv_migrations (version, name) values (%s, %s)", (version, path.stem)
                )
                _log.info("schema migration %s applied", path.stem)
                _log_warnings(tx)


def _log_warnings(tx: Transaction) -> None:
    """Log what a migration had to say of the data that it found."""
    for notice in tx.cursor.connection.notices:
        if notice.startswith("WARNING:"):
            _log.warning("%s", notice.removeprefix("WARNING:").strip())
    tx.cursor.connection.notices.clear()


def _require_free_names(tx: Transaction, address: str) -> None:
    """Check that a database without migrations has no tables of the program's names. Raises DatabaseUnavailable."""
    found = find_marked(tx, [name for name in OWN_TABLES if name != "ohlcv_migrations" or not _has_versions(tx)])
    if others := [f"public.{name}" for name, is_ours in found.items() if not is_ours]:
        raise DatabaseUnavailable(
            f"{', '.join(others)} in {address} is not this program's (its comment does not say so), "
            f"and the program needs that name; {_ELSEWHERE}"
        )
    if found:
        raise DatabaseUnavailable(
            f"the project's own table public.ohlcv_migrations in {address} is gone or empty; {_MADE_ANEW}"
        )


def _say_what_is_shared(tx: Transaction) -> None:
    if find_marked(tx, ["symbols"]) == {"symbols": False}:
        _log.warning(
            "public.symbols is not this program's and stays as it is; a run without symbols.yml reads it as the list "
            "of what to fetch, if it has a column symbol"
        )
    if find_marked(tx, ["ohlcv"]) == {"ohlcv": False}:
        _log.warning("public.ohlcv is not this program's and stays as it is; there is no view over all series here")
    if writers := find_other_writers(tx):
        _log.warning(
            "new tables in the schema public may be changed by %s too, candles among them (default privileges of this "
            'database); docs/troubleshooting.md, "Security", tells how to take that away',
            ", ".join(writers),
        )


def is_migrated(tx: Transaction) -> bool:
    """Whether the project's tables exist.

    Raises DatabaseUnavailable when they have another version or some are gone.
    """
    applied = applied_versions(tx)
    if applied and applied != set(_known_migrations()):
        raise DatabaseUnavailable(
            f"the database's schema has version {max(applied)}, this program reads version {max(_known_migrations())}: "
            "run a backfill once, which brings it up to date (or update the program where the schema is the newer)"
        )
    if applied:
        _require_own_tables(tx)
    return bool(applied)


def _require_own_tables(tx: Transaction) -> None:
    tx.cursor.execute(
        "select name from unnest(%s) as name where to_regclass('public.' || name) is null", ([*OWN_TABLES],)
    )
    if gone := [f"public.{name}" for (name,) in tx.cursor.fetchall()]:
        raise DatabaseUnavailable(f"the project's own table {', '.join(gone)} is gone; {_MADE_ANEW}")


def _known_migrations() -> dict[int, Path]:
    return {int(path.name[:4]): path for path in sorted(_FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))}


def applied_versions(tx: Transaction) -> set[int]:
    """Return the versions that are already applied; an empty set for a new database."""
    if not _has_versions(tx):
        return set()
    tx.cursor.execute("select version from public.ohlcv_migrations")
    return {version for (version,) in tx.cursor.fetchall()}


def _has_versions(tx: Transaction) -> bool:
    """Whether public.ohlcv_migrations exists and has the columns that this program's has."""
    tx.cursor.execute(
        """
        select count(*) = 3 from pg_attribute where attrelid = to_regclass('public.ohlcv_migrations')
          and (attname, atttypid) in (('version', 'integer'::regtype), ('name', 'text'::regtype),
                                      ('applied_at', 'timestamptz'::regtype))
        """
    )
    return bool(fetch_one(tx)[0])
