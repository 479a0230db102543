"""What a session of live streams is told (events) and what it wants done (effects). Pure values.

Connections go by their names. Times are ms of `core/stream_clock.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.stream_connection import Connection
from core.streams import StreamEvent, StreamKey


@dataclass(frozen=True, slots=True)
class Wanted:
    """These are the wanted streams from now on."""

    keys: tuple[StreamKey, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection's handshake was accepted."""

    connection: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No connection was made: the host cannot be reached (no status) or answered with another status than 101."""

    connection: str
    status: int | None
    retry_after_ms: int | None
    why: str


@dataclass(frozen=True, slots=True)
class FirstData:
    """A stream that is not live on its connection has delivered a frame."""

    connection: str
    key: StreamKey


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to the message with this number. An empty `error` proves nothing: only data does."""

    connection: str
    number: int
    error: str


@dataclass(frozen=True, slots=True)
class ShutdownNotice:
    """The exchange will end this connection soon."""

    connection: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection has ended, not by an effect of the session. `code` is None when no close frame came."""

    connection: str
    code: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Replace all connections without a hole."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Close all connections and open none."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


SessionEvent = Wanted | Opened | Refused | FirstData | Answered | ShutdownNotice | Closed | Reconnect | Stop | Tick


@dataclass(frozen=True, slots=True)
class Open:
    """Connect. Exactly one `Opened` or `Refused` must follow."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text."""

    connection: str
    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, or give up connecting. Nothing that comes from it later is looked at."""

    connection: str
    is_dead: bool = False  # the exchange will not answer: drop it without a farewell


Effect = Open | Send | Close | StreamEvent
