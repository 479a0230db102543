"""Brings the project's own tables up to date with numbered SQL files, each applied once, in a transaction."""

from __future__ import annotations

import logging
from pathlib import Path

from core.errors import DatabaseUnavailable, SeriesError
from db.connection import Database, Transaction, fetch_one
from db.locks import lock_schema

OWN_TABLES = (
    "symbols",
    "ohlcv_ledger",
    "ohlcv_gaps",
    "ohlcv_corrections",
    "ohlcv_external_changes",
    "ohlcv_weight",
    "fetch_clock",
    "ohlcv_migrations",
)
_FOLDER = Path(__file__).parent / "migrations"

_MADE_ANEW = (
    "restore the project's own tables from a backup, or have all of them made anew: "
    'docs/storage.md, "When one of them is gone"'
)

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
    except SeriesError as error:  # a statement failed: the tables are not those that the migrations made
        raise DatabaseUnavailable(f"{error}; {_MADE_ANEW}") from error


def _apply(database: Database, known: dict[int, Path]) -> None:
    with database.transaction("bring the schema up to date") as tx:
        lock_schema(tx)
        tx.cursor.execute(
            "create table if not exists public.ohlcv_migrations"
            " (version integer primary key, name text not null, applied_at timestamptz not null default now())"
        )
        applied = applied_versions(tx)
        if newer := applied - set(known):
            raise DatabaseUnavailable(
                f"the database's schema has version {max(newer)}, this program knows up to {max(known)}: "
                "update the program"
            )
        for version, path in known.items():
            if version not in applied:
                tx.cursor.execute(path.read_text(encoding="utf-8"))
                tx.cursor.execute(
                    "insert into public.ohlcv_migrations (version, name) values (%s, %s)", (version, path.stem)
                )
                _log.info("schema migration %s applied", path.stem)


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
    tx.cursor.execute("select to_regclass('public.ohlcv_migrations') is not null")
    if not fetch_one(tx)[0]:
        return set()
    tx.cursor.execute("select version from public.ohlcv_migrations")
    return {version for (version,) in tx.cursor.fetchall()}
