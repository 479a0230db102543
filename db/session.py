"""What a connection to PostgreSQL is opened with, and what a session sets for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2.extensions import parse_dsn

# Notices a server that is gone without closing the connection; otherwise the run would wait for it for hours.
_NOTICE_A_LOST_SERVER = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "90000",  # ms; on systems that support it
}

LOCK_TIMEOUT_S = 30
# The server notices a client whose machine is gone after 90 s, and gives its locks back (PostgreSQL manual,
# "Connections and Authentication"). A transaction of this program never waits for the network or a person.
_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "default_transaction_isolation": "read committed",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "jit": "off",  # compiles a plan over thousands of chunks for minutes that then runs for seconds
    "statement_timeout": "0",  # of the role or the provider: counting or hashing years may take longer
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "10min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
_SINCE_17 = {"transaction_timeout": "0"}


def connection_settings(url: str | None, keywords: Mapping[str, str], application_name: str) -> dict[str, Any]:
    """Return the libpq keywords to connect with beside `url`; what URL and keywords say themselves wins.

    Raises psycopg2.ProgrammingError for a URL that is none.
    """
    defaults = {"connect_timeout": "10", "application_name": application_name, **_NOTICE_A_LOST_SERVER}
    said = parse_dsn(url) if url else {}
    ours = {name: value for name, value in defaults.items() if name not in said}
    # The encoding is not a matter of taste: others lack letters that symbols have.
    return {**ours, **keywords, "client_encoding": "UTF8"}


def session_statement(server_version: int) -> str:
    """Return the SQL that makes a session independent of what server, database and role are set to."""
    settings = _SETTINGS | (_SINCE_17 if server_version >= 170_000 else {})
    return "; ".join(f"set {name} = '{value}'" for name, value in settings.items())
