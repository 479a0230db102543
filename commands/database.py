"""Opens the configured database: the user's own server, or the embedded one."""

from __future__ import annotations

import logging

from config.settings import Settings
from db.connection import Database
from db.embedded import EmbeddedServer

_log = logging.getLogger(__name__)


def open_database(settings: Settings) -> Database:
    """Connect, starting the embedded server where no other is configured. Raises DatabaseUnavailable."""
    name = "ohlcv_data_fetcher"
    if settings.database is not None:
        return Database.connect(settings.database.url, settings.database.keywords, name)
    server = EmbeddedServer(settings.embedded_pg_dir)
    server.ensure_running()
    _log.info("embedded PostgreSQL in %s; to look inside: %s", settings.embedded_pg_dir, server.psql_line())
    return Database.connect(None, server.keywords(), name)


def database_exists(settings: Settings) -> bool:
    """Whether there is a database to read; False only when the embedded one was never created."""
    return settings.database is not None or EmbeddedServer(settings.embedded_pg_dir).exists()
