"""One connection: the streams asked for on it, when each last delivered, and what is still to be sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from core.stream_pacing import Window
from core.stream_rules import StreamRules
from core.streams import SeamReason, StreamKey
from core.times import MS_PER_MINUTE, MS_PER_SECOND

# How long after SUBSCRIBE a stream in doubt is looked at again.
_DOUBT_STEP_MS = 6 * MS_PER_SECOND
_REPORTED_STEP_MS = 10 * MS_PER_MINUTE
# A connection is dead when it is silent for so many times its longest usual silence, at least the shortest limit.
_STALL_FACTOR = 8
_SHORTEST_STALL_MS = 5_000


class Doubt(IntEnum):
    """What was done about a stream that delivers nothing."""

    NONE = 0
    ASKED_AGAIN = 1  # on the same connection
    MOVED = 2  # to another connection
    REPORTED = 3  # and asked for again now and then


@dataclass(slots=True, eq=False)
class Subscription:
    """One stream on one connection."""

    key: StreamKey
    name: bytes  # as frames carry it
    is_delivered: bool = False  # no: it only shows that the connection lives
    doubt: Doubt = Doubt.NONE
    asked_ms: int | None = None  # when SUBSCRIBE was sent, the last time
    check_ms: int | None = None  # when its silence is looked at next
    last_ms: int | None = None  # its last frame on this connection
    is_live: bool = False  # it has delivered since it was last in doubt
    refusal: str = ""  # the exchange's answer to SUBSCRIBE, when it was an error


class Connection:
    """One connection from the attempt to its end."""

    def __init__(self, name: str, rules: StreamRules, replace_after_ms: int) -> None:
        self.name = name  # for messages
        self.subscriptions: dict[StreamKey, Subscription] = {}
        self.by_name: dict[bytes, Subscription] = {}
        self.opened_ms: int | None = None
        self.asked_ms: int | None = None  # when the first SUBSCRIBE was sent
        self.first_ms: int | None = None  # first and last frame of data
        self.last_ms: int | None = None
        self.ends: SeamReason | None = None  # why another one is to take over
        self.replace_after_ms = replace_after_ms
        self._rules = rules
        self._pace = Window(rules.messages_per_second, MS_PER_SECOND)
        self._to_ask: dict[StreamKey, None] = {}
        self._to_leave: dict[StreamKey, None] = {}
        self._notices = list(rules.notices)  # not asked for yet
        self._asked: dict[int, tuple[StreamKey, ...]] = {}  # by number, until the answer
        self._number = 0
        self._gaps_ms = deque([0, 0], maxlen=2)  # longest silence of the last whole minute and of this one
        self._gaps_since_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether its handshake was accepted."""
        return self.opened_ms is not None

    def beat(self, now_ms: int) -> None:
        """Note a frame of data. Called for every frame, so it is short."""
        last_ms, self.last_ms = self.last_ms, now_ms
        if last_ms is not None and now_ms - last_ms > self._gaps_ms[1]:
            self._gaps_ms[1] = now_ms - last_ms

    @property
    def longest_gap_ms(self) -> int:
        """The longest silence between two frames in the last minute or two."""
        return max(self._gaps_ms)

    def silent_from_ms(self) -> int | None:
        """Return since when it has said nothing; None before SUBSCRIBE was sent."""
        return self.last_ms if self.last_ms is not None else self.asked_ms

    def is_stalled(self, now_ms: int, stall_ms: int) -> bool:
        """Whether its silence is too long: `stall_ms`, or less once its usual silences are known."""
        silent_from_ms = self.silent_from_ms()
        return silent_from_ms is not None and now_ms - silent_from_ms > self._limit_ms(now_ms, stall_ms)

    def _limit_ms(self, now_ms: int, stall_ms: int) -> int:
        if self.first_ms is None:
            return stall_ms
        if self._gaps_since_ms is None:
            self._gaps_since_ms = self.first_ms
        if now_ms - self._gaps_since_ms >= MS_PER_MINUTE:
            self._gaps_since_ms = now_ms
            self._gaps_ms.append(0)
        if now_ms - self.first_ms < MS_PER_MINUTE:
            return stall_ms
        return min(max(_STALL_FACTOR * self.longest_gap_ms, _SHORTEST_STALL_MS), stall_ms)

    def subscribe(self, key: StreamKey, *, is_delivered: bool, doubt: Doubt = Doubt.NONE) -> None:
        """Ask for a stream, once more if it is here, as soon as the pace allows; its next frame is its first."""
        subscription = self.subscriptions.get(key)
        if subscription is None:
            name = self._rules.name(key).encode()
            subscription = Subscription(key, name)
            self.subscriptions[key] = self.by_name[name] = subscription
        subscription.is_delivered = is_delivered
        subscription.is_live = False
        subscription.doubt = doubt
        subscription.check_ms = None  # set when it was asked for
        self._to_leave.pop(key, None)
        self._to_ask[key] = None

    def unsubscribe(self, key: StreamKey) -> None:
        """Leave a stream as soon as the pace allows; its frames are not known from now on."""
        subscription = self.subscriptions.pop(key, None)
        if subscription is None:
            return
        del self.by_name[subscription.name]
        self._to_ask.pop(key, None)
        if subscription.asked_ms is not None:
            self._to_leave[key] = None

    @property
    def send_ms(self) -> int | None:
        """From when on the next message may be sent; None when there is nothing to send."""
        if not self.is_open or not (self._to_ask or self._to_leave or self._notices):
            return None
        return self._pace.free_ms

    def next_message(self, now_ms: int, most_names: int) -> str | None:
        """Return the next message when it is due, and note it as sent."""
        if self.send_ms is None or now_ms < self.send_ms:
            return None
        self._pace.count(now_ms)
        self._number += 1
        if not self._to_leave and not self._to_ask:  # notices by themselves: refusing them must not touch a stream
            names, self._notices = self._notices, []
            return self._rules.request(True, names, self._number)
        wanted = not self._to_leave  # first those to leave: they count against the most streams of a connection
        waiting = self._to_ask if wanted else self._to_leave
        keys = tuple(islice(waiting, most_names))
        for key in keys:
            del waiting[key]
            if wanted:
                self._note_asked(self.subscriptions[key], now_ms)
        if wanted:
            self._asked[self._number] = keys
        return self._rules.request(wanted, map(self._rules.name, keys), self._number)

    def _note_asked(self, subscription: Subscription, now_ms: int) -> None:
        if self.asked_ms is None:
            self.asked_ms = now_ms
        subscription.asked_ms = now_ms
        match subscription.doubt:
            case Doubt.NONE:
                subscription.check_ms = now_ms + self._rules.patience_ms(subscription.key)
            case Doubt.REPORTED:
                subscription.check_ms = now_ms + _REPORTED_STEP_MS
            case _:
                subscription.check_ms = now_ms + _DOUBT_STEP_MS

    def note_data(self, key: StreamKey, now_ms: int) -> Subscription | None:
        """Note the first frame of a stream since it was asked for or in doubt; None when it is not here."""
        subscription = self.subscriptions.get(key)
        if subscription is None:
            return None
        self.beat(now_ms)
        if self.first_ms is None:
            self.first_ms = now_ms
        subscription.last_ms = now_ms
        subscription.is_live = True
        subscription.doubt = Doubt.NONE
        subscription.refusal = ""
        subscription.check_ms = now_ms + self._rules.patience_ms(key)
        return subscription

    def forget_data_after(self, ms: int) -> None:
        """Let no frame count as later than `ms`."""
        if self.last_ms is not None:
            self.last_ms = min(self.last_ms, ms)
        for subscription in self.subscriptions.values():
            if subscription.last_ms is not None:
                subscription.last_ms = min(subscription.last_ms, ms)

    def is_live(self, key: StreamKey) -> bool:
        """Whether a stream delivers here."""
        subscription = self.subscriptions.get(key)
        return subscription is not None and subscription.is_live

    def doubtful(self, now_ms: int) -> list[Subscription]:
        """Return the streams that have delivered nothing for too long, or still nothing since something was done."""
        found = []
        for subscription in self.subscriptions.values():
            if not subscription.is_delivered or subscription.check_ms is None or now_ms < subscription.check_ms:
                continue
            if subscription.doubt is Doubt.NONE:
                heard_ms = max(subscription.asked_ms or 0, subscription.last_ms or 0)
                subscription.check_ms = heard_ms + self._rules.patience_ms(subscription.key)
                if now_ms < subscription.check_ms:
                    continue
            found.append(subscription)
        return found

    def answered(self, number: int, error: str) -> int:
        """Take the answer to a message; `error` is empty when it was accepted. Return how many streams were refused.

        Of several that were refused together each is asked for again; the caller sends fewer at a time.
        """
        keys = [key for key in self._asked.pop(number, ()) if key in self.subscriptions]
        if not error:
            return 0
        for key in keys:
            self.subscriptions[key].refusal = error
            if len(keys) > 1:
                self._to_ask[key] = None
        return len(keys)
