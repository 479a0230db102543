"""Opens the configured database: the user's own server, or the embedded one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from commands.interrupt import cancel_when_stopped
from config.settings import Settings
from core.errors import DatabaseUnavailable
from db.connection import Database
from db.embedded import EmbeddedServer
from db.shared_weight import SharedWeight

if TYPE_CHECKING:  # `status` need not load what only a run needs
    from fetcher.binance.exchange import Exchange

_NAME = "ohlcv_data_fetcher"

_log = logging.getLogger(__name__)


def open_database(settings: Settings) -> Database:
    """Connect, starting the embedded server where no other is configured. Raises DatabaseUnavailable."""
    if settings.database is None:
        server = EmbeddedServer(settings.embedded_pg_dir)
        server.ensure_running()
        _log.info("embedded PostgreSQL in %s; to look inside: %s", settings.embedded_pg_dir, server.psql_line())
        try:
            return _connect(settings)
        except DatabaseUnavailable:  # as after a first start that was killed between the server and its database
            server.ensure_database()
    return _connect(settings)


def _connect(settings: Settings) -> Database:
    if settings.database is not None:
        database = Database.connect(settings.database.url, settings.database.keywords, _NAME)
    else:
        database = Database.connect(None, EmbeddedServer(settings.embedded_pg_dir).keywords(), _NAME)
    cancel_when_stopped(database.cancel)
    return database


@contextmanager
def shared_budget(settings: Settings, exchange: Exchange) -> Iterator[None]:
    """Let all runs on the configured database, which is open already, keep one request-weight budget.

    Raises DatabaseUnavailable.
    """
    shared = SharedWeight(_connect(settings))
    try:
        exchange.share_budgets(shared.reserve)
        yield
    finally:
        shared.close()


def database_exists(settings: Settings) -> bool:
    """Whether there is a database to read; False only when the embedded one was never created."""
    return settings.database is not None or EmbeddedServer(settings.embedded_pg_dir).exists()
