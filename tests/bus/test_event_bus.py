"""The event bus: order, full queues, handlers that fail or never return."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bus.event_bus import MOST_ERRORS, InMemoryEventBus
from core.errors import ConfigurationError
from core.events import ALL, CONNECTION, KLINE, KLINE_UPDATE, TOPICS, TRADE, Event, matches


@pytest.fixture
def bus() -> Iterator[InMemoryEventBus]:
    made = InMemoryEventBus()
    yield made
    made.close()


def event(number: int, topic: str = KLINE, symbol: str = "BTCUSDT") -> Event:
    return Event(topic, "spot", symbol, "1m", number, None, None)


def wait_for(what: Callable[[], bool], longest_s: float = 10.0) -> None:
    ends = time.monotonic() + longest_s
    while not what():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.005)


def test_a_topic_is_itself_and_a_star_is_all() -> None:
    assert all(matches(ALL, topic) for topic in TOPICS)
    assert [topic for topic in TOPICS if matches(KLINE, topic)] == [KLINE]


def test_one_of_twenty_never_returns_and_the_others_get_everything_in_order(bus: InMemoryEventBus) -> None:
    forever = threading.Event()
    stuck = bus.subscribe(KLINE, lambda _event: forever.wait(), queue=100)
    got: list[list[object]] = [[] for _ in range(19)]
    others = [bus.subscribe(KLINE, lambda one, to=to: to.append(one.data), queue=10_000) for to in got]
    began_s = time.monotonic()
    for number in range(2_000):
        bus.publish(event(number))
    took_s = time.monotonic() - began_s
    wait_for(lambda: all(len(one) == 2_000 for one in got))
    assert all(one == list(range(2_000)) for one in got)
    assert [one.dropped for one in others] == [0] * 19
    assert 2_000 - 100 - 64 <= stuck.dropped <= 2_000 - 100
    assert took_s < 5
    forever.set()


@pytest.mark.parametrize(("when_full", "kept"), [("drop_oldest", [0, 7, 8, 9]), ("drop_newest", [0, 1, 2, 3])])
def test_what_is_dropped_is_what_was_chosen_and_said(
    bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture, when_full: str, kept: list[int]
) -> None:
    go, began, got = threading.Event(), threading.Event(), []

    def slow(one: Event) -> None:
        began.set()
        go.wait(10)
        got.append(one.data)

    subscription = bus.subscribe(KLINE, slow, queue=3, when_full=when_full)
    bus.publish(event(0))
    assert began.wait(10)
    for number in range(1, 10):
        bus.publish(event(number))
    go.set()
    wait_for(lambda: subscription.handled == 4)
    assert got == kept
    assert subscription.dropped == 6
    assert len([one for one in caplog.records if "too slow" in one.message and "slow" in one.message]) == 1


def test_a_queue_that_blocks_holds_up_who_may_wait_and_nobody_else(bus: InMemoryEventBus) -> None:
    go, got = threading.Event(), []

    def slow(one: Event) -> None:
        go.wait(10)
        got.append(one.data)

    subscription = bus.subscribe(KLINE, slow, queue=1, when_full="block")
    bus.publish(event(0), may_wait=False)
    wait_for(lambda: subscription.waiting == 0)
    bus.publish(event(1), may_wait=False)
    bus.publish(event(2), may_wait=False)  # the sockets do not wait
    assert subscription.dropped == 1
    publisher = threading.Thread(target=lambda: [bus.publish(event(number)) for number in range(3, 6)])
    publisher.start()
    publisher.join(0.3)
    assert publisher.is_alive()
    go.set()
    publisher.join(10)
    wait_for(lambda: got == [0, 1, 3, 4, 5])


def test_a_handler_that_fails_is_kept_and_one_that_always_fails_is_unsubscribed_and_that_is_an_event(
    bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[object] = []
    bus.subscribe(CONNECTION, lambda one: ended.append(one.data))

    def sometimes(one: Event) -> None:
        if one.data != MOST_ERRORS:
            raise ValueError(one.data)

    kept = bus.subscribe(KLINE, sometimes)
    for number in range(1, 2 * MOST_ERRORS):
        bus.publish(event(number))
    wait_for(lambda: kept.errors == 2 * MOST_ERRORS - 2)
    assert kept.is_active and kept.handled == 1
    bus.publish(event(0))
    wait_for(lambda: not kept.is_active)
    wait_for(lambda: len(ended) == 1)
    assert "sometimes" in str(ended[0])
    assert not bus.wants(KLINE)
    assert len([one for one in caplog.records if "has failed" in one.message]) == 2


def test_async_handlers_run_where_they_were_subscribed(bus: InMemoryEventBus) -> None:
    got: list[object] = []

    async def act() -> None:
        here, forever = threading.get_ident(), asyncio.Event()

        async def handle(one: Event) -> None:
            assert threading.get_ident() == here
            got.append(one.data)

        async def stuck(_one: Event) -> None:
            await forever.wait()

        bus.subscribe(KLINE, stuck)
        subscription = bus.subscribe(KLINE, handle, queue=10_000)
        publisher = threading.Thread(target=lambda: [bus.publish(event(number)) for number in range(5_000)])
        publisher.start()
        while subscription.handled < 5_000:
            await asyncio.sleep(0.01)

    asyncio.run(act())
    assert got == list(range(5_000))
    bus.publish(event(0))  # the loop is gone: nothing happens


def test_who_wants_what_is_known_at_once(bus: InMemoryEventBus) -> None:
    changes: list[bool] = []
    bus.when_changed(lambda: changes.append(bus.wants(KLINE_UPDATE)))
    assert not bus.wants(KLINE_UPDATE)
    subscription = bus.subscribe(ALL, print)
    assert bus.wants(KLINE_UPDATE)
    bus.unsubscribe(subscription)
    assert changes == [True, False]


def test_what_cannot_be_is_refused(bus: InMemoryEventBus) -> None:
    async def handle(_one: Event) -> None:
        """Never called."""

    for options in ({"when_full": "explode"}, {"queue": 0}):
        with pytest.raises(ConfigurationError):
            bus.subscribe(TRADE, print, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="running event loop"):
        bus.subscribe(TRADE, handle)
    with pytest.raises(ConfigurationError, match="plain handlers"):
        bus.subscribe(TRADE, handle, when_full="block")
