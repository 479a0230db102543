"""Opens what a run works with, from plain values: the user's database or the embedded one, and the exchange."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DatabaseUnavailable
from db.connection import Database
from db.embedded import EmbeddedServer
from db.migrate import is_migrated, migrate
from db.shared_weight import SharedWeight
from db.timescale import use_timescale_if_there
from fetcher.addresses import ExchangeAddresses
from fetcher.exchanges import open_exchange
from fetcher.source import ExchangeSource

# What a caller needs to name what is opened here.
__all__ = [
    "CancelOnStop",
    "Database",
    "DatabaseAddress",
    "ExchangeAddresses",
    "ExchangeSource",
    "database_exists",
    "enable_timescale",
    "fresh_embedded_database",
    "open_database",
    "open_exchange",
    "open_for_reading",
    "open_for_writing",
    "shared_budget",
]

_NAME = "ohlcv_data_fetcher"

_log = logging.getLogger(__name__)

CancelOnStop = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Takes what ends a statement under way; calls it, while the context lasts, when the caller is told to stop."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """A server of the user's own, by URL or libpq keywords; without both the embedded one in `embedded_dir`."""

    embedded_dir: Path
    url: str | None = field(default=None, repr=False)
    keywords: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether this program runs the server itself."""
        return self.url is None and not self.keywords


def database_exists(address: DatabaseAddress) -> bool:
    """Whether there is a database to read; False only when the embedded one was never created."""
    return not address.is_embedded or EmbeddedServer(address.embedded_dir).exists()


@contextmanager
def open_database(address: DatabaseAddress, cancel_on_stop: CancelOnStop) -> Iterator[Database]:
    """Yield a connection and close it, starting the embedded server where none is configured.

    Raises DatabaseUnavailable.
    """
    database = _connect(address)
    try:
        with cancel_on_stop(database.cancel):
            yield database
    finally:
        database.close()


@contextmanager
def open_for_writing(address: DatabaseAddress, cancel_on_stop: CancelOnStop) -> Iterator[Database]:
    """Yield a connection to a database whose schema is up to date. Raises DatabaseUnavailable."""
    with open_database(address, cancel_on_stop) as database:
        migrate(database)
        yield database


@contextmanager
def open_for_reading(address: DatabaseAddress, cancel_on_stop: CancelOnStop) -> Iterator[Database | None]:
    """Yield a connection, or None when nothing was ever stored; creates nothing. Raises DatabaseUnavailable."""
    if not database_exists(address):
        yield None
        return
    with open_database(address, cancel_on_stop) as database:
        with database.transaction("look for the tables") as tx:
            is_there = is_migrated(tx)
        yield database if is_there else None


def enable_timescale(database: Database) -> bool:
    """Whether new tables become hypertables; enables the extension where the server offers it."""
    return use_timescale_if_there(database)


@contextmanager
def shared_budget(address: DatabaseAddress, cancel_on_stop: CancelOnStop, exchange: ExchangeSource) -> Iterator[None]:
    """Let all runs on the database keep one request-weight budget, over a connection of its own.

    Raises DatabaseUnavailable.
    """
    with open_database(address, cancel_on_stop) as database:
        exchange.share_budget(SharedWeight(database).reserve)
        yield


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


def _connect(address: DatabaseAddress) -> Database:
    if not address.is_embedded:
        return Database.connect(address.url, address.keywords, _NAME)
    server = EmbeddedServer(address.embedded_dir)
    server.ensure_running()
    _log.info("embedded PostgreSQL in %s; to look inside: %s", address.embedded_dir, server.psql_line())
    try:
        return Database.connect(None, server.keywords(), _NAME)
    except DatabaseUnavailable:  # as after a first start that was killed between the server and its database
        server.ensure_database()
        return Database.connect(None, server.keywords(), _NAME)
