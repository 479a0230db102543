"""A market that is live: generated candles around now, served by the real time, and a cut of all its streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.instrument import Market
from core.ranges import Span
from core.series import make_series
from core.times import MS_PER_MINUTE
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import RefuseHandshake

LIVE_SERIES = [
    make_series(Market.SPOT, "BTCUSDT", "1s"),
    make_series(Market.SPOT, "ETHUSDT", "1s"),
    make_series(Market.UM, "BTCUSDT", "1m"),
    make_series(Market.CM, "BTCUSD_PERP", "1m"),
]

_PAST_MS, _AFTER_MS = 30 * MS_PER_MINUTE, 10 * MS_PER_MINUTE
_REFUSED_TIMES = 4  # so that a cut lasts some seconds, in which candles close


@contextmanager
def live_market(now_ms: int, seconds: float, seed: int) -> Iterator[ReplayExchange]:
    """Serve a market whose clock runs as the real one, from `now_ms` (epoch ms) on for at least so long."""
    store = CandleStore()
    begins_ms = (now_ms - _PAST_MS) // MS_PER_MINUTE * MS_PER_MINUTE
    for series in LIVE_SERIES:
        span = Span(begins_ms, now_ms + int(seconds * 1000) + _AFTER_MS)
        store.add(series, generate_series(series, span, seed))
    with ReplayExchange(store, ReplayClock(now_ms)) as exchange:
        yield exchange


def cut_streams(exchange: ReplayExchange) -> None:
    """Tear all connections and refuse the next few."""
    exchange.streams.faults.add(RefuseHandshake(503), times=_REFUSED_TIMES)
    exchange.streams.abort()
