"""Streams that share a connection, and the connections that carry them: one, or two while the second takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.stream_connection import Connection
from core.stream_pacing import Backoff
from core.streams import StreamKey
from core.times import MS_PER_MINUTE, MS_PER_SECOND

TAKEOVER_MS = MS_PER_MINUTE
"""So long a new connection may take until all streams deliver on it."""
# A frame of the old connection that came later than this after SUBSCRIBE should have come on the new one too.
_OVERLAP_MS = 5 * MS_PER_SECOND
# So long the old connection stays when all streams deliver on the new one: its frames may come later.
_LINGER_MS = 3 * MS_PER_SECOND
# A shorter silence before the new connection delivers is nothing unusual.
_SHORTEST_HOLE_MS = 3 * MS_PER_SECOND
# A connection that has had data for so long was a good one.
_GOOD_MS = MS_PER_MINUTE


class Shard:
    """Some of the wanted streams of a session, with one connection to carry them."""

    def __init__(self, names_per_message: int, random: Callable[[], float]) -> None:
        self.keys: dict[StreamKey, None] = {}
        self.current: Connection | None = None
        self.successor: Connection | None = None  # being connected, or open and about to take over
        self.dial_ms = 0  # not before
        self.names_per_message = names_per_message
        self._backoff = Backoff(random)
        self._all_live_ms: int | None = None  # since when all streams deliver on the successor
        self._last_ms: int | None = None  # last frame of the connections that have ended

    @property
    def connections(self) -> Iterator[Connection]:
        """Its connections, open or not."""
        return (one for one in (self.current, self.successor) if one is not None)

    @property
    def is_connecting(self) -> bool:
        """Whether a connection is being made."""
        return self.successor is not None and not self.successor.is_open

    @property
    def needs_connection(self) -> bool:
        """Whether a connection should be made: there is none, or it is to be replaced."""
        return self.successor is None and (self.current is None or self.current.ends is not None)

    def note_opened(self, connection: Connection, now_ms: int) -> None:
        """Note that the successor is open; it is the current connection at once where there is none."""
        connection.opened_ms = now_ms
        if self.current is None:
            self.current, self.successor = connection, None

    def is_taken_over(self, now_ms: int) -> bool:
        """Whether the current connection can be closed: all its streams deliver on the next, or the time is up.

        To be asked about once a second.
        """
        old, new = self.current, self.successor
        if old is None or new is None or new.opened_ms is None:
            self._all_live_ms = None
            return False
        if now_ms >= new.opened_ms + TAKEOVER_MS:
            return True
        if new.first_ms is None or not all(new.is_live(key) for key in self.keys if old.is_live(key)):
            self._all_live_ms = None
        elif self._all_live_ms is None:
            self._all_live_ms = now_ms
        return self._all_live_ms is not None and now_ms >= self._all_live_ms + _LINGER_MS

    def lost_by_takeover(self) -> tuple[StreamKey, ...]:
        """Return the streams that may have lost frames when the next connection takes over now.

        A quiet stream that has delivered on neither since it was asked for on the next one has lost nothing.
        """
        old, new = self.current, self.successor
        assert old is not None and new is not None, "only while one takes over"  # noqa: S101 - a fault of the caller
        if not _overlap(old, new):
            return tuple(self.keys)
        return tuple(key for key in self.keys if not new.is_live(key) and _delivers_alone(old, new, key))

    def lost_by_end(self, connection: Connection) -> tuple[StreamKey, ...]:
        """Return the streams that may have lost frames now that this connection has ended."""
        if connection is not self.current:
            return ()
        heir = self.successor
        if heir is None or not _overlap(connection, heir):
            return tuple(self.keys)
        return tuple(key for key in self.keys if not heir.is_live(key))

    def lost_from_ms(self, connection: Connection, lost: tuple[StreamKey, ...]) -> int:
        """Return the time of the last frame that surely came: of the stream among `lost` that was silent longest.

        When none came on `connection`, of the last one before it, or when it was opened.
        """
        streams = [stream for key in lost if (stream := connection.subscriptions.get(key)) is not None]
        times = [stream.last_ms for stream in streams if stream.is_live and stream.last_ms is not None]
        times += [connection.last_ms] if connection.last_ms is not None else []
        if times:
            return min(times)
        return self._last_ms if self._last_ms is not None else connection.opened_ms or 0

    def remove(self, connection: Connection, now_ms: int) -> None:
        """Go on without `connection`; when another one is needed it is made after a wait."""
        if connection.last_ms is not None:
            self._last_ms = max(connection.last_ms, self._last_ms or 0)
            if connection.first_ms is not None and connection.last_ms - connection.first_ms >= _GOOD_MS:
                self._backoff.reset()
        if connection is not self.current:
            self.successor = None
        elif self.successor is not None and self.successor.is_open:
            self.current, self.successor = self.successor, None
        else:
            self.current = None
        self.dial_ms = max(self.dial_ms, now_ms + self._backoff.next_ms())

    def send_fewer(self, than: int) -> None:
        """Put half as many names as `than` into a message from now on, at least one."""
        self.names_per_message = max(1, min(self.names_per_message, than) // 2)


def _overlap(old: Connection, new: Connection) -> bool:
    """Whether the old connection still delivered when the new one began to."""
    if old.last_ms is None or new.first_ms is None:
        return False
    return new.first_ms - old.last_ms <= max(2 * old.longest_gap_ms, _SHORTEST_HOLE_MS)


def _delivers_alone(old: Connection, new: Connection, key: StreamKey) -> bool:
    there, here = old.subscriptions.get(key), new.subscriptions.get(key)
    if there is None or not there.is_live or there.last_ms is None:
        return False
    return here is None or here.asked_ms is None or there.last_ms > here.asked_ms + _OVERLAP_MS
