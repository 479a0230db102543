"""An exchange without sockets for the tests of stream sessions: it carries out their effects in simulated time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from core.binance.streams import BinanceStreamRules
from core.instrument import Market
from core.series import make_series
from core.stream_connection import Connection
from core.stream_events import (
    Answered,
    Close,
    Closed,
    FirstData,
    Open,
    Opened,
    Refused,
    Send,
    SessionEvent,
    Tick,
    Wanted,
)
from core.stream_pacing import ConnectBudget
from core.stream_rules import StreamRules
from core.stream_session import StreamSession
from core.streams import StreamEvent, StreamKey

START_MS = 1_700_000_000_000
Kind = TypeVar("Kind", bound=StreamEvent)


def candles(symbol: str, interval: str = "1m", market: str = "spot") -> StreamKey:
    """Return a stream of candles."""
    return StreamKey.candles_of(make_series(market, symbol, interval))


def many(count: int) -> tuple[StreamKey, ...]:
    """Return streams of so many symbols."""
    return tuple(candles(f"A{number}USDT") for number in range(count))


@dataclass
class Socket:
    """A connection as the exchange sees it."""

    connection: Connection
    is_open: bool = False
    is_mute: bool = False
    names: dict[str, None] = field(default_factory=dict)
    sent_ms: list[int] = field(default_factory=list)
    texts: list[dict[str, object]] = field(default_factory=list)


class World:
    """One session, its connections, and the time."""

    def __init__(
        self,
        keys: tuple[StreamKey, ...] = (),
        max_per_connection: int = 200,
        rules: StreamRules = BinanceStreamRules(Market.SPOT, ""),  # noqa: B008 - it never changes
    ) -> None:
        self.session = StreamSession(rules, max_per_connection, 30_000, ConnectBudget(), Random(1).random)
        self.now_ms = START_MS
        self.sockets: dict[str, Socket] = {}
        self.connects_ms: list[int] = []
        self.events: list[tuple[int, StreamEvent]] = []
        self.silent_names: set[str] = set()  # accepted, never delivered
        self.refusal: Callable[[str], Refused] | None = None  # of every attempt
        self.are_born_mute = False
        self.delivered: dict[StreamKey, set[int]] = {}  # when frames were handed on
        self.answers_itself = True  # attempts are answered at once
        if keys:
            self.tell(Wanted(keys))

    def tell(self, event: SessionEvent) -> None:
        """Tell the session, and carry out what it wants."""
        for effect in self.session.handle(event, self.now_ms):
            if isinstance(effect, Open):
                name = effect.connection.name
                self.sockets[name] = Socket(effect.connection, is_mute=self.are_born_mute)
                self.connects_ms.append(self.now_ms)
            elif isinstance(effect, Send):
                self._receive(self.sockets[effect.connection], effect.text)
            elif isinstance(effect, Close):
                del self.sockets[effect.connection]
            else:
                self.events.append((self.now_ms, effect))
        if self.answers_itself:
            while (name := next((name for name, one in self.sockets.items() if not one.is_open), None)) is not None:
                self.answer_attempt(name)

    def answer_attempt(self, name: str) -> None:
        """Accept a connection, or refuse it while `refusal` is set."""
        if self.refusal is None:
            self.sockets[name].is_open = True
            self.tell(Opened(name))
        else:
            refusal = self.refusal(name)
            del self.sockets[name]
            self.tell(refusal)

    def _receive(self, socket: Socket, text: str) -> None:
        message = json.loads(text)
        socket.sent_ms.append(self.now_ms)
        socket.texts.append(message)
        for name in message["params"]:
            if message["method"] == "SUBSCRIBE":
                socket.names[name] = None
            else:
                socket.names.pop(name, None)

    def cut(self, name: str, code: int | None = None) -> None:
        """End a connection from the exchange's side."""
        del self.sockets[name]
        self.tell(Closed(name, code, f"code {code}"))

    def deliver(self) -> None:
        """Send one frame of each stream of each connection, but the mute and the silent ones."""
        for socket in [one for one in self.sockets.values() if one.is_open and not one.is_mute]:
            for name in [name for name in socket.names if name not in self.silent_names]:
                self.frame(socket.connection, name)

    def frame(self, connection: Connection, name: str) -> None:
        """Send one frame, as fetcher/stream_feed.py takes it."""
        stream = connection.by_name.get(name.encode())
        if stream is None:
            return
        if stream.is_live:
            connection.beat(self.now_ms)
            stream.last_ms = self.now_ms
        else:
            self.tell(FirstData(connection.name, stream.key))
        if stream.is_delivered:
            self.delivered.setdefault(stream.key, set()).add(self.now_ms)

    def pass_hours(self, hours: float) -> None:
        """Let much time pass in steps of ten seconds, with a frame of each stream in each."""
        for _ in range(int(hours * 360)):
            self.now_ms += 10_000
            self.deliver()
            self.tell(Tick())

    def run(self, seconds: float, *, delivers: bool = True) -> None:
        """Let time pass; frames come once a second."""
        end_ms = self.now_ms + int(seconds * 1000)
        second_ms = self.now_ms + 1000
        while self.now_ms < end_ms:
            wake_ms = self.session.next_wake_ms()
            self.now_ms = min(end_ms, second_ms, max(self.now_ms + 1, wake_ms if wake_ms is not None else end_ms))
            if self.now_ms >= second_ms:
                second_ms += 1000
                if delivers:
                    self.deliver()
            self.tell(Tick())

    def sleep(self, seconds: float) -> None:
        """Let time pass without a tick: the machine sleeps."""
        self.now_ms += int(seconds * 1000)
        self.tell(Tick())

    def acknowledge(self, error: str = "") -> None:
        """Answer all messages so far."""
        for socket in list(self.sockets.values()):
            for text in list(socket.texts):
                self.tell(Answered(socket.connection.name, int(str(text["id"])), error))

    def seen(self, kind: type[Kind]) -> list[Kind]:
        """Return what was reported of one kind, in order."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def forget(self) -> None:
        """Begin a new list of what is reported."""
        self.events.clear()

    def is_delivering(self, key: StreamKey) -> bool:
        """Whether a stream is live on an open connection and handed on."""
        for socket in self.sockets.values():
            stream = socket.connection.subscriptions.get(key)
            if socket.is_open and stream is not None and stream.is_live and stream.is_delivered:
                return True
        return False
