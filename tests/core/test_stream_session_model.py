"""Stream sessions under any order of events: what must hold whatever the exchange, the network and the clock do."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stream_world import World, candles, many

from core.binance.streams import BinanceStreamRules
from core.instrument import Market
from core.stream_events import Answered, Closed, FirstData, Opened, Reconnect, Refused, ShutdownNotice, Wanted
from core.streams import Seam, StreamLive

KEYS = (*many(6), candles("BTCUSDT", "1s"))
MOST = 3
names = st.integers(1, 40).map(lambda number: f"spot#{number}")


class OneName(BinanceStreamRules):
    """One name a message, so that the pace matters."""

    names_per_message = 1


class Sessions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_per_connection=MOST, rules=OneName(Market.SPOT, ""))
        self.wanted: set[Any] = set()

    @initialize(keys=st.sets(st.sampled_from(KEYS), min_size=3))
    def begin(self, keys: set[Any]) -> None:
        self.want(keys)

    @rule(keys=st.sets(st.sampled_from(KEYS)))
    def want(self, keys: set[Any]) -> None:
        self.wanted = keys
        self.world.tell(Wanted(tuple(sorted(keys, key=str))))

    @rule(answer=st.sampled_from(["accepted", "accepted", "silent", "late", None, 403, 429, 500]))
    def attempts_are_answered_so_from_now_on(self, answer: str | int | None) -> None:
        world = self.world
        world.answers_itself = answer != "late"
        world.are_born_mute = answer == "silent"
        world.refusal = None
        if not isinstance(answer, str):
            world.refusal = lambda name: Refused(name, answer, 20_000, "refused")

    @rule(seconds=st.sampled_from([0.1, 1, 5, 40, 100]), delivers=st.booleans())
    def time_passes(self, seconds: float, delivers: bool) -> None:
        self.world.run(seconds, delivers=delivers)

    @rule(seconds=st.sampled_from([5, 60, 10_000]))
    def the_machine_sleeps(self, seconds: int) -> None:
        self.world.sleep(seconds)

    @rule()
    def a_day_passes(self) -> None:
        self.world.now_ms += 23 * 3600 * 1000
        self.world.run(1)

    @precondition(lambda self: any(not one.is_open for one in self.world.sockets.values()))
    @rule(data=st.data())
    def an_attempt_is_answered_late(self, data: st.DataObject) -> None:
        waiting = [name for name, one in self.world.sockets.items() if not one.is_open]
        self.world.answer_attempt(data.draw(st.sampled_from(waiting)))

    @precondition(lambda self: any(one.is_open for one in self.world.sockets.values()))
    @rule(data=st.data())
    def a_connection_falls_silent(self, data: st.DataObject) -> None:
        self.world.sockets[data.draw(st.sampled_from(list(self.world.sockets)))].is_mute = True

    @precondition(lambda self: any(one.names for one in self.world.sockets.values()))
    @rule(data=st.data())
    def the_exchange_forgets_a_stream(self, data: st.DataObject) -> None:
        socket = data.draw(st.sampled_from([one for one in self.world.sockets.values() if one.names]))
        del socket.names[data.draw(st.sampled_from(list(socket.names)))]

    @rule(names=st.sets(st.sampled_from(KEYS).map(BinanceStreamRules(Market.SPOT, "").name)))
    def streams_fall_silent(self, names: set[str]) -> None:
        self.world.silent_names = names

    @precondition(lambda self: any(one.is_open for one in self.world.sockets.values()))
    @rule(code=st.sampled_from([None, 1000, 1006, 1008]), data=st.data())
    def a_connection_is_cut(self, code: int | None, data: st.DataObject) -> None:
        self.world.cut(
            data.draw(st.sampled_from([name for name, one in self.world.sockets.items() if one.is_open])), code
        )

    @rule(name=names, kind=st.sampled_from([ShutdownNotice, Opened, FirstData, Answered, Closed]))
    def something_comes_late_or_twice(self, name: str, kind: Any) -> None:
        socket = self.world.sockets.get(name)
        if kind is ShutdownNotice:
            self.world.tell(ShutdownNotice(name))
        elif kind is Answered:
            self.world.tell(Answered(name, 1, "an error"))
        elif kind is FirstData and (socket is None or socket.is_open):
            self.world.tell(FirstData(name, KEYS[0]))
        elif socket is None:
            self.world.tell(Closed(name, None, "late") if kind is Closed else Opened(name))

    @rule()
    def the_operator_wants_new_connections(self) -> None:
        self.world.tell(Reconnect())

    @invariant()
    def never_more_messages_than_allowed(self) -> None:
        for socket in self.world.sockets.values():
            assert all(late - early >= 1000 for early, late in zip(socket.sent_ms, socket.sent_ms[2:], strict=False))

    @invariant()
    def never_more_connections_than_allowed(self) -> None:
        times = self.world.connects_ms
        assert all(late - early >= 300_000 for early, late in zip(times, times[60:], strict=False))

    @invariant()
    def never_more_streams_on_a_connection_than_allowed(self) -> None:
        for socket in self.world.sockets.values():
            streams = socket.connection.subscriptions.values()
            assert len([stream for stream in streams if stream.is_delivered]) <= MOST
            assert len(socket.connection.subscriptions) <= MOST + 1

    @invariant()
    def a_wanted_stream_is_never_forgotten(self) -> None:
        wake_ms = self.world.session.next_wake_ms()
        if self.wanted:
            assert wake_ms is not None and wake_ms <= self.world.now_ms + 1000
        else:
            assert self.world.sockets == {}

    def teardown(self) -> None:
        """When all goes well again every wanted stream comes back to life, once and without a seam from then on."""
        world = self.world
        for name in [name for name, one in world.sockets.items() if one.is_mute and one.is_open]:
            world.cut(name)
        world.refusal, world.answers_itself, world.are_born_mute, world.silent_names = None, True, False, set()
        world.run(25 * 60)
        assert all(world.is_delivering(key) for key in self.wanted)
        world.forget()
        world.run(5)
        assert world.seen(Seam) == []
        assert world.seen(StreamLive) == []


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
