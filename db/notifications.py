"""Short messages between processes that use one database (NOTIFY and LISTEN).

None is kept: who does not listen misses it. A message is committed at once, and heard of by
connections that have no transaction open.
"""

from __future__ import annotations

import json
import select
from collections.abc import Mapping

from psycopg2 import sql

from db.connection import Database


def listen(database: Database, channel: str) -> None:
    """Hear of messages on `channel` from now on, by `heard`. Raises DatabaseUnavailable."""
    with database.transaction("listen to other processes") as tx:
        tx.cursor.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))


def notify(database: Database, channel: str, message: Mapping[str, object]) -> None:
    """Send a message to everybody who listens to `channel`. Raises DatabaseUnavailable."""
    with database.transaction("tell other processes") as tx:
        tx.cursor.execute("select pg_notify(%s, %s)", (channel, json.dumps(dict(message))))


def heard(database: Database, longest_s: float) -> list[dict[str, object]]:
    """Wait at most `longest_s` for messages and return them; what is not a JSON object is left out.

    Raises DatabaseUnavailable.
    """
    with database.listening("hear of other processes") as connection:
        if not connection.notifies:
            select.select([connection], [], [], longest_s)
            connection.poll()
        payloads = [one.payload for one in connection.notifies]
        connection.notifies.clear()
    found = []
    for payload in payloads:
        try:
            message = json.loads(payload)
        except ValueError:
            continue
        if isinstance(message, dict):
            found.append(message)
    return found
