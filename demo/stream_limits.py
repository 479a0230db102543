"""How long stream connections live and how much they may ask (docs/binance.md, Streams). By the replay clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from core.instrument import Market
from core.times import MS_PER_DAY, MS_PER_MINUTE, MS_PER_SECOND

LIFE_MS = MS_PER_DAY
CONNECTS_PER_WINDOW = 300
CONNECT_WINDOW_MS = 5 * MS_PER_MINUTE
# A pong gets this long in real time as well: a fast clock must not outrun a client on a busy machine.
_REAL_PONG_S = 5.0


@dataclass(frozen=True, slots=True)
class HeartRules:
    """When the server pings, how long it waits for the pong, and what it lets a client send in a second."""

    ping_ms: int
    pong_ms: int
    messages_per_second: int
    counts_pings: bool  # whether pings and pongs count as messages


HEART_RULES = {
    Market.SPOT: HeartRules(20 * MS_PER_SECOND, MS_PER_MINUTE, 5, True),
    Market.UM: HeartRules(3 * MS_PER_MINUTE, 10 * MS_PER_MINUTE, 10, False),
    Market.CM: HeartRules(3 * MS_PER_MINUTE, 10 * MS_PER_MINUTE, 10, False),
}


class Heart:
    """The pings of one connection."""

    def __init__(self, rules: HeartRules, now_ms: int) -> None:
        self._rules = rules
        self._next_ms = now_ms + rules.ping_ms
        self._unanswered: dict[bytes, tuple[int, float]] = {}

    def ping(self, now_ms: int, real_s: float) -> bytes | None:
        """Return the payload of a ping that is due, or None."""
        if not self._next_ms <= now_ms and now_ms > self._next_ms - 2 * self._rules.ping_ms:
            return None
        self._next_ms = now_ms + self._rules.ping_ms
        payload = str(now_ms).encode()
        self._unanswered[payload] = now_ms, real_s
        return payload

    def pong(self, payload: bytes) -> None:
        """Take a pong: with a ping's payload it answers that one and all before; any other does nothing."""
        if payload in self._unanswered:
            sent = list(self._unanswered)
            for earlier in sent[: sent.index(payload) + 1]:
                del self._unanswered[earlier]

    def is_lost(self, now_ms: int, real_s: float) -> bool:
        """Whether a pong is overdue."""
        sent_ms, sent_s = next(iter(self._unanswered.values()), (now_ms, real_s))
        return now_ms - sent_ms > self._rules.pong_ms and real_s - sent_s > _REAL_PONG_S


class MessageLimit:
    """The messages of one connection in the last second, of the replay clock or of real time, whichever is shorter."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._times: deque[tuple[int, float]] = deque()

    def is_exceeded_by_one_more(self, now_ms: int, real_s: float) -> bool:
        """Count a message and return whether it is one too many."""
        while self._times and now_ms - self._times[0][0] >= MS_PER_SECOND:
            self._times.popleft()
        while self._times and real_s - self._times[0][1] >= 1.0:
            self._times.popleft()
        self._times.append((now_ms, real_s))
        return len(self._times) > self._per_second


class ConnectLimit:
    """The handshakes of one address at one host in the last five minutes."""

    def __init__(self) -> None:
        self._times: deque[int] = deque()

    def is_exceeded_by_one_more(self, now_ms: int) -> bool:
        """Count a handshake and return whether it is one too many."""
        while self._times and not 0 <= now_ms - self._times[0] < CONNECT_WINDOW_MS:
            self._times.popleft()
        self._times.append(now_ms)
        return len(self._times) > CONNECTS_PER_WINDOW
