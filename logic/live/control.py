"""Tells streams that run, in whatever process, what to do: by messages over the database they store into."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from core.instrument import Market
from db.connection import Database
from db.notifications import heard, listen, notify

CONTROL = "ohlcv_stream_control"
RECONNECT = "reconnect"
_REPLIES_S = 10.0
_MORE_REPLIES_S = 0.5  # after the first: two streams may run


@dataclass(frozen=True, slots=True)
class Obeyed:
    """A process that does what it was told."""

    host: str
    pid: int


def reply_channel(message: Mapping[str, object]) -> str:
    """Return the channel on which the sender of `message` waits for replies."""
    return f"ohlcv_stream_reply_{message.get('id')}"[:63]


def ask_for_reconnect(database: Database, market: Market | None, longest_s: float = _REPLIES_S) -> list[Obeyed]:
    """Have all streams on `database` replace their connections, of one market or of all; return who does.

    Raises DatabaseUnavailable.
    """
    message = {"id": uuid.uuid4().hex, "do": RECONNECT, "market": None if market is None else market.value}
    listen(database, reply_channel(message))
    notify(database, CONTROL, message)
    found: list[Obeyed] = []
    ends_s = time.monotonic() + longest_s
    while (left_s := ends_s - time.monotonic()) > 0:
        replies = heard(database, left_s)
        if replies and not found:
            ends_s = time.monotonic() + _MORE_REPLIES_S
        found += [Obeyed(str(one.get("host")), int(str(one.get("pid")))) for one in replies]
    return found
