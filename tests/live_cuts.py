"""Cuts and damages of live streams, drawn by lots: what may happen to them in a day."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from core.ranges import Span
from demo.stream_faults import (
    AlterFrame,
    Damage,
    DamageFrame,
    DoubleFrame,
    DropFrame,
    HalfOpen,
    LateFrame,
    RefuseHandshake,
    ShutDown,
    Silence,
    SwapFrame,
    Where,
)
from demo.stream_server import StreamServer

Cut = Callable[[StreamServer, random.Random], None]


def altered(event: dict[str, Any]) -> dict[str, Any]:
    """Return a final candle that differs from what REST says: late trades were not in it yet."""
    candle = dict(event["k"])
    candle["n"] = candle["n"] + 1
    candle["v"] = str(candle["v"]).replace("0", "1", 1) if "0" in str(candle["v"]) else f"{candle['v']}"
    return {**event, "k": candle}


def _abort(streams: StreamServer, lots: random.Random) -> None:
    streams.abort(_one_of(streams, lots))


def _close(streams: StreamServer, lots: random.Random) -> None:
    streams.close(lots.choice([1000, 1001, 1008, 1011, 1012]), _one_of(streams, lots))


def _all_at_once(streams: StreamServer, lots: random.Random) -> None:
    streams.abort()


def _refused(streams: StreamServer, lots: random.Random) -> None:
    streams.faults.add(RefuseHandshake(lots.choice([429, 503]), retry_after_s=2), times=lots.randint(1, 3))
    streams.abort(_one_of(streams, lots))


def _fault(*faults: Any, finals: bool = False) -> Cut:
    def cut(streams: StreamServer, lots: random.Random) -> None:
        number = _one_of(streams, lots)
        streams.faults.add(lots.choice(faults), Where(connection=number, finals=finals), times=lots.randint(1, 3))

    return cut


def _one_of(streams: StreamServer, lots: random.Random) -> int | None:
    numbers = [record.number for record in streams.open_connections]
    return lots.choice(numbers) if numbers else None


KINDS: dict[str, Cut] = {
    "abort": _abort,
    "close": _close,
    "all at once": _all_at_once,
    "handshake refused": _refused,
    "stall": _fault(Silence()),
    "stall without pongs": _fault(Silence(pongs=False)),
    "half open": _fault(HalfOpen()),
    "shutdown": _fault(ShutDown(10_000), ShutDown(300)),
    "dropped final": _fault(DropFrame(), finals=True),
    "doubled final": _fault(DoubleFrame(), finals=True),
    "late final": _fault(LateFrame(5_000), LateFrame(25_000), LateFrame(90_000), finals=True),
    "swapped final": _fault(SwapFrame(), finals=True),
    "altered final": _fault(AlterFrame(altered), finals=True),
    "garbage": _fault(*(DamageFrame(one) for one in Damage), finals=True),
}


def drawn(span: Span, count: int, seed: int) -> Sequence[tuple[int, str]]:
    """Return `count` moments in `span` with what happens then, in order; every kind comes about as often."""
    lots = random.Random(f"cuts/{seed}")
    names = (list(KINDS) * (count // len(KINDS) + 1))[:count]
    lots.shuffle(names)
    return sorted((lots.randrange(span.start_ms, span.end_ms), name) for name in names)
