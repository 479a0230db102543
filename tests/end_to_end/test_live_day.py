"""Live candles through cuts and damages of all kinds, in simulated time: at the end everything is there, and true."""

from __future__ import annotations

import random
from pathlib import Path

from live_cuts import KINDS, drawn
from live_market import LiveMarket

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_MINUTE, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange

SERIES = [
    parse_series(text)
    for text in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "BTCUSDT/5m", "um:BTCUSDT", "um:ETHUSDT", "cm:BTCUSD_PERP")
]
BEGINS_MS = parse_time("2024-11-11T10:00")
SPEED = 240.0


def test_a_stream_with_cuts_of_every_kind_ends_complete_and_true(database_url: str, tmp_path: Path, seed: int) -> None:
    store = CandleStore()
    span = Span(BEGINS_MS - 60 * MS_PER_MINUTE, BEGINS_MS + 120 * MS_PER_MINUTE)
    for series in SERIES:
        store.add(series, generate_series(series, span, seed))
    clock = ReplayClock(BEGINS_MS, SPEED)
    with ReplayExchange(store, clock) as replay:
        live = LiveMarket(
            database_url,
            tmp_path,
            replay,
            SERIES,
            span.start_ms,
            SPEED,
            seed,
            audit_ms=20 * MS_PER_MINUTE,
            max_per_connection=2,
        )
        service = live.started()
        lots = random.Random(seed)
        begins_ms = live.now_ms()
        for at_ms, kind in drawn(Span(begins_ms, begins_ms + 40 * MS_PER_MINUTE), len(KINDS), seed):
            live.wait_until(at_ms)
            KINDS[kind](replay.streams, lots)
        live.wait_until(begins_ms + 46 * MS_PER_MINUTE)
        ended_ms = live.now_ms()  # what closed a minute before was audited, if `finish` holds its promise
        assert service.stop(10.0)
        service.finish()
        until_ms = (ended_ms - 2 * MS_PER_MINUTE) // (5 * MS_PER_MINUTE) * 5 * MS_PER_MINUTE
        assert live.untrue(until_ms) == {}
        assert [check for check in live.checks(until_ms) if not check.is_complete] == []
        assert not service.has_failed
        assert service.counters.corrected >= 1  # the altered finals
