"""Starts of a live service at random moments of a minute, also a second before and after a close.

    .venv/bin/python tests/long/live_starts.py --seed 1 --starts 40

Each start has a database of its own, fetches what is missing and streams for some minutes of a replay clock that runs
faster than real time. Then the candles must be the exchange's: none missing, none doubled, none different. Prints a
JSON line a start and a summary; ends with 1 on any violation.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from live_market import LiveMarket  # noqa: E402
from servers import database_server, fresh_database  # noqa: E402

from core.ranges import Span  # noqa: E402
from core.series import parse_series  # noqa: E402
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time  # noqa: E402
from db.connection import Database  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from db.migrate import migrate  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from demo.weights import WeightLimits  # noqa: E402

NOON_MS = parse_time("2024-11-11T12:00")
SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT", "um:BTCUSDT", "cm:BTCUSD_PERP")]
MINUTES = 4
SPEED = 20.0
AROUND_A_CLOSE_MS = (0, 1_000, 3_000, 59_000, 57_000)


def started_at(server: EmbeddedServer, store: CandleStore, phase_ms: int, number: int, seed: int) -> dict[str, str]:
    """Start at `phase_ms` after noon and stream for some minutes; return what is wrong then, by series."""
    clock = ReplayClock(NOON_MS + phase_ms, SPEED)
    with (
        tempfile.TemporaryDirectory() as folder,
        fresh_database(server, f"start_{number}") as url,
        ReplayExchange(store, clock, weight_limits=WeightLimits(spot=1_000_000, futures=1_000_000)) as replay,
    ):
        database = Database.connect(url, {}, "live")
        migrate(database)
        database.close()
        live = LiveMarket(url, Path(folder), replay, SERIES, NOON_MS - MS_PER_HOUR, SPEED, seed)
        clock.set(NOON_MS + phase_ms)
        service = live.started()
        ends_ms = NOON_MS + phase_ms + MINUTES * MS_PER_MINUTE
        live.wait_until(ends_ms)
        wrong = {} if service.stop(20.0) else {"stop": "not everything was stored in time"}
        service.finish()
        return wrong | live.untrue(ends_ms - MS_PER_MINUTE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--starts", type=int, default=40)
    options = parser.parse_args()
    store = CandleStore()
    span = Span(NOON_MS - 2 * MS_PER_HOUR, NOON_MS + MS_PER_HOUR)
    for one in SERIES:
        store.add(one, generate_series(one, span, options.seed))
    lots = random.Random(f"starts/{options.seed}")
    phases = [*AROUND_A_CLOSE_MS, *(lots.randrange(MS_PER_MINUTE) for _ in range(options.starts))][: options.starts]
    violations = 0
    with database_server("ohlcv-live-") as server:
        for number, phase_ms in enumerate(phases):
            wrong = started_at(server, store, phase_ms, number, options.seed)
            violations += len(wrong)
            print(json.dumps({"phase_ms": phase_ms, "wrong": wrong}), flush=True)
    print(json.dumps({"starts": len(phases), "violations": violations}))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
