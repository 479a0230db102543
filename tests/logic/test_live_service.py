"""The live service as a whole: what it leaves behind when it has ended."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

from live_market import LiveMarket

from core.times import parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.server import ReplayExchange

BEGINS_MS = parse_time("2024-11-11T10:00:30")


def test_a_service_that_has_ended_leaves_nothing_open(database_url: str, tmp_path: Path) -> None:
    with (
        ReplayExchange(CandleStore(), ReplayClock(BEGINS_MS)) as replay,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        service = LiveMarket(database_url, tmp_path, replay, [], BEGINS_MS, 1.0).started()
        assert service.stop(10.0)
        del service
        gc.collect()
    assert [str(one.message) for one in told if "event loop" in str(one.message)] == []
