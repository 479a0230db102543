"""Stream sessions in simulated time: which connection carries what, what counts as silent, what takes over when."""

import pytest
from stream_world import START_MS, World, candles, many

from core.stream_events import Reconnect, Refused, ShutdownNotice, Stop, Wanted
from core.streams import (
    ConnectionClosed,
    ConnectionOpened,
    MarketUnusable,
    Seam,
    SeamReason,
    StreamLive,
    StreamSilent,
)

ETH, BNB, BOGUS = candles("ETHUSDT"), candles("BNBUSDT"), candles("BOGUS")
BUSY = candles("BTCUSDT", "1s")
HOUR_S = 3600


def live(keys: tuple = (ETH, BNB), **more: int) -> World:
    """Return a world whose streams have all delivered for more than a minute."""
    world = World(keys, **more)
    world.run(70)
    assert all(world.is_delivering(key) for key in keys)
    world.forget()
    return world


def only(world: World) -> str:
    [name] = world.sockets
    return name


def test_a_stream_is_live_with_its_first_frame_and_not_with_an_acknowledgement() -> None:
    world = World((ETH,))
    world.acknowledge()
    world.run(5, delivers=False)
    assert world.seen(StreamLive) == []
    world.deliver()
    assert world.seen(StreamLive) == [StreamLive(ETH)]


def test_each_connection_has_a_busy_stream_that_is_not_handed_on() -> None:
    world = World((ETH, BNB), max_per_connection=1)
    for socket in world.sockets.values():
        assert "btcusdt@kline_1s" in socket.names
    world.run(5)
    assert all("!serverShutdown" in socket.names for socket in world.sockets.values())
    assert {event.key for event in world.seen(StreamLive)} == {ETH, BNB}


def test_the_busy_stream_is_handed_on_while_it_is_wanted() -> None:
    world = live((ETH,))
    world.tell(Wanted((ETH, BUSY)))
    world.run(2)
    assert world.seen(StreamLive) == [StreamLive(BUSY)]
    world.tell(Wanted((ETH,)))
    world.run(2)
    assert not world.is_delivering(BUSY)
    assert "btcusdt@kline_1s" in world.sockets[only(world)].names


def test_three_thousand_streams_need_fifteen_connections_and_are_asked_for_within_the_limits() -> None:
    keys = many(3000)
    world = World(keys)
    world.run(3, delivers=False)
    assert len(world.sockets) == 15
    beside = {"btcusdt@kline_1s", "!serverShutdown"}
    asked = [name for socket in world.sockets.values() for name in socket.names if name not in beside]
    assert len(asked) == len(set(asked)) == 3000
    for socket in world.sockets.values():
        assert all(len(text["params"]) <= 100 for text in socket.texts)
        assert all(late - early >= 1000 for early, late in zip(socket.sent_ms, socket.sent_ms[2:], strict=False))


def test_the_exchanges_most_streams_bind_also_where_the_setting_allows_more() -> None:
    world = World(many(1025), max_per_connection=1024)
    world.run(10, delivers=False)
    assert sorted(len(socket.names) for socket in world.sockets.values()) == [5, 1024]


def test_streams_no_longer_wanted_are_left_and_an_empty_connection_is_closed() -> None:
    world = live((ETH, BNB))
    world.tell(Wanted((ETH,)))
    world.run(2)
    assert "bnbusdt@kline_1m" not in world.sockets[only(world)].names
    world.tell(Wanted(()))
    assert world.sockets == {}
    assert world.seen(Seam) == []
    assert world.session.next_wake_ms() is None


def test_wanted_streams_take_the_room_of_those_that_left() -> None:
    keys = many(3)
    world = World(keys[:2], max_per_connection=2)
    world.run(3)
    world.tell(Wanted((keys[0], keys[2])))
    world.run(3)
    beside = {"btcusdt@kline_1s", "!serverShutdown"}
    assert set(world.sockets[only(world)].names) == {"a0usdt@kline_1m", "a2usdt@kline_1m"} | beside


# Cuts


def test_a_cut_is_one_seam_from_the_last_frame_and_the_next_connection_follows_at_once() -> None:
    world = live()
    last_ms = world.now_ms
    world.run(0.5, delivers=False)
    world.cut(only(world), 1006)
    [seam] = world.seen(Seam)
    assert seam == Seam((ETH, BNB), SeamReason.CUT, last_ms, world.now_ms)
    assert world.seen(ConnectionClosed)[0].is_planned is False
    world.run(2)
    assert {event.key for event in world.seen(StreamLive)} == {ETH, BNB}


def test_a_seam_reaches_back_to_the_last_frame_of_each_of_its_streams() -> None:
    world = live()
    last_ms = world.now_ms
    world.silent_names = {"bnbusdt@kline_1m"}
    world.run(20)
    world.cut(only(world))
    assert world.seen(Seam)[0].from_ms == last_ms


def test_connections_that_do_not_last_are_followed_after_growing_waits_and_never_too_many() -> None:
    world = World((ETH,))
    for _ in range(2000):
        world.run(1, delivers=False)
        if world.sockets:
            world.cut(only(world))
    for early, late in zip(world.connects_ms, world.connects_ms[60:], strict=False):
        assert late - early >= 300_000
    assert 40 < len(world.connects_ms) < 150  # about one in 30 s after the first minute


def test_a_minute_of_data_makes_the_next_cut_cheap_again() -> None:
    world = World((ETH,))
    for _ in range(8):
        while not world.sockets:
            world.run(1)
        world.cut(only(world))
    while not world.sockets:
        world.run(1)
    world.run(65)
    connects = len(world.connects_ms)
    world.cut(only(world))
    assert len(world.connects_ms) == connects + 1


def test_closed_with_1008_fewer_names_are_asked_for_at_a_time_after_ten_seconds() -> None:
    world = World(many(150))
    world.run(1)
    cut_ms = world.now_ms
    world.cut(only(world), 1008)
    world.run(15)
    assert world.connects_ms[-1] >= cut_ms + 10_000
    assert next(len(text["params"]) for text in world.sockets[only(world)].texts) == 50


def test_names_that_are_refused_together_are_asked_for_in_smaller_parts() -> None:
    world = World(many(8))
    world.acknowledge("bad request (code 2)")
    world.run(3, delivers=False)
    socket = world.sockets[only(world)]
    assert [len(text["params"]) for text in socket.texts] == [9, 1, 4, 4, 1]
    assert len(socket.names) == 10


def test_stopping_closes_everything_and_nothing_follows() -> None:
    world = live()
    world.tell(Stop())
    assert world.sockets == {}
    assert world.seen(Seam) == []
    assert world.session.next_wake_ms() is None
    world.tell(Wanted((ETH,)))
    assert world.sockets == {}


# Silence


def test_a_name_without_data_is_named_within_90_s_and_the_others_go_on() -> None:
    world = World((ETH, BOGUS))
    world.silent_names = {"bogus@kline_1m"}
    world.run(90)
    assert [event.key for event in world.seen(StreamSilent)] == [BOGUS]
    assert world.seen(Seam) == []
    assert world.is_delivering(ETH)
    asked = [name for socket in world.sockets.values() for name in socket.names]
    assert asked.count("ethusdt@kline_1m") == asked.count("bogus@kline_1m") == 1


def test_a_stream_that_was_named_silent_is_named_once_and_may_come_alive() -> None:
    world = World((ETH, BOGUS))
    world.silent_names = {"bogus@kline_1m"}
    world.run(HOUR_S / 2)
    world.cut(next(iter(world.sockets)))
    world.run(HOUR_S / 2)
    assert len(world.seen(StreamSilent)) == 1
    world.silent_names = set()
    world.forget()
    world.run(2)
    assert StreamLive(BOGUS) in world.seen(StreamLive)


def test_a_stream_that_stops_while_the_others_go_on_is_a_seam_and_moves_to_another_connection() -> None:
    world = live()
    name, last_ms = only(world), world.now_ms
    world.silent_names = {"bnbusdt@kline_1m"}
    world.run(72)
    [seam] = world.seen(Seam)
    assert (seam.keys, seam.reason, seam.from_ms) == ((BNB,), SeamReason.SILENT, last_ms)
    assert seam.to_ms - last_ms <= 71_000
    world.run(8)
    assert "bnbusdt@kline_1m" not in world.sockets[name].names
    world.silent_names = set()
    world.run(2)
    assert world.seen(StreamLive) == [StreamLive(BNB)]
    assert world.seen(StreamSilent) == []


def test_a_quiet_stream_is_not_in_doubt_between_two_candles() -> None:
    world = live()
    world.silent_names = {"bnbusdt@kline_1m"}
    for _ in range(10):
        world.run(60)
        for socket in world.sockets.values():
            world.frame(socket.connection, "bnbusdt@kline_1m")
    assert world.events == []


@pytest.mark.parametrize("answers", [False, True])
def test_a_connection_without_data_is_dead_whatever_it_answers(answers: bool) -> None:
    world = live()
    name, last_ms = only(world), world.now_ms
    world.sockets[name].is_mute = True
    for _ in range(12):
        world.run(1)
        if answers and name in world.sockets:
            world.acknowledge()
    [seam] = world.seen(Seam)
    assert seam.reason is SeamReason.SILENT
    assert seam.from_ms == last_ms
    assert seam.to_ms - last_ms <= 10_000  # its longest usual silence was a second
    assert name not in world.sockets
    assert world.is_delivering(ETH)


def test_a_connection_that_never_delivers_is_given_the_whole_limit_and_no_more() -> None:
    world = World((ETH,))
    world.sockets[only(world)].is_mute = True
    world.run(29)
    assert "spot#1" in world.sockets
    world.run(4)
    assert "spot#1" not in world.sockets
    assert world.is_delivering(ETH)


def test_after_three_silent_connections_in_a_row_the_market_is_unusable_and_tried_rarely() -> None:
    world = World((ETH,))
    world.are_born_mute = True
    for socket in world.sockets.values():
        socket.is_mute = True
    world.run(120)
    assert len(world.seen(MarketUnusable)) == 1
    assert len(world.connects_ms) == 3
    world.run(HOUR_S)
    assert len(world.connects_ms) <= 3 + 6
    assert len(world.seen(MarketUnusable)) == 1
    world.are_born_mute = False
    world.run(11 * 60)
    assert world.is_delivering(ETH)


def test_silent_connections_beside_one_that_delivers_say_nothing_about_the_market() -> None:
    world = World(many(4), max_per_connection=2)
    mute = list(world.sockets)[1]
    world.sockets[mute].is_mute = True
    world.are_born_mute = True
    world.run(300)
    assert world.seen(MarketUnusable) == []


def test_a_machine_that_slept_has_lost_all_connections_at_once() -> None:
    world = live(many(4), max_per_connection=2)
    before = set(world.sockets)
    fell_asleep_ms = world.now_ms
    world.sleep(3 * HOUR_S)
    assert not before & set(world.sockets)
    seams = world.seen(Seam)
    assert {key for seam in seams for key in seam.keys} == set(many(4))
    assert all(seam.from_ms <= fell_asleep_ms and seam.to_ms == world.now_ms for seam in seams)
    world.run(3)
    assert all(world.is_delivering(key) for key in many(4))


def test_time_without_any_wanted_stream_is_no_sleep() -> None:
    world = live((ETH,))
    world.tell(Wanted(()))
    world.now_ms += HOUR_S * 1000
    world.forget()
    world.tell(Wanted((ETH,)))
    world.run(60)
    assert [type(event) for _, event in world.events] == [ConnectionOpened, StreamLive]


def test_frames_that_waited_while_the_machine_slept_do_not_hide_the_hole() -> None:
    world = live((ETH,))
    fell_asleep_ms = world.now_ms
    world.now_ms += 3 * HOUR_S * 1000
    world.deliver()
    world.sleep(0)
    [seam] = world.seen(Seam)
    assert seam.from_ms <= fell_asleep_ms


# Turnover


def test_at_its_age_a_connection_is_replaced_without_a_hole() -> None:
    world = live()
    old = only(world)
    world.pass_hours(22.9)
    assert world.events == []
    world.pass_hours(0.7)
    assert old not in world.sockets
    assert world.seen(Seam) == []
    assert [event.is_planned for event in world.seen(ConnectionClosed)] == [True]
    kinds = [type(event) for _, event in world.events]
    assert kinds == [ConnectionOpened, StreamLive, StreamLive, ConnectionClosed]


@pytest.mark.parametrize("event", [Reconnect(), ShutdownNotice("spot#1")])
def test_a_new_connection_takes_over_before_the_old_one_is_closed(event: Reconnect | ShutdownNotice) -> None:
    world = live()
    world.tell(event)
    assert list(world.sockets) == ["spot#1", "spot#2"]
    world.run(1)
    assert list(world.sockets) == ["spot#1", "spot#2"]  # a frame of the old one may be on its way
    world.run(5)
    assert list(world.sockets) == ["spot#2"]
    assert world.seen(Seam) == []


def test_an_end_before_the_takeover_is_a_seam_of_what_does_not_deliver_on_the_new_connection() -> None:
    world = live()
    world.silent_names = {"bnbusdt@kline_1m"}
    world.tell(ShutdownNotice("spot#1"))
    world.run(2)
    world.cut("spot#1", 1001)
    [seam] = world.seen(Seam)
    assert (seam.keys, seam.reason) == ((BNB,), SeamReason.SHUTDOWN)
    assert list(world.sockets) == ["spot#2"]


def test_a_takeover_after_a_silence_is_a_seam_and_the_streams_are_named_live_again() -> None:
    world = live()
    last_ms = world.now_ms
    world.sockets["spot#1"].is_mute = True
    world.run(5)
    world.tell(Reconnect())
    world.run(5)
    assert list(world.sockets) == ["spot#2"]
    seams = [at for at, (_, event) in enumerate(world.events) if isinstance(event, Seam)]
    assert len(seams) == 1
    [seam] = world.seen(Seam)
    assert (set(seam.keys), seam.from_ms) == ({ETH, BNB}, last_ms)
    assert {event.key for _, event in world.events[seams[0] :] if isinstance(event, StreamLive)} == {ETH, BNB}


def test_a_quiet_stream_does_not_hold_up_a_takeover_for_ever_and_has_lost_nothing() -> None:
    world = live()
    world.silent_names = {"bnbusdt@kline_1m"}
    world.tell(Reconnect())
    world.run(50)
    assert len(world.sockets) == 2
    world.run(15)
    assert list(world.sockets) == ["spot#2"]
    assert world.seen(Seam) == []


def test_a_stream_that_delivers_on_the_old_connection_alone_is_a_seam_when_the_time_is_up() -> None:
    world = live()
    world.tell(Reconnect())
    world.sockets["spot#2"].names.pop("bnbusdt@kline_1m")
    world.run(65)
    [seam] = world.seen(Seam)
    assert (seam.keys, seam.reason) == ((BNB,), SeamReason.ASKED)
    world.run(90)
    assert world.is_delivering(BNB)


def test_a_takeover_that_fails_is_tried_again_while_the_old_connection_goes_on() -> None:
    world = live()
    world.refusal = lambda name: Refused(name, None, None, "unreachable")
    world.tell(Reconnect())
    world.run(120)
    assert list(world.sockets) == ["spot#1"]
    world.refusal = None
    world.run(120)
    assert "spot#1" not in world.sockets
    assert world.seen(Seam) == []


# Refused handshakes


@pytest.mark.parametrize("status", [403, 451])
def test_a_market_that_refuses_is_unusable_and_tried_rarely(status: int) -> None:
    world = World()
    world.refusal = lambda name: Refused(name, status, None, f"HTTP {status}")
    world.tell(Wanted((ETH,)))
    world.run(HOUR_S)
    [unusable] = world.seen(MarketUnusable)
    assert str(status) in unusable.why
    assert len(world.connects_ms) == 6 or len(world.connects_ms) == 7
    world.refusal = None
    world.run(11 * 60)
    assert world.is_delivering(ETH)


def test_429_is_obeyed() -> None:
    world = World()
    world.refusal = lambda name: Refused(name, 429, 90_000, "HTTP 429")
    world.tell(Wanted(many(3)))
    world.run(89)
    assert len(world.connects_ms) == 1
    world.run(2)
    assert world.connects_ms[1] - START_MS >= 90_000
    assert world.seen(MarketUnusable) == []


def test_while_a_host_is_away_one_connection_is_attempted_at_a_time() -> None:
    world = World()
    world.refusal = lambda name: Refused(name, None, None, "unreachable")
    world.tell(Wanted(many(1000)))
    world.run(HOUR_S)
    assert len(world.connects_ms) < 200
    world.refusal = None
    before = len(world.connects_ms)
    world.run(90)
    assert len(world.connects_ms) == before + 5
    assert all(world.is_delivering(key) for key in many(1000))
