"""Faults on demand of live streams: what a script makes go wrong with chosen connections and frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from core.instrument import Market


@dataclass(frozen=True, slots=True)
class RefuseHandshake:
    """Answer the handshake with this HTTP status instead: 403, 429, 451, 503."""

    status: int
    retry_after_s: int | None = None
    body: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """Tear the connection (TCP reset), without a close frame: clients call it 1006."""


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """Acknowledge requests and do nothing else ever after: no data, no pings, no pongs, no answer to a close."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Stay open and send no data; requests are acknowledged. Without `pongs` no pings and pongs either."""

    pongs: bool = True


@dataclass(frozen=True, slots=True)
class CloseWith:
    """Close with this code: 1000, 1001, 1008, 1011, 1012."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShutDown:
    """Announce it (spot: event serverShutdown to connections that subscribed `!serverShutdown`), then close.

    `lead_ms` later, by the replay clock, the connection is closed with `code`.
    """

    lead_ms: int
    code: int = 1001


@dataclass(frozen=True, slots=True)
class Slow:
    """Send every frame of data `delay_ms` (replay clock) late, in order, from here on."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class DropFrame:
    """Do not send the frame."""


@dataclass(frozen=True, slots=True)
class DoubleFrame:
    """Send the frame twice."""


@dataclass(frozen=True, slots=True)
class LateFrame:
    """Send the frame `by_ms` (replay clock) late; others overtake it."""

    by_ms: int


@dataclass(frozen=True, slots=True)
class SwapFrame:
    """Send the frame after the next one of the same connection."""


@dataclass(frozen=True, slots=True)
class AlterFrame:
    """Pass the event through `change`, such as a final candle that differs from what REST says."""

    change: Callable[[dict[str, Any]], dict[str, Any]]

    def __call__(self, payload: bytes) -> bytes:
        """Return the changed event."""
        return orjson.dumps(self.change(orjson.loads(payload)))


class Damage(StrEnum):
    """How a frame is damaged."""

    CUT = "cut"  # half of its text
    NOT_JSON = "not JSON"
    BINARY = "binary"  # a binary frame of bytes that are no text
    TYPES = "types"  # texts become numbers and numbers texts
    KEYS = "keys"  # every second key is missing, in the candle too


@dataclass(frozen=True, slots=True)
class DamageFrame:
    """Send the frame damaged."""

    how: Damage

    def __call__(self, text: bytes) -> bytes:
        """Return the damaged text (wrapper included)."""
        match self.how:
            case Damage.CUT:
                return text[: len(text) // 2]
            case Damage.NOT_JSON:
                return b"<html><body>502 Bad Gateway</body></html>"
            case Damage.BINARY:
                return bytes(range(128, 256))
            case Damage.TYPES:
                return orjson.dumps(_retyped(orjson.loads(text)))
        return orjson.dumps(_without_keys(orjson.loads(text)))


ConnectionFault = Abort | HalfOpen | Silence | CloseWith | ShutDown | Slow
FrameFault = DropFrame | DoubleFrame | LateFrame | SwapFrame | AlterFrame | DamageFrame
StreamFault = RefuseHandshake | ConnectionFault | FrameFault


@dataclass(frozen=True, slots=True)
class Where:
    """Which connections and frames a fault is for; what is left out matches all."""

    market: Market | None = None
    path: str = ""  # contained in the path of the handshake, decoded: `/market`
    connection: int | None = None  # its number, from 1 in the order of all handshakes that were accepted
    stream: str = ""  # contained in the name of the frame's stream; frame faults only
    finals: bool = False  # the last frames of candles only; frame faults only

    def has_connection(self, market: Market, path: str, number: int) -> bool:
        """Whether a connection is meant."""
        return (
            self.market in (None, market)
            and self.path in path
            and (self.connection is None or self.connection == number)
        )

    def has_frame(self, stream: str, is_final: bool) -> bool:
        """Whether a frame is meant, on a connection that is."""
        return self.stream in stream and (is_final or not self.finals)


EVERYWHERE = Where()


@dataclass(slots=True)
class _Rule:
    fault: StreamFault
    where: Where
    times: int
    after: int
    at_ms: int
    met: set[int]  # the connections that it happened to: each meets it once


class StreamFaultScript:
    """The faults that are still to come, in the order in which they were added. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self.has_any = False
        """Read without the lock, so that a server without faults pays nothing."""

    def add(
        self, fault: StreamFault, where: Where = EVERYWHERE, *, times: int = 1, after: int = 0, at_ms: int = 0
    ) -> None:
        """Let `fault` happen `times` times where it is meant, not before `at_ms` by the replay clock.

        A connection's fault happens to each connection once, so `times` is how many connections meet it.

        `after`: of a handshake's or a frame's fault, how many others that are meant pass first; of a
        connection's fault, how many frames of data the connection gets first. One handshake, connection
        or frame meets one fault at a time: the first that was added and is due.
        """
        with self._lock:
            self._rules.append(_Rule(fault, where, times, after, at_ms, set()))
            self.has_any = True

    def take_handshake(self, market: Market, path: str, number: int, now_ms: int) -> RefuseHandshake | None:
        """Return what the handshake of what would be connection `number` is refused with, or None."""
        with self._lock:
            for rule in self._due(now_ms):
                fault = rule.fault
                if isinstance(fault, RefuseHandshake) and rule.where.has_connection(market, path, number):
                    if rule.after == 0:
                        self._use(rule)
                        return fault
                    rule.after -= 1
        return None

    def take_connection(self, market: Market, path: str, number: int, sent: int, now_ms: int) -> ConnectionFault | None:
        """Return what is to happen to connection `number`, which got `sent` frames of data, or None."""
        with self._lock:
            for rule in self._due(now_ms):
                fault = rule.fault
                is_meant = rule.where.has_connection(market, path, number) and number not in rule.met
                if isinstance(fault, ConnectionFault) and sent >= rule.after and is_meant:
                    rule.met.add(number)
                    self._use(rule)
                    return fault
        return None

    def take_frame(
        self, market: Market, path: str, number: int, frame: tuple[str, bool], now_ms: int
    ) -> FrameFault | None:
        """Return what is to happen to a frame (stream, whether it is a final one) on connection `number`, or None."""
        with self._lock:
            for rule in self._due(now_ms):
                fault = rule.fault
                if isinstance(fault, FrameFault) and rule.where.has_connection(market, path, number):
                    if not rule.where.has_frame(*frame):
                        continue
                    if rule.after == 0:
                        self._use(rule)
                        return fault
                    rule.after -= 1
        return None

    def pending(self) -> int:
        """Return how many faults have not happened yet."""
        with self._lock:
            return sum(rule.times for rule in self._rules)

    def clear(self) -> None:
        """Drop all faults that have not happened yet."""
        with self._lock:
            self._rules, self.has_any = [], False

    def _due(self, now_ms: int) -> list[_Rule]:
        return [rule for rule in self._rules if rule.at_ms <= now_ms]

    def _use(self, rule: _Rule) -> None:
        rule.times -= 1
        if rule.times == 0:
            self._rules.remove(rule)
            self.has_any = bool(self._rules)


def _retyped(value: Any) -> Any:
    match value:
        case dict():
            return {key: _retyped(one) for key, one in value.items()}
        case list():
            return [_retyped(one) for one in value]
        case bool():
            return "true" if value else "false"
        case str():
            return len(value)
        case int():
            return str(value)
    return value


def _without_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_keys(one) for number, (key, one) in enumerate(value.items()) if number % 2}
    return [_without_keys(one) for one in value] if isinstance(value, list) else value
