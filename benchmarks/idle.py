"""What a run costs that has little or nothing to do: many series that are up to date, or that lack one candle each.

    python benchmarks/idle.py [--series 300] [--rounds 5]

Series of 15m candles on the replay exchange, brought up to date; then, in turns, the exchange's clock moves on by one
candle and the program is run as cron would, and is run again when nothing is new. Prints the seconds and the processor
time of the process a series, both beyond those of a run over one series, the requests, and what `status` and `--help`
take. Then the same for a tenth of the series, and for such with a hundred times the candles, which must not cost more.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common import PROJECT, own_folder, own_server, program_environment

from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from db.embedded import EmbeddedServer
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.weights import WeightLimits

CANDLE_MS = 15 * MS_PER_MINUTE
NOW_MS = parse_time("2024-06-03T12:00") + 30_000
HOURS_AHEAD = 24


@dataclass
class Cost:
    """Seconds of the clock, of the process and requests, one item a run."""

    seconds: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)


class World:
    """So many series on a replay exchange of their own, with a database of their own."""

    def __init__(self, folder: Path, server: EmbeddedServer, name: str, count: int, days: int) -> None:
        self.count = count
        store = CandleStore()
        self.series = [parse_series(f"{name}{number}USDT/15m") for number in range(count)]
        whole = Span(NOW_MS // MS_PER_DAY * MS_PER_DAY - days * MS_PER_DAY, NOW_MS + HOURS_AHEAD * 4 * CANDLE_MS)
        rows = list(generate_series(self.series[0], whole, 1))
        for series in self.series:  # the same candles for all, or making them would take longer than the runs
            store.add(series, rows)
        limits = WeightLimits(spot=10**6, futures=10**6)
        self.exchange = ReplayExchange(store, ReplayClock(NOW_MS, speed=0.0), archives=False, weight_limits=limits)
        self.exchange.start()
        self.environment = {**program_environment(folder, server, self.exchange), "STATE_DIR": str(folder / name)}

    def run(self, series: list[Series], cost: Cost | None = None) -> None:
        """Run a backfill of `series` as cron would."""
        self.exchange.clear_requests()
        arguments = ["--symbols", *map(str, series), "--source", "rest", "--quiet"]
        seconds, own = timed(arguments, self.environment)
        if cost is not None:
            cost.seconds.append(seconds)
            cost.own.append(own)
            cost.requests.append(len(self.exchange.requests))

    def next_candle(self) -> None:
        """Let the exchange's clock move on by one candle."""
        self.exchange.clock.advance(CANDLE_MS)


def timed(arguments: list[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Run the program; return the seconds of the clock and those of its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    command = [sys.executable, str(PROJECT / "ohlcv_data_fetcher.py"), *arguments]
    subprocess.run(command, env=dict(environment), check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(world: World, rounds: int) -> dict[str, Cost]:
    """Return the costs of idle runs and of runs with one new candle a series, for all series and for one."""
    costs: dict[str, Cost] = {name: Cost() for name in ("nothing new", "one new", "nothing new, one series")}
    world.run(world.series)
    for _ in range(rounds):
        world.run(world.series, costs["nothing new"])
        world.run(world.series[:1], costs["nothing new, one series"])
        world.next_candle()
        world.run(world.series, costs["one new"])
    return costs


def report(name: str, world: World, costs: dict[str, Cost]) -> None:
    """Print what a series costs beyond the run itself."""
    single = costs["nothing new, one series"]
    for what in ("nothing new", "one new"):
        cost, more = costs[what], world.count - 1
        each = [(all_ - one) / more * 1000 for all_, one in zip(cost.seconds, single.seconds, strict=True)]
        own = [(all_ - one) / more * 1000 for all_, one in zip(cost.own, single.own, strict=True)]
        line = {
            "series": world.count,
            "world": name,
            "run": what,
            "seconds": round(statistics.median(cost.seconds), 2),
            "ms_a_series": round(statistics.median(each), 2),
            "own_ms_a_series": round(statistics.median(own), 2),
            "requests": statistics.median(cost.requests),
        }
        print(json.dumps(line), flush=True)  # noqa: T201


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with own_folder() as folder, own_server(folder) as server:
        worlds: dict[str, Callable[[], World]] = {
            "as asked": lambda: World(folder, server, "A", arguments.series, days=1),
            "a tenth of the series": lambda: World(folder, server, "B", max(2, arguments.series // 10), days=1),
            "a tenth, 100 times the candles": lambda: World(
                folder, server, "C", max(2, arguments.series // 10), days=100
            ),
        }
        for name, make in worlds.items():
            world = make()
            try:
                report(name, world, measure(world, arguments.rounds))
                if name == "as asked":
                    for command in (["--help"], ["status"], ["status", "--json"]):
                        times = [timed(command, world.environment)[0] for _ in range(arguments.rounds)]
                        print(json.dumps({"command": command, "seconds": round(statistics.median(times), 2)}))  # noqa: T201
            finally:
                world.exchange.stop()


if __name__ == "__main__":
    main()
