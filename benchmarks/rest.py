"""A year of 1m by REST alone, inside the published request weights: seconds against what the weight share imposes.

    python benchmarks/rest.py [--rounds 3] [--latency-ms 100]

Spot BTCUSDT and USD-M BTCUSDT, each with the program as a process of its own, an empty database and an exchange of its
own, which takes --latency-ms for every answer and counts weight as published. Its clock runs as fast as the real one
and stands one second behind the turn of a minute when the program is started: weight is counted by the minute, and a
program that begins just before a turn would have two minutes' weight at once. A round takes some 75 seconds.

Prints a JSON line a run. What the run could not be faster than is said in four ways:

| time | what it is |
|---|---|
| weight_s | the weight used, at the rate that BINANCE_WEIGHT_SHARE of the limit a minute allows |
| minutes_s | until the clock minute begins in which the last of that weight may be used; 0: it fits into the first |
| latency_s | the latency of all requests, with FETCH_WORKERS of them under way at once |
| database_s | `psql \\copy` of the same rows into an equal, empty table |

The goal is set on the larger of weight_s and database_s; `binding` is the largest of the last three.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import own_folder, own_server, print_line, print_ratio, program_environment, psql, run_program

from config.settings import SETTINGS
from core.binance.rules import page_rows
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_MINUTE, parse_time, to_datetime
from db.embedded import EmbeddedServer
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange, RequestRecord
from demo.weights import WeightLimits

SERIES = [parse_series(name) for name in ("BTCUSDT", "um:BTCUSDT")]
YEAR = Span(parse_time("2023-01-01"), parse_time("2024-01-01"))
NOW_MS = YEAR.end_ms + MS_PER_MINUTE + 1_000
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
WEIGHT_SHARE = float(DEFAULTS["BINANCE_WEIGHT_SHARE"])
WORKERS = int(DEFAULTS["FETCH_WORKERS"])
REFUSED = (418, 429)


@dataclass(frozen=True)
class Imposed:
    """Seconds that a run could not be faster than."""

    weight_s: float
    minutes_s: float
    latency_s: float
    database_s: float

    @property
    def by_goal_s(self) -> float:
        """What the goal is set on."""
        return max(self.weight_s, self.database_s)

    @property
    def binding_s(self) -> float:
        """The least that this very run could take, whatever the program does."""
        return max(self.minutes_s, self.latency_s, self.database_s)


@dataclass(frozen=True)
class Run:
    """What one run took and asked for."""

    series: str
    seconds: float
    peak_mib: float
    kline_requests: int
    ideal_pages: int
    requests: dict[str, int]  # by route, klines by their limit
    weight: int  # as the exchange counted
    weight_by_minute: dict[int, int]  # by the exchange's clock, the first is 0
    refused: int
    minute_left_s: float  # of the clock minute in which the program was started


def make_store(series: Series) -> CandleStore:
    """Return a year of candles of one series."""
    store = CandleStore()
    store.add(series, generate_series(series, YEAR, 1))
    return store


def measure(
    series: Series, store: CandleStore, latency_s: float, folder: Path, server: EmbeddedServer
) -> tuple[Run, Imposed]:
    """Run the program on an empty database, then psql. Raises SystemExit unless every candle was stored."""
    server.recreate_database()
    psql(server, "checkpoint;")
    rows = len(store.candles(series))
    start, end = (f"{to_datetime(ms):%Y-%m-%d}" for ms in (YEAR.start_ms, YEAR.end_ms))
    # An exchange of its own: the weight of the run before must not be held against this one.
    with ReplayExchange(store, ReplayClock(NOW_MS, speed=1), archives=False, latency_s=latency_s) as exchange:
        environment = program_environment(folder, server, exchange)
        arguments = ["--symbols", str(series), "--start", start, "--end", end, "--source", "rest"]
        started_ms = exchange.clock.now_ms()
        report, seconds, peak_mib = run_program(environment, *arguments)
        requests = exchange.requests
    if (stored := report["series"][0]["inserted"]) != rows:
        raise SystemExit(f"{series}: {stored} candles stored where {rows} are to be had")
    weight = sum(one.weight for one in requests)
    left_s = (MS_PER_MINUTE - started_ms % MS_PER_MINUTE) / 1000
    run = Run(
        series=f"{series.market}:{series.symbol}",
        seconds=round(seconds, 2),
        peak_mib=round(peak_mib, 1),
        kline_requests=sum("klines" in one.path for one in requests),
        ideal_pages=math.ceil(rows / page_rows(series.market, None)),
        requests=dict(Counter(map(kind_of, requests))),
        weight=weight,
        weight_by_minute=weight_by_minute(requests, started_ms),
        refused=sum(one.status in REFUSED for one in requests),
        minute_left_s=round(left_s, 1),
    )
    allowed = WEIGHT_SHARE * WeightLimits().of(series.market)
    imposed = Imposed(
        weight_s=round(weight / allowed * 60, 2),
        minutes_s=round(seconds_by_minutes(weight, allowed, left_s), 2),
        latency_s=round(len(requests) * latency_s / WORKERS, 2),
        database_s=round(copy_by_psql(series, folder, server), 2),
    )
    return run, imposed


def kind_of(request: RequestRecord) -> str:
    """Return what was asked, in short."""
    route = request.path.rpartition("/")[2]
    return f"{route} of {request.params['limit']}" if "limit" in request.params else route


def weight_by_minute(requests: Sequence[RequestRecord], started_ms: int) -> dict[int, int]:
    """Return the weight used in each clock minute, counted from the one of the start."""
    used: Counter[int] = Counter()
    for one in requests:
        used[one.at_ms // MS_PER_MINUTE - started_ms // MS_PER_MINUTE] += one.weight
    return dict(sorted(used.items()))


def seconds_by_minutes(weight: int, allowed: float, left_s: float) -> float:
    """Return after how many seconds the clock minute begins in which the last of `weight` may be used."""
    turns = math.ceil(weight / allowed) - 1
    return left_s + 60 * (turns - 1) if turns else 0.0


def copy_by_psql(series: Series, folder: Path, server: EmbeddedServer) -> float:
    """Return the seconds that psql takes for the rows just stored, made ready beforehand."""
    table, file = series.table_name, folder / "rows.csv"
    psql(server, f"\\copy (select * from {table} order by time) to '{file}' csv\n")
    psql(server, f"create table copied (like {table} including all); checkpoint;")
    seconds = psql(server, f"\\copy copied from '{file}' csv\n")
    file.unlink()
    return seconds


def report_market(runs: Sequence[Run], imposed: Sequence[Imposed]) -> None:
    """Print the ratios of one market's rounds."""
    name, seconds = runs[0].series, [run.seconds for run in runs]
    print_line({"series": name, "median_seconds": statistics.median(seconds)})
    refused = sum(run.refused for run in runs)
    print_line({"series": name, "refused": refused, "goal": 0})
    goal = "at most 1.15"
    print_ratio(f"{name}: seconds to weight or database", seconds, [one.by_goal_s for one in imposed], goal=goal)
    print_ratio(f"{name}: seconds to what binds", seconds, [one.binding_s for one in imposed])
    pages = [run.kline_requests for run in runs]
    print_ratio(f"{name}: kline requests to ideal pages", pages, [run.ideal_pages for run in runs])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=100)
    arguments = parser.parse_args()
    stores = {series: make_store(series) for series in SERIES}
    runs: dict[Series, list[Run]] = {series: [] for series in SERIES}
    imposed: dict[Series, list[Imposed]] = {series: [] for series in SERIES}
    with own_folder() as folder, own_server(folder) as server:
        for number in range(arguments.rounds):
            for series, store in stores.items():
                own = folder / f"{number}-{series.table_name}"
                run, least = measure(series, store, arguments.latency_ms / 1000, own, server)
                print_line({"round": number + 1, **asdict(run), **asdict(least), "binding": least.binding_s})
                runs[series].append(run)
                imposed[series].append(least)
    for series in SERIES:
        report_market(runs[series], imposed[series])


if __name__ == "__main__":
    main()
