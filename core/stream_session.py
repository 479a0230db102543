"""All connections of one market and route, as a state machine: events and the time in, effects out. No clock, no I/O.

Decides which connection carries which streams, when one is made, what is sent, when a stream or a connection counts as
silent, and when a new connection takes over. Only frames of data are signs of life: answers and pings are not.
Around it: `core/stream_shard.py` (streams that share a connection), `core/stream_connection.py` (one connection).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from core.stream_connection import Connection, Doubt, Subscription
from core.stream_events import (
    Answered,
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
    ShutdownNotice,
    Stop,
    Tick,
    Wanted,
)
from core.stream_pacing import Backoff, ConnectBudget
from core.stream_rules import StreamRules
from core.stream_shard import Shard
from core.streams import (
    ConnectionClosed,
    ConnectionOpened,
    MarketUnusable,
    Seam,
    SeamReason,
    StreamKey,
    StreamLive,
    StreamSilent,
)
from core.times import MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND

_SWEEP_MS = MS_PER_SECOND
# The exchange ends a connection after 24 hours.
_REPLACE_AFTER_MS, _REPLACE_SPREAD_MS = 23 * MS_PER_HOUR, 30 * MS_PER_MINUTE
_UNUSABLE_MS = 10 * MS_PER_MINUTE
_SILENT_IN_A_ROW = 3
_POLICY_CODE, _POLICY_WAIT_MS = 1008, 10 * MS_PER_SECOND
_TOO_MANY_REQUESTS = frozenset({418, 429})
_TOO_MANY_WAIT_MS = MS_PER_MINUTE
_NOT_FROM_HERE = frozenset({403, 451})


class StreamSession:
    """The wanted streams of one market and route, and the connections that carry them."""

    def __init__(
        self,
        rules: StreamRules,
        max_per_connection: int,
        stall_ms: int,
        budget: ConnectBudget,
        random: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._most_keys = min(max_per_connection, rules.most_streams - 1 - len(rules.notices))  # 1: the busy one
        self._stall_ms = stall_ms
        self._budget = budget
        self._random = random
        self._shards: list[Shard] = []
        self._shard_of: dict[StreamKey, Shard] = {}
        self._doubts: dict[StreamKey, Doubt] = {}  # of the streams that were moved or reported
        self._connections: dict[str, tuple[Shard, Connection]] = {}
        self._number = 0
        self._refusals = Backoff(random)
        self._is_refused = False  # the newest attempt failed: one connection is attempted at a time
        self._not_before_ms = 0  # no attempt of any shard
        self._silent_in_a_row = 0
        self._silent_ms = 0  # when a connection that never delivered was last given up
        self._is_unusable = False
        self._is_stopped = False
        self._swept_ms: int | None = None
        self._effects: list[Effect] = []

    def handle(self, event: SessionEvent, now_ms: int) -> list[Effect]:
        """Return what is to be done because of `event`, in order. `now_ms` never goes back."""
        self._effects = []
        match event:
            case Tick():
                self._sweep(now_ms)
            case FirstData():
                self._first_data(event, now_ms)
            case Wanted():
                self._want(event.keys)
            case Opened():
                self._opened(event, now_ms)
            case Refused():
                self._refused(event, now_ms)
            case Closed():
                self._closed(event, now_ms)
            case Answered():
                self._answered(event)
            case ShutdownNotice():
                if found := self._connections.get(event.connection):
                    found[1].ends = SeamReason.SHUTDOWN
            case Reconnect():
                for shard in self._shards:
                    if shard.current is not None and shard.current.ends is None:
                        shard.current.ends = SeamReason.ASKED
            case Stop():
                self._stop()
            case _:
                assert_never(event)
        if not self._is_stopped:
            self._connect(now_ms)
            self._send(now_ms)
        return self._effects

    def next_wake_ms(self) -> int | None:
        """Return when a `Tick` is due at the latest; None when nothing will ever be due."""
        if self._is_stopped or not self._shards:
            return None
        times = [(self._swept_ms or 0) + _SWEEP_MS]
        times += [one.send_ms for _, one in self._connections.values() if one.send_ms is not None]
        if not self._waits_for_attempt():
            times += [max(shard.dial_ms, self._free_ms()) for shard in self._shards if shard.needs_connection]
        return min(times)

    # Which connection carries which streams

    def _want(self, keys: tuple[StreamKey, ...]) -> None:
        if not self._shards:
            self._swept_ms = None  # nobody looked while there was nothing to look at: the machine did not sleep
        wanted = dict.fromkeys(keys)
        for key in [key for key in self._shard_of if key not in wanted]:
            self._leave(key)
            self._doubts.pop(key, None)
        for key in wanted:
            if key not in self._shard_of:
                self._assign(key, None)
        self._close_empty()

    def _assign(self, key: StreamKey, not_to: Shard | None) -> None:
        """Put a stream on a connection with room, or on a new one."""
        with_room = (one for one in self._shards if one is not not_to and len(one.keys) < self._most_keys)
        shard = next(with_room, None)
        if shard is None:
            shard = Shard(self._rules.names_per_message, self._random)
            self._shards.append(shard)
        shard.keys[key] = None
        self._shard_of[key] = shard
        for connection in shard.connections:
            if connection.is_open:
                connection.subscribe(key, is_delivered=True, doubt=self._doubts.get(key, Doubt.NONE))

    def _leave(self, key: StreamKey) -> None:
        """Take a stream off its connection."""
        shard = self._shard_of.pop(key)
        del shard.keys[key]
        for connection in shard.connections:
            if key == self._rules.busy and key in connection.subscriptions:
                connection.subscriptions[key].is_delivered = False
            else:
                connection.unsubscribe(key)

    def _close_empty(self) -> None:
        """Close the connections that carry no stream any more."""
        for shard in [shard for shard in self._shards if not shard.keys]:
            self._shards.remove(shard)
            for connection in list(shard.connections):
                self._close(connection, "it carries no stream any more", is_planned=True)

    # Connections: made, refused, ended

    def _free_ms(self) -> int:
        return max(self._not_before_ms, self._budget.free_ms)

    def _waits_for_attempt(self) -> bool:
        """Whether the next attempt waits for the result of the present one, because the last one failed."""
        return self._is_refused and any(shard.is_connecting for shard in self._shards)

    def _connect(self, now_ms: int) -> None:
        for shard in self._shards:
            if not shard.needs_connection or now_ms < shard.dial_ms:
                continue
            if now_ms < self._free_ms() or self._waits_for_attempt():
                return
            self._budget.count(now_ms)
            self._number += 1
            replace_after_ms = _REPLACE_AFTER_MS + int(self._random() * _REPLACE_SPREAD_MS)
            name = f"{self._rules.market}{self._rules.route}#{self._number}"
            shard.successor = Connection(name, self._rules, replace_after_ms)
            self._connections[name] = (shard, shard.successor)
            self._effects.append(Open(shard.successor))

    def _opened(self, event: Opened, now_ms: int) -> None:
        found = self._connections.get(event.connection)
        if found is None:
            return
        shard, connection = found
        self._is_refused = False
        self._refusals.reset()
        shard.note_opened(connection, now_ms)
        self._effects.append(ConnectionOpened(self._rules.market, connection.name))
        for key in shard.keys:
            connection.subscribe(key, is_delivered=True, doubt=self._doubts.get(key, Doubt.NONE))
        if self._rules.busy not in shard.keys:
            connection.subscribe(self._rules.busy, is_delivered=False)

    def _refused(self, event: Refused, now_ms: int) -> None:
        found = self._connections.pop(event.connection, None)
        if found is None:
            return
        found[0].successor = None
        self._is_refused = True
        if event.status in _NOT_FROM_HERE:
            self._unusable(f"the exchange refuses connections from here: {event.why}", now_ms)
        elif event.status in _TOO_MANY_REQUESTS:
            wait_ms = _TOO_MANY_WAIT_MS if event.retry_after_ms is None else event.retry_after_ms
            self._budget.hold(now_ms + wait_ms)
        else:
            self._not_before_ms = max(self._not_before_ms, now_ms + self._refusals.next_ms())

    def _closed(self, event: Closed, now_ms: int) -> None:
        found = self._connections.get(event.connection)
        if found is None:
            return
        shard, connection = found
        self._end(shard, connection, connection.ends or SeamReason.CUT, event.why, now_ms)
        if event.code == _POLICY_CODE:  # too many messages or streams: our fault
            shard.send_fewer(shard.names_per_message)
            shard.dial_ms = max(shard.dial_ms, now_ms + _POLICY_WAIT_MS)

    def _end(self, shard: Shard, connection: Connection, reason: SeamReason, why: str, now_ms: int) -> None:
        """A connection has ended, or counts as ended: say which streams may have lost frames."""
        lost = shard.lost_by_end(connection)
        if lost and connection.is_open:
            self._seam(shard, connection, lost, reason, now_ms)
        is_planned = connection is shard.current and not lost
        del self._connections[connection.name]
        shard.remove(connection, now_ms)
        if connection.is_open:
            self._effects.append(ConnectionClosed(self._rules.market, connection.name, why, is_planned))

    def _seam(
        self, shard: Shard, ended: Connection, lost: tuple[StreamKey, ...], reason: SeamReason, now_ms: int
    ) -> None:
        """Say that streams may have lost frames, and which of them deliver on the next connection already."""
        self._effects.append(Seam(lost, reason, shard.lost_from_ms(ended, lost), now_ms))
        heir = shard.successor
        self._effects += [StreamLive(key) for key in lost if heir is not None and heir.is_live(key)]

    def _close(self, connection: Connection, why: str, *, is_planned: bool) -> None:
        del self._connections[connection.name]
        self._effects.append(Close(connection.name))
        if connection.is_open:
            self._effects.append(ConnectionClosed(self._rules.market, connection.name, why, is_planned))

    def _unusable(self, why: str, now_ms: int) -> None:
        self._not_before_ms = now_ms + _UNUSABLE_MS  # it may be usable again one day
        if not self._is_unusable:
            self._is_unusable = True
            self._effects.append(MarketUnusable(self._rules.market, why))

    def _stop(self) -> None:
        self._is_stopped = True
        for _, connection in list(self._connections.values()):
            self._close(connection, "stopped", is_planned=True)

    # What is sent, and what comes

    def _send(self, now_ms: int) -> None:
        for shard, connection in self._connections.values():
            while (text := connection.next_message(now_ms, shard.names_per_message)) is not None:
                self._effects.append(Send(connection.name, text))

    def _answered(self, event: Answered) -> None:
        if found := self._connections.get(event.connection):
            shard, connection = found
            if (refused := connection.answered(event.number, event.error)) > 1:
                shard.send_fewer(refused)

    def _first_data(self, event: FirstData, now_ms: int) -> None:
        found = self._connections.get(event.connection)
        subscription = found[1].note_data(event.key, now_ms) if found is not None else None
        if subscription is None:
            return
        self._silent_in_a_row, self._is_unusable = 0, False
        if subscription.is_delivered:
            self._doubts.pop(event.key, None)
            self._effects.append(StreamLive(event.key))

    # What the time brings: silence, age, the end of a takeover

    def _sweep(self, now_ms: int) -> None:
        if self._swept_ms is not None and now_ms < self._swept_ms + _SWEEP_MS:
            return
        swept_ms, self._swept_ms = self._swept_ms, now_ms
        if swept_ms is not None and now_ms - swept_ms > self._stall_ms:
            self._slept(swept_ms, now_ms)
        for shard, connection in list(self._connections.values()):
            if connection.is_stalled(now_ms, self._stall_ms):
                self._stalled(shard, connection, now_ms)
        for shard in list(self._shards):
            self._take_over(shard, now_ms)
            current = shard.current
            if current is None or current.opened_ms is None:
                continue
            if current.ends is None and now_ms >= current.opened_ms + current.replace_after_ms:
                current.ends = SeamReason.TURNOVER
            self._doubt(shard, current, now_ms)

    def _slept(self, since_ms: int, now_ms: int) -> None:
        """Nothing was looked at for long: the machine slept. The exchange has gone on without us."""
        seconds = (now_ms - since_ms) // MS_PER_SECOND
        why = f"this program did not run for {seconds} s, or the machine's clock was set ahead"
        for shard, connection in list(self._connections.values()):
            if connection.is_open:
                connection.forget_data_after(since_ms)  # it came from a buffer
                self._effects.append(Close(connection.name, is_dead=True))
                self._end(shard, connection, SeamReason.SILENT, why, now_ms)

    def _stalled(self, shard: Shard, connection: Connection, now_ms: int) -> None:
        silent_s = (now_ms - (connection.silent_from_ms() or now_ms)) / MS_PER_SECOND
        self._effects.append(Close(connection.name, is_dead=True))
        self._end(shard, connection, SeamReason.SILENT, f"no data for {silent_s:.0f} s", now_ms)
        if connection.first_ms is None:
            self._count_silent(connection, now_ms)

    def _count_silent(self, connection: Connection, now_ms: int) -> None:
        """Count a connection that never delivered; those that were silent at the same time count as one."""
        if (connection.opened_ms or 0) < self._silent_ms or any(
            other.first_ms is not None for _, other in self._connections.values()
        ):
            return
        self._silent_ms = now_ms
        self._silent_in_a_row += 1
        if self._silent_in_a_row >= _SILENT_IN_A_ROW:
            count = self._silent_in_a_row
            self._unusable(
                f"{count} connections in a row were accepted and delivered nothing; is it blocked from here?", now_ms
            )

    def _take_over(self, shard: Shard, now_ms: int) -> None:
        if not shard.is_taken_over(now_ms):
            return
        old, new = shard.current, shard.successor
        assert old is not None and new is not None  # noqa: S101 - just seen
        if lost := shard.lost_by_takeover():
            self._seam(shard, old, lost, old.ends or SeamReason.TURNOVER, now_ms)
        shard.current, shard.successor = new, None
        self._close(old, f"{new.name} has taken over", is_planned=not lost)

    def _doubt(self, shard: Shard, connection: Connection, now_ms: int) -> None:
        """Take the next step for each stream that delivers nothing: ask again, another connection, say so by name."""
        lost: list[Subscription] = []
        for stream in connection.doubtful(now_ms):
            match stream.doubt:
                case Doubt.NONE:
                    if stream.is_live:
                        lost.append(stream)
                    connection.subscribe(stream.key, is_delivered=True, doubt=Doubt.ASKED_AGAIN)
                case Doubt.ASKED_AGAIN:
                    self._doubts[stream.key] = Doubt.MOVED
                    self._move(stream.key, shard)
                case Doubt.MOVED:
                    self._doubts[stream.key] = Doubt.REPORTED
                    self._effects.append(StreamSilent(stream.key, _why_silent(stream)))
                    connection.subscribe(stream.key, is_delivered=True, doubt=Doubt.REPORTED)
                case Doubt.REPORTED:
                    connection.subscribe(stream.key, is_delivered=True, doubt=Doubt.REPORTED)
        if lost:
            from_ms = min(stream.last_ms or now_ms for stream in lost)
            self._effects.append(Seam(tuple(stream.key for stream in lost), SeamReason.SILENT, from_ms, now_ms))

    def _move(self, key: StreamKey, shard: Shard) -> None:
        self._leave(key)
        self._assign(key, shard)
        self._close_empty()


def _why_silent(stream: Subscription) -> str:
    why = "it delivered nothing, asked for twice on one connection and once on another"
    return f"{why}; the exchange answered: {stream.refusal}" if stream.refusal else why
