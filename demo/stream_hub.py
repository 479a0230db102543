"""Which frames go to which connections, by the replay clock. Lives in the stream server's event loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from core.instrument import Market
from demo.clock import ReplayClock
from demo.stream_connection import StreamConnection
from demo.stream_delivery import Delivery
from demo.stream_faults import RefuseHandshake, StreamFaultScript
from demo.stream_frames import Channel
from demo.stream_limits import ConnectLimit
from demo.stream_names import StreamName, is_served, read_name
from demo.stream_paths import Asked
from demo.stream_records import ConnectionRecord, RefusedHandshake

MakeChannel = Callable[[Market, StreamName], Channel]
_Key = tuple[Market, str]


class _Live:
    """A stream that somebody gets."""

    __slots__ = ("channel", "key", "takers")

    def __init__(self, key: _Key, channel: Channel) -> None:
        self.key = key
        self.channel = channel
        self.takers: dict[Delivery, None] = {}


class StreamHub:
    """Connections, the streams that they take, and what is due."""

    def __init__(self, clock: ReplayClock, faults: StreamFaultScript, make_channel: MakeChannel) -> None:
        self.faults = faults
        self.records: list[ConnectionRecord] = []
        self.refused: list[RefusedHandshake] = []
        self.deliveries: dict[StreamConnection, Delivery] = {}
        self._clock = clock
        self._make_channel = make_channel
        self._live: dict[_Key, _Live] = {}
        self._taken: dict[Delivery, set[_Key]] = {}
        self._waiting: list[tuple[int, int, _Live]] = []  # a heap: when the next frame of a stream is due
        self._later: list[tuple[int, int, Callable[[], None]]] = []  # a heap: what a fault put off
        self._order = count()
        self._numbers = count(1)
        self._connects = ConnectLimit()
        self._jumps = clock.reading()[1]

    def now_ms(self) -> int:
        """Return the current instant of the replay clock."""
        return self._clock.now_ms()

    def refusal(self, market: Market, path: str) -> RefuseHandshake | None:
        """Return why a handshake is refused, or None."""
        now_ms = self.now_ms()
        refusal = self.faults.take_handshake(market, path, len(self.records) + 1, now_ms)
        if market is Market.SPOT and self._connects.is_exceeded_by_one_more(now_ms):
            refusal = refusal or RefuseHandshake(429)
        return refusal

    def refuse(self, market: Market, path: str, refusal: RefuseHandshake) -> None:
        """Remember a handshake that was refused."""
        self.refused.append(RefusedHandshake(market, path, refusal.status, self.now_ms()))

    def opened(self, connection: StreamConnection, path: str, asked: Asked) -> None:
        """Take in a connection whose handshake was accepted."""
        record = ConnectionRecord(next(self._numbers), connection.market, path, self.now_ms())
        connection.record = record
        self.records.append(record)
        delivery = Delivery(connection, record, asked.route, self.faults, self.put_off)
        self.deliveries[connection] = delivery
        self._taken[delivery] = set()
        connection.subscriptions.combined = asked.combined
        connection.subscriptions.names.update(dict.fromkeys(asked.names))
        self.subscribe(connection)

    def begin(self, connection: StreamConnection) -> None:
        """Let a connection that was taken in, and knows it, meet the faults for it."""
        if connection.subscriptions.are_too_many:
            connection.close(1008, "Too many streams")
        else:
            self.deliveries[connection].meet_fault(self.now_ms())

    def closed(self, connection: StreamConnection) -> None:
        """Forget a connection."""
        delivery = self.deliveries.pop(connection, None)
        if delivery is not None:
            self._take_no_more(delivery, self._taken.pop(delivery))

    def subscribe(self, connection: StreamConnection) -> None:
        """Let the connection take what its subscriptions say; names that are not served stay silent."""
        delivery = self.deliveries.get(connection)
        if delivery is None:
            return
        record = delivery.record
        record.streams = list(connection.subscriptions.names)
        wanted = {(connection.market, name) for name in record.streams}
        taken = self._taken[delivery]
        self._take_no_more(delivery, taken - wanted)
        for key in wanted - taken:
            name = read_name(*key)
            if name is None or not is_served(connection.market, delivery.route, name.kind):
                continue
            live = self._live.get(key) or self._begin(key, name)
            live.takers[delivery] = None
        self._taken[delivery] = wanted

    def put_off(self, due_ms: int, act: Callable[[], None]) -> None:
        """Do `act` when the replay clock shows `due_ms`."""
        heapq.heappush(self._later, (due_ms, next(self._order), act))

    def tick(self) -> None:
        """Send what is due now."""
        now_ms, jumps = self._clock.reading()
        if jumps != self._jumps:
            self._jumps = jumps
            self._restart_all(now_ms)
        while self._later and self._later[0][0] <= now_ms:
            heapq.heappop(self._later)[2]()
        while self._waiting and self._waiting[0][0] <= now_ms:
            live = heapq.heappop(self._waiting)[2]
            if self._live.get(live.key) is not live:
                continue  # nobody takes it any more
            for frame in live.channel.due(now_ms):
                for delivery in list(live.takers):
                    delivery.deliver(frame, now_ms)
            self._wait(live)
        for connection in list(self.deliveries):
            connection.flush()

    def beat(self) -> None:
        """Let every connection ping, age and meet the faults whose time has come."""
        now_ms = self.now_ms()
        for connection, delivery in list(self.deliveries.items()):
            delivery.meet_fault(now_ms)
            connection.beat(now_ms, delivery.record.opened_ms)

    def _begin(self, key: _Key, name: StreamName) -> _Live:
        channel = self._make_channel(key[0], name)
        channel.restart(self.now_ms())
        live = self._live[key] = _Live(key, channel)
        self._wait(live)
        return live

    def _take_no_more(self, delivery: Delivery, keys: set[_Key]) -> None:
        for key in keys:
            live = self._live.get(key)
            if live is not None:
                live.takers.pop(delivery, None)
                if not live.takers:
                    del self._live[key]

    def _restart_all(self, now_ms: int) -> None:
        """Forget what a jump of the clock passed over."""
        self._waiting.clear()
        for live in self._live.values():
            live.channel.restart(now_ms)
            self._wait(live)

    def _wait(self, live: _Live) -> None:
        heapq.heappush(self._waiting, (live.channel.next_ms, next(self._order), live))
