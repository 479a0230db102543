"""A simulated day of live candles with cuts of every kind; at the end everything must be there, and true.

    .venv/bin/python tests/long/live.py --seed 1 --series 300 --hours 24 --cuts 50

The replay exchange's clock runs many times as fast as real time, and so do the service's own waits. Candles come over
real sockets; connections are torn, closed, stalled and refused, final frames dropped, doubled, delayed, swapped,
altered and damaged. At the end the tables are held against the exchange row by row, `check` has to find every series
complete, and memory of the last third of the day must not be more than a twentieth above that of the second. Prints a
JSON line an hour and a summary; ends with 1 on any violation.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from live_cuts import KINDS, drawn  # noqa: E402
from live_market import LiveMarket  # noqa: E402
from servers import database_server, fresh_database  # noqa: E402

from core.instrument import ExchangeName, Instrument, Market  # noqa: E402
from core.intervals import INTERVALS  # noqa: E402
from core.ranges import Span  # noqa: E402
from core.series import Series  # noqa: E402
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time  # noqa: E402
from db.connection import Database  # noqa: E402
from db.migrate import migrate  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from demo.weights import WeightLimits  # noqa: E402
from logic.live.service import LiveService  # noqa: E402

BEGINS_MS = parse_time("2024-11-11T00:00")
HISTORY_MS = 2 * MS_PER_HOUR
# Mostly spot: futures send eight times as many frames, which the simulation would spend its time on.
MARKETS = (*[Market.SPOT] * 14, Market.UM, Market.CM)


@dataclass
class Day:
    """What a run found."""

    seed: int
    series: int
    cuts: int
    candles: int = 0
    untrue: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)

    @property
    def violations(self) -> int:
        return len(self.untrue) + len(self.incomplete) + len(self.failures)


def made_series(count: int) -> list[Series]:
    """Return `count` series of 1m on all markets."""
    instruments = [
        Instrument(ExchangeName.BINANCE, MARKETS[n % len(MARKETS)], f"S{n:04}USDT" if n else "BTCUSDT")
        for n in range(count)
    ]
    return [Series(one, INTERVALS["1m"]) for one in instruments]


def resident_mib() -> float:
    """Return the memory of this process, exchange and service together."""
    text = Path("/proc/self/statm")
    if text.exists():
        return int(text.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def told(live: LiveMarket, service: LiveService, day: Day) -> None:
    """Print one line about how things stand."""
    done = service.counters
    day.resident_mib.append(round(resident_mib(), 1))
    line = {
        "hour": round((live.now_ms() - BEGINS_MS) / MS_PER_HOUR, 2),
        "live": service.sink.live,
        "stored": done.stored,
        "there": done.already_there,
        "healed": done.healed,
        "audited": done.audited,
        "corrected": done.corrected,
        "conflicts": done.conflicts,
        "waiting": len(service.waiting),
        "reconnects": dict(done.reconnects),
        "commit_p99_ms": done.to_commit.percentile(0.99),
        "resident_mib": day.resident_mib[-1],
    }
    print(json.dumps(line), flush=True)


def lived(live: LiveMarket, hours: int, cuts: int, day: Day) -> None:
    """Let the service run for so many hours of the replay clock, with its cuts."""
    service = live.started()
    lots = random.Random(live.seed)
    begins_ms = live.now_ms()
    ends_ms = begins_ms + hours * MS_PER_HOUR
    moments = list(drawn(Span(begins_ms, ends_ms - 10 * MS_PER_MINUTE), cuts, live.seed))
    moments += [(begins_ms + hour * MS_PER_HOUR, "") for hour in range(1, hours)]
    for at_ms, kind in sorted(moments):
        live.wait_until(at_ms)
        if kind:
            KINDS[kind](live.replay.streams, lots)
        else:
            told(live, service, day)
    live.wait_until(ends_ms)
    if not service.stop(60.0):
        day.failures.append(f"{len(service.waiting)} candles were not stored at the end")
    service.finish()
    told(live, service, day)
    if service.has_failed:
        day.failures.append("unexpected fault")
    day.candles = service.counters.stored
    # `finish` leaves the last minute provisional, and takes as long itself.
    day.untrue = live.untrue(ends_ms - 2 * MS_PER_MINUTE)
    for check in live.checks(ends_ms - 2 * MS_PER_MINUTE):
        if not check.is_complete:
            day.incomplete[str(check.row.series)] = f"{check.missing} missing, altered {check.altered}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--speed", type=float, default=100.0)
    options = parser.parse_args()
    series = made_series(options.series)
    day = Day(options.seed, len(series), options.cuts)
    store = CandleStore()
    span = Span(BEGINS_MS - HISTORY_MS, BEGINS_MS + (options.hours + 2) * MS_PER_HOUR)
    for one in series:
        store.add(one, generate_series(one, span, options.seed))
    began = time.monotonic()
    clock = ReplayClock(BEGINS_MS, options.speed)
    limits = WeightLimits(spot=1_000_000, futures=1_000_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        database_server("ohlcv-live-") as server,
        fresh_database(server, "live") as url,
        ReplayExchange(store, clock, weight_limits=limits) as replay,
    ):
        database = Database.connect(url, {}, "live")
        migrate(database)
        database.close()
        live = LiveMarket(url, Path(folder), replay, series, span.start_ms, options.speed, options.seed)
        clock.set(BEGINS_MS)
        lived(live, options.hours, options.cuts, day)
    third = len(day.resident_mib) // 3
    if third:
        second, last = day.resident_mib[third : 2 * third], day.resident_mib[-third:]
        if statistics.median(last) > 1.05 * statistics.median(second):
            day.failures.append(f"memory grows: {day.resident_mib}")
    print(json.dumps({**asdict(day), "violations": day.violations, "seconds": round(time.monotonic() - began)}))
    return 1 if day.violations else 0


if __name__ == "__main__":
    sys.exit(main())
