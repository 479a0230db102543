"""Opens the database: the user's own or the embedded one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DatabaseUnavailable
from core.instrument import ExchangeName
from core.timescale import TimescaleEdition, TimescaleUse
from db.connection import Database
from db.embedded import EmbeddedServer
from db.environment import require_environment
from db.market_hypertables import make_market_hypertables
from db.migrate import is_migrated, migrate
from db.rights import require_rights
from db.timescale import use_timescale

# Includes the types that callers need for annotations.
__all__ = [
    "CancelOnStop",
    "Database",
    "DatabaseAddress",
    "database_exists",
    "enable_timescale",
    "fresh_embedded_database",
    "open_database",
    "open_for_reading",
    "open_for_writing",
    "prepare_market_tables",
    "start_embedded",
    "stop_embedded",
]

_NAME = "ohlcv_data_fetcher"

_log = logging.getLogger(__name__)

CancelOnStop = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Takes a function that cancels the running statement; calls it if the run is stopped while the context is open."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """The user's own server, by URL or libpq keywords; without both, the embedded one in `embedded_dir`."""

    embedded_dir: Path
    url: str | None = field(default=None, repr=False)
    keywords: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether this program runs the server itself."""
        return self.url is None and not self.keywords


def database_exists(address: DatabaseAddress) -> bool:
    """Whether there is a database to read; False only for an embedded one that was never created."""
    return not address.is_embedded or EmbeddedServer(address.embedded_dir).exists()


@contextmanager
def open_database(address: DatabaseAddress, cancel_on_stop: CancelOnStop) -> Iterator[Database]:
    """Yield a connection and close it; start the embedded server when no database is configured.

    Raises DatabaseUnavailable.
    """
    database = _connect(address)
    try:
        with cancel_on_stop(database.cancel):
            yield database
    finally:
        database.close()


@contextmanager
def open_for_writing(
    address: DatabaseAddress, cancel_on_stop: CancelOnStop, exchange: ExchangeName, is_testnet: bool
) -> Iterator[Database]:
    """Yield a connection to a database whose schema is up to date.

    Raises DatabaseUnavailable, and ConfigurationError when it holds candles of the real exchange and those of its test
    network are asked for, or the other way round.
    """
    with open_database(address, cancel_on_stop) as database:
        _say_where(address)
        migrate(database)
        require_rights(database)
        require_environment(database, exchange, is_testnet)
        yield database


@contextmanager
def open_for_reading(address: DatabaseAddress, cancel_on_stop: CancelOnStop) -> Iterator[Database | None]:
    """Yield a connection, or None when nothing was ever stored. Creates nothing. Raises DatabaseUnavailable."""
    if not database_exists(address):
        yield None
        return
    with open_database(address, cancel_on_stop) as database:
        _say_where(address)
        with database.transaction("look for the tables") as tx:
            is_there = is_migrated(tx)
        yield database if is_there else None


def enable_timescale(database: Database, use: TimescaleUse) -> TimescaleEdition | None:
    """Return which edition of TimescaleDB new tables use; None: they are plain tables. Raises DatabaseUnavailable."""
    return use_timescale(database, use)


def prepare_market_tables(database: Database, is_timescale: bool, compress_after_days: int) -> None:
    """Make hypertables of the tables of trades and prices, where TimescaleDB is used. Raises DatabaseUnavailable."""
    if is_timescale:
        make_market_hypertables(database, compress_after_days)


def start_embedded(folder: Path, programs: Path | None) -> str:
    """Start the embedded server of `folder` and return the line that opens it in psql. Raises DatabaseUnavailable.

    `programs` is a folder with the programs of the PostgreSQL that made the data, where it is not the packaged one.
    """
    server = EmbeddedServer(folder, programs)
    server.ensure_running()
    return server.psql_line()


def stop_embedded(folder: Path) -> bool:
    """Stop the embedded server of `folder`; return whether there was one to stop. Raises DatabaseUnavailable."""
    return EmbeddedServer(folder).stop()


@contextmanager
def fresh_embedded_database(folder: Path) -> Iterator[None]:
    """Run the embedded server in `folder` with an empty database and stop it at the end; the files stay.

    Raises DatabaseUnavailable.
    """
    server = EmbeddedServer(folder)
    try:
        server.ensure_running()
        server.recreate_database()
        yield
    finally:
        server.stop()


def _say_where(address: DatabaseAddress) -> None:
    if address.is_embedded:
        psql = EmbeddedServer(address.embedded_dir).psql_line()
        _log.info("embedded PostgreSQL in %s; to look inside: %s", address.embedded_dir, psql)


def _connect(address: DatabaseAddress) -> Database:
    if not address.is_embedded:
        return Database.connect(address.url, address.keywords, _NAME)
    server = EmbeddedServer(address.embedded_dir)
    server.ensure_running()
    try:
        return Database.connect(None, server.keywords(), _NAME)
    except DatabaseUnavailable:  # an earlier first start was killed before it created the database
        server.ensure_database()
        return Database.connect(None, server.keywords(), _NAME)
