"""Live streams of an exchange over WebSocket (fetcher.source.LiveStreams): a session a market and route, sockets.

What happens is decided in core/stream_session.py; here its effects are carried out, and what sockets and time bring is
told to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from core.instrument import Market
from core.stream_activity import StreamActivity
from core.stream_clock import StreamClock
from core.stream_connection import Connection
from core.stream_events import (
    Close,
    Closed,
    Effect,
    FirstData,
    Open,
    Opened,
    Reconnect,
    Refused,
    Send,
    SessionEvent,
    Stop,
    Tick,
    Wanted,
)
from core.stream_pacing import ConnectBudget
from core.stream_rules import StreamRules
from core.stream_session import StreamSession
from core.streams import Seam, StreamKey
from core.times import MS_PER_SECOND
from fetcher.addresses import StreamAddresses
from fetcher.source import StreamSink
from fetcher.stream_feed import FeedTargets, FrameCounts, StreamFeed
from fetcher.stream_format import StreamFormat
from fetcher.stream_socket import SocketEvents, StreamSocket, trusted_certificates

_log = logging.getLogger(__name__)

_SHORTEST_WAIT_S = 0.001  # so that other tasks run, whatever a session says


@dataclass(frozen=True, slots=True)
class StreamTime:
    """How time passes for streams."""

    now_ms: Callable[[], int]  # the exchange's; it must go on while the machine sleeps
    seconds: Callable[[int], float]  # real seconds that so many ms take


@dataclass(slots=True)
class _Route:
    session: StreamSession
    url: str
    updates: set[bytes] = field(default_factory=set)
    activity: dict[bytes, StreamActivity] = field(default_factory=dict)
    sockets: dict[str, StreamSocket] = field(default_factory=dict)


class StreamPool:
    """All live streams of one exchange. In the thread of the event loop."""

    def __init__(
        self,
        frames: StreamFormat,
        addresses: StreamAddresses,
        sink: StreamSink,
        passing: StreamTime,
        random: Callable[[], float],
    ) -> None:
        self._format = frames
        self._addresses = addresses
        self._sink = sink
        self._time = passing
        self._random = random
        self._certificates = trusted_certificates()
        self._clock = StreamClock(passing.now_ms(), time.monotonic_ns(), 1 / passing.seconds(MS_PER_SECOND))
        self._budgets: dict[str, ConnectBudget] = {}  # by address: its routes share the exchange's limit
        self._routes: dict[StreamRules, _Route] = {}
        self._wanted: tuple[StreamKey, ...] = ()
        self._with_updates: tuple[StreamKey, ...] = ()
        self._told: deque[tuple[_Route, SessionEvent]] = deque()  # the first is at work
        self._tasks: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()
        self._is_stopped = False
        self.counts = FrameCounts()

    async def run(self) -> None:
        """Keep every wanted stream alive until `stop` was called and all connections are closed."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._tell_wanted()
            while not self._is_stopped:
                await self._until_due()
                for route in list(self._routes.values()):
                    self._tell(route, Tick())
            for route in list(self._routes.values()):
                self._tell(route, Stop())

    def want(self, keys: Iterable[StreamKey]) -> None:
        """Make `keys` the wanted streams from now on; those that were wanted before stay untouched."""
        self._wanted = tuple(dict.fromkeys(keys))
        self._tell_wanted()

    def want_updates(self, keys: Iterable[StreamKey]) -> None:
        """Deliver candles that have not closed too, of `keys` and of no others. At first of none."""
        self._with_updates = tuple(keys)
        self._tell_wanted()

    def reconnect(self, market: Market | None = None) -> None:
        """Replace all connections, of one market or of all, without a hole."""
        for rules, route in list(self._routes.items()):
            if market is None or rules.market is market:
                self._tell(route, Reconnect())

    def activity(self) -> dict[StreamKey, StreamActivity]:
        """Return what each stream has delivered since the start; may be called from any thread."""
        return {one.key: one for route in self._routes.copy().values() for one in route.activity.copy().values()}

    def stop(self) -> None:
        """Close all connections; `run` returns soon."""
        self._is_stopped = True
        self._changed.set()

    def _tell_wanted(self) -> None:
        if self._tasks is None or self._is_stopped:
            return
        by_rules: dict[StreamRules, list[StreamKey]] = {rules: [] for rules in self._routes}
        for key in self._wanted:
            by_rules.setdefault(self._format.rules_of(key), []).append(key)
        with_updates = set(self._with_updates)
        for rules, keys in by_rules.items():
            route = self._routes.get(rules) or self._add_route(rules)
            route.updates.clear()
            route.updates.update(rules.name(key).encode() for key in keys if key in with_updates)
            self._tell(route, Wanted(tuple(keys)))

    def _add_route(self, rules: StreamRules) -> _Route:
        address = self._addresses.urls[rules.market]
        budget = self._budgets.setdefault(address, ConnectBudget())
        session = StreamSession(
            rules, self._addresses.max_per_connection, self._addresses.stall_ms, budget, self._random
        )
        route = _Route(session, address + rules.route + rules.path)
        self._routes[rules] = route
        return route

    async def _until_due(self) -> None:
        self._changed.clear()
        times = [at_ms for route in self._routes.values() if (at_ms := route.session.next_wake_ms()) is not None]
        timeout_s = None
        if times:
            timeout_s = max(self._time.seconds(max(0, min(times) - self._now_ms())), _SHORTEST_WAIT_S)
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _now_ms(self) -> int:
        return self._clock.read(self._time.now_ms(), time.monotonic_ns())

    def _tell(self, route: _Route, event: SessionEvent) -> None:
        """Tell a session, and do what it wants. What is told from within the sink waits until that is done."""
        self._told.append((route, event))
        if len(self._told) > 1:
            return
        while self._told:
            route, event = self._told[0]
            now_ms = self._now_ms()
            for effect in route.session.handle(event, now_ms):
                self._do(route, effect, now_ms)
            if not isinstance(event, Tick | FirstData):  # frequent, and what they change is looked at soon enough
                self._changed.set()
            self._told.popleft()

    def _do(self, route: _Route, effect: Effect, now_ms: int) -> None:
        match effect:
            case Open():
                self._open(route, effect.connection)
            case Send():
                route.sockets[effect.connection].send(effect.text)
            case Close():
                route.sockets.pop(effect.connection).close(is_dead=effect.is_dead)
            case Seam():
                # A session's time is not the exchange's when a clock was set meanwhile.
                ahead_ms = self._time.now_ms() - now_ms
                self._sink.event(replace(effect, from_ms=effect.from_ms + ahead_ms, to_ms=effect.to_ms + ahead_ms))
            case _:
                self._sink.event(effect)

    def _open(self, route: _Route, connection: Connection) -> None:
        assert self._tasks is not None, "sessions are told of streams while `run` runs"  # noqa: S101
        name, tell = connection.name, partial(self._tell, route)
        targets = FeedTargets(self._format, self._clock, self._sink, tell, self.counts, route.updates, route.activity)

        def refused(status: int | None, retry_after_s: float | None, why: str) -> None:
            _log.warning("connection %s was not made: %s", name, why)
            del route.sockets[name]
            tell(Refused(name, status, None if retry_after_s is None else int(retry_after_s * MS_PER_SECOND), why))

        def closed(code: int | None, why: str) -> None:
            del route.sockets[name]
            tell(Closed(name, code, why))

        events = SocketEvents(lambda: tell(Opened(name)), refused, StreamFeed(connection, targets).take, closed)
        socket = StreamSocket(route.url, self._certificates if route.url.startswith("wss:") else None, events)
        route.sockets[name] = socket
        self._tasks.create_task(socket.run())
