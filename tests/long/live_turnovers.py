"""Planned turnovers of connections: nothing may need a heal, nothing may be missing, doubled or different.

    .venv/bin/python tests/long/live_turnovers.py --seed 1 --turnovers 50

All connections of a live service are replaced again and again, as at their age, at random moments of a replay clock
that runs faster than real time. Prints a JSON line a turnover and a summary; ends with 1 on any violation.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from live_market import LiveMarket  # noqa: E402
from servers import database_server, fresh_database  # noqa: E402

from core.ranges import Span  # noqa: E402
from core.series import parse_series  # noqa: E402
from core.times import MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND, parse_time  # noqa: E402
from db.connection import Database  # noqa: E402
from db.migrate import migrate  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from demo.weights import WeightLimits  # noqa: E402
from logic.live.service import LiveService  # noqa: E402

NOON_MS = parse_time("2024-11-11T12:00") + 30_000
SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "um:BTCUSDT", "cm:BTCUSD_PERP")]
LONGEST_MS = 3 * MS_PER_MINUTE  # from one turnover to the next; a takeover takes a few seconds
SPEED = 10.0
PATIENCE_S = 60.0


def settled(live: LiveMarket, service: LiveService) -> None:
    """Wait until the start is over: all streams deliver and nothing waits for a heal. Raises SystemExit."""
    ends_s = time.monotonic() + PATIENCE_S
    while service.sink.live < len(SERIES) or service.healer.waiting:
        if time.monotonic() > ends_s:
            raise SystemExit("the streams do not begin")
        time.sleep(0.05)
    live.wait_until(live.now_ms() + 2 * MS_PER_MINUTE)


def turned_over(live: LiveMarket, service: LiveService, turnovers: int) -> list[str]:
    """Replace all connections so many times; return what went wrong."""
    done, lots, wrong = service.counters, random.Random(f"turnovers/{live.seed}"), []
    healed, opened, cuts = done.healed, done.connections, sum(done.reconnects.values())
    for number in range(1, turnovers + 1):
        service.reconnect()
        live.wait_until(live.now_ms() + lots.randrange(30 * MS_PER_SECOND, LONGEST_MS))
        line = {"turnover": number, "connections": done.connections, "healed": done.healed - healed}
        print(json.dumps(line | {"finals": done.finals, "already_there": done.already_there}), flush=True)
    if done.connections - opened < 3 * turnovers:
        wrong.append(f"{done.connections - opened} new connections of three markets")
    if done.healed != healed or sum(done.reconnects.values()) != cuts:
        wrong.append(f"{done.healed - healed} candles healed, frames lost for {dict(done.reconnects)}")
    if done.conflicts or done.unusable or done.faults:
        wrong.append(f"{done.conflicts} conflicts, {dict(done.unusable)}, {done.faults} faults")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turnovers", type=int, default=50)
    options = parser.parse_args()
    store = CandleStore()
    span = Span(NOON_MS - 2 * MS_PER_HOUR, NOON_MS + options.turnovers * LONGEST_MS + MS_PER_HOUR)
    for one in SERIES:
        store.add(one, generate_series(one, span, options.seed))
    clock = ReplayClock(NOON_MS, SPEED)
    limits = WeightLimits(spot=1_000_000, futures=1_000_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        database_server("ohlcv-live-") as server,
        fresh_database(server, "turnovers") as url,
        ReplayExchange(store, clock, weight_limits=limits) as replay,
    ):
        database = Database.connect(url, {}, "live")
        migrate(database)
        database.close()
        live = LiveMarket(url, Path(folder), replay, SERIES, NOON_MS - MS_PER_HOUR, SPEED, options.seed)
        clock.set(NOON_MS)
        service = live.started()
        settled(live, service)
        wrong = turned_over(live, service, options.turnovers)
        ends_ms = live.now_ms()
        if not service.stop(20.0):
            wrong.append("not everything was stored in time")
        wrong += [f"{series}: {what}" for series, what in live.untrue(ends_ms - MS_PER_MINUTE).items()]
    print(json.dumps({"turnovers": options.turnovers, "wrong": wrong, "violations": len(wrong)}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
