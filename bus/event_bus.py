"""An event bus inside a process: a queue for each subscriber, so that a slow one delays nobody.

Plain handlers run in a thread of their own for each subscription, async ones as a task of the event loop in which they
were subscribed.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from core.errors import ConfigurationError
from core.events import CONNECTION, Event, matches

_log = logging.getLogger(__name__)

Handler = Callable[[Event], Any]

MOST_ERRORS = 100
"""After so many errors in a row a handler is unsubscribed."""
_SAID_EVERY_S = 60.0
_BLOCK_STEP_S = 0.5
_MOST_AT_ONCE = 64
# After what it took, a subscriber's thread rests: waking it for each of many events costs more than handling them.
_REST_S = 0.002


class WhenFull(StrEnum):
    """What happens to an event when the queue of a subscriber is full."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    BLOCK = "block"  # the publisher waits, where it may; sockets and the database may not: then as DROP_NEWEST


class Subscription:
    """One handler with its queue. Counts may be read from any thread."""

    def __init__(self, topic: str, handler: Handler, most: int, when_full: WhenFull) -> None:
        self.topic, self.handler = topic, handler
        self.name = getattr(handler, "__qualname__", type(handler).__qualname__)
        self.handled = 0
        self.dropped = 0
        self.errors = 0
        self.is_active = True
        self._most, self._when_full = most, when_full
        self._errors_in_a_row = 0
        self._queue: deque[Event] = deque()
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop() if inspect.iscoroutinefunction(handler) else None
        self._is_armed = False
        self._said_s = float("-inf")
        self._ended: Callable[[Subscription, str], None] = lambda _one, _why: None
        if self._loop is None:
            threading.Thread(target=self._run, name=f"subscriber {self.name}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many events wait for the handler."""
        return len(self._queue)

    def when_ended(self, call: Callable[[Subscription, str], None]) -> None:
        """Call `call` with this subscription and the reason when its handler fails again and again."""
        self._ended = call

    def put(self, event: Event, may_wait: bool) -> None:
        """Queue an event; waits only where it may, and the queue is one that blocks."""
        with self._changed:
            if len(self._queue) >= self._most:
                if self._when_full is WhenFull.BLOCK and may_wait:
                    while len(self._queue) >= self._most and self.is_active:
                        self._changed.wait(_BLOCK_STEP_S)
                else:
                    self._drop()
                    if self._when_full is not WhenFull.DROP_OLDEST:
                        return
                    self._queue.popleft()
            self._queue.append(event)
            if self._loop is None:
                if len(self._queue) == 1:  # else whoever waited is awake already
                    self._changed.notify_all()
                return
            if self._is_armed:
                return
            self._is_armed = True
        self._wake(self._loop)

    def end(self) -> None:
        """Deliver nothing more."""
        with self._changed:
            self.is_active = False
            self._queue.clear()
            self._changed.notify_all()

    def _drop(self) -> None:
        self.dropped += 1
        now_s = time.monotonic()
        if now_s >= self._said_s + _SAID_EVERY_S:
            self._said_s = now_s
            _log.warning("subscriber %s of %s is too slow: %d events dropped", self.name, self.topic, self.dropped)

    def _run(self) -> None:
        while self.is_active:
            with self._changed:
                while self.is_active and not self._queue:
                    self._changed.wait()
                taken = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_AT_ONCE))]
                self._changed.notify_all()
            for event in taken:
                if not self.is_active:
                    return
                try:
                    self.handler(event)
                except Exception:
                    self._failed()
                else:
                    self._succeeded()
            if not self._queue:
                time.sleep(_REST_S)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(lambda: loop.create_task(self._drain()))
        except RuntimeError:  # the loop is closed: nobody will hear of anything
            self.end()

    async def _drain(self) -> None:
        while self.is_active:
            with self._changed:
                if not self._queue:
                    self._is_armed = False
                    return
                event = self._queue.popleft()
                self._changed.notify_all()
            try:
                handled: Awaitable[None] = self.handler(event)
                await handled
            except Exception:
                self._failed()
            else:
                self._succeeded()
                if self.handled % _MOST_AT_ONCE == 0:
                    await asyncio.sleep(0)  # a handler that never waits must not hold up the loop

    def _succeeded(self) -> None:
        self.handled += 1
        self._errors_in_a_row = 0

    def _failed(self) -> None:
        self.errors += 1
        self._errors_in_a_row += 1
        if self._errors_in_a_row == 1:
            _log.exception("subscriber %s of %s has failed; it stays subscribed", self.name, self.topic)
        if self._errors_in_a_row >= MOST_ERRORS:
            self.end()
            self._ended(self, f"its handler failed {MOST_ERRORS} times in a row")


class InMemoryEventBus:
    """Hands events to subscribers. Thread-safe; the order of events of one symbol and topic is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._by_topic: dict[str, tuple[Subscription, ...]] = {}
        self._numbers = itertools.count(1)
        self._changed: list[Callable[[], None]] = []

    def subscribe(
        self, topic: str, handler: Handler, queue: int = 1_000, when_full: str = "drop_oldest"
    ) -> Subscription:
        """Call `handler` with each event of `topic`; `market_data.*` is all.

        `queue` is how many events may wait. An async handler is subscribed inside the event loop that runs it.
        Raises ConfigurationError.
        """
        try:
            policy = WhenFull(when_full)
        except ValueError:
            raise ConfigurationError(f"when_full: one of {', '.join(WhenFull)}, not {when_full!r}") from None
        if queue < 1:
            raise ConfigurationError(f"queue: at least 1, not {queue}")
        is_async = inspect.iscoroutinefunction(handler)
        if is_async and policy is WhenFull.BLOCK:
            raise ConfigurationError("when_full='block' is for plain handlers: an async one could wait for itself")
        try:
            subscription = Subscription(topic, handler, queue, policy)
        except RuntimeError as error:
            raise ConfigurationError(f"an async handler is subscribed inside a running event loop ({error})") from error
        subscription.when_ended(self._ended)
        self._replace(lambda known: (*known, subscription))
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Deliver nothing more to a subscription."""
        subscription.end()
        self._replace(lambda known: tuple(one for one in known if one is not subscription))

    def close(self) -> None:
        """End all subscriptions."""
        for one in self._subscriptions:
            self.unsubscribe(one)

    def wants(self, topic: str) -> bool:
        """Whether anybody is subscribed to `topic`. Cheap: asked for every frame."""
        return bool(self._of(topic))

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call `call`, in whatever thread, after every change of subscriptions."""
        self._changed.append(call)

    def publish(self, event: Event, may_wait: bool = True) -> None:
        """Hand an event to its subscribers. `may_wait`: a full queue of one that blocks may hold up the caller."""
        if found := self._of(event.topic):
            numbered = Event(*event[:-1], next(self._numbers))  # a third of what _replace takes
            for one in found:
                one.put(numbered, may_wait)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Those that are active."""
        return self._subscriptions

    def _of(self, topic: str) -> tuple[Subscription, ...]:
        by_topic = self._by_topic
        found = by_topic.get(topic)
        if found is None:
            found = by_topic[topic] = tuple(one for one in self._subscriptions if matches(one.topic, topic))
        return found

    def _replace(self, change: Callable[[tuple[Subscription, ...]], tuple[Subscription, ...]]) -> None:
        with self._lock:
            self._subscriptions = change(self._subscriptions)
            self._by_topic = {}
        for call in self._changed:
            call()

    def _ended(self, subscription: Subscription, why: str) -> None:
        self.unsubscribe(subscription)
        _log.error("subscriber %s of %s is unsubscribed: %s", subscription.name, subscription.topic, why)
        said = {"unsubscribed": subscription.name, "topic": subscription.topic, "why": why}
        self.publish(Event(CONNECTION, "", "", None, said, None, None), may_wait=False)
