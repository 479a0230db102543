"""Hours of streams with faults of all kinds: whatever is lost lies between a seam and the next sign of life."""

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from stream_world import World, many

from core.stream_events import Reconnect, Refused, ShutdownNotice
from core.streams import Seam, StreamKey, StreamLive

KEYS = many(5)
FAULTS = 60
LONGEST_UNNOTICED_MS = 4_000  # a connection may be silent for so long before another takes over


def cut(world: World, random: Random) -> None:
    if world.sockets:
        world.cut(random.choice(list(world.sockets)), random.choice([None, 1000, 1006, 1008, 1011]))


def fall_silent(world: World, random: Random) -> None:
    if world.sockets:
        random.choice(list(world.sockets.values())).is_mute = True


def announce_the_end(world: World, random: Random) -> None:
    if world.sockets:
        name = random.choice(list(world.sockets))
        world.tell(ShutdownNotice(name))
        world.run(random.choice([0, 1, 2, 5, 20]))
        if name in world.sockets:
            world.cut(name, 1001)


def reconnect(world: World, random: Random) -> None:
    world.tell(Reconnect())
    world.run(random.choice([0, 1, 3]))
    if random.random() < 0.5:
        cut(world, random)


def refuse(world: World, random: Random) -> None:
    status = random.choice([None, 429, 503])
    world.refusal = lambda name: Refused(name, status, 5_000, "refused")
    cut(world, random)
    world.run(random.choice([1, 30, 90]))
    world.refusal = None


def forget_a_stream(world: World, random: Random) -> None:
    sockets = [socket for socket in world.sockets.values() if socket.names]
    if sockets:
        socket = random.choice(sockets)
        del socket.names[random.choice(list(socket.names))]
        world.run(90)  # until it is noticed: before that it might as well be a quiet stream


def sleep(world: World, random: Random) -> None:
    world.sleep(random.choice([31, 3600]))  # a shorter pause loses nothing: the frames wait


EVERY_FAULT: list[Callable[[World, Random], None]] = [
    cut,
    fall_silent,
    announce_the_end,
    reconnect,
    refuse,
    forget_a_stream,
    sleep,
]


def holes(world: World, key: StreamKey) -> list[tuple[int, int]]:
    """Return the times in which frames may be lost: from before each seam to the first frame after it."""
    delivered = sorted(world.delivered[key])
    return [
        (seam.from_ms, delivered[min(bisect_right(delivered, seam.to_ms), len(delivered) - 1)])
        for seam in world.seen(Seam)
        if key in seam.keys
    ]


def is_covered(start_ms: int, end_ms: int, spans: list[tuple[int, int]]) -> bool:
    """Whether seams that follow each other cover all from one frame to the next."""
    for begin_ms, stop_ms in sorted(spans):
        if begin_ms <= start_ms < stop_ms:
            start_ms = stop_ms
    return start_ms >= end_ms


@pytest.mark.parametrize("seed", range(6))
def test_every_lost_frame_lies_in_a_seam(seed: int) -> None:
    random = Random(seed)
    world = World(KEYS, max_per_connection=2)
    world.run(5)
    begin_ms = world.now_ms // 1000 * 1000
    for _ in range(FAULTS):
        world.run(random.choice([3, 30, 120]))
        random.choice(EVERY_FAULT)(world, random)
    world.run(300)
    assert all(world.is_delivering(key) for key in KEYS)
    for key in KEYS:
        named = [event for _, event in world.events if event == StreamLive(key) or key in getattr(event, "keys", ())]
        assert named[-1] == StreamLive(key)  # also where it was live already when the seam was told
        delivered = sorted(world.delivered[key])
        for early_ms, late_ms in pairwise(delivered):
            if early_ms >= begin_ms and late_ms - early_ms > LONGEST_UNNOTICED_MS:
                assert is_covered(early_ms, late_ms, holes(world, key)), (early_ms, late_ms)
