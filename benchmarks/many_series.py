"""Thousands of series on a small server: locks, seconds and memory of each command.

    python benchmarks/many_series.py [--series 3000] [--connections 60] [--candles 5]

Series of 1d candles on the replay exchange, on a PostgreSQL with `max_connections` made small and all other settings
its defaults. Prints for each command its exit code, seconds, peak memory and the most locks that were held at once on
the whole server (pg_locks, looked at ten times a second); max_locks_per_transaction (64) times max_connections is what
the server promises room for.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from common import own_folder, print_line, program_environment, run_program

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from db.embedded import EmbeddedServer
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.weights import WeightLimits

NOW_MS = parse_time("2024-06-03T12:00") + 30_000


class Locks:
    """The most locks that were held at once, counted in a thread."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._connection = psycopg2.connect(**server.keywords())
        self._connection.autocommit = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def _watch(self) -> None:
        with self._connection.cursor() as cursor:
            while not self._stop.wait(0.1):
                cursor.execute("select count(*) from pg_locks where pid <> pg_backend_pid()")
                [(held,)] = cursor.fetchall()
                self.most = max(self.most, held)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()
        self._connection.close()


@contextmanager
def small_server(folder: Path, connections: int) -> Iterator[EmbeddedServer]:
    """Run an embedded PostgreSQL that allows `connections` connections, and stop it."""
    server = EmbeddedServer(folder / "pgdata")
    server.ensure_running(f"-c max_connections={connections}")
    try:
        yield server
    finally:
        server.stop()


def market(count: int, candles: int) -> CandleStore:
    """Return so many spot symbols of some days; the same candles for all, or making them would take longest."""
    store = CandleStore()
    series = [parse_series(f"A{number}USDT/1d") for number in range(count)]
    today = NOW_MS // MS_PER_DAY * MS_PER_DAY
    rows = list(generate_series(series[0], Span(today - candles * MS_PER_DAY, today + 5 * MS_PER_DAY), 1))
    for one in series:
        store.add(one, rows)
    return store


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=60)
    parser.add_argument("--candles", type=int, default=5)
    arguments = parser.parse_args()
    limits = WeightLimits(spot=10**6, futures=10**6)
    exchange = ReplayExchange(
        market(arguments.series, arguments.candles),
        ReplayClock(NOW_MS, speed=0.0),
        archives=False,
        weight_limits=limits,
    )
    exchange.start()
    try:
        with own_folder() as folder, small_server(folder, arguments.connections) as server:
            environment = program_environment(folder, server, exchange)
            (folder / "symbols.yml").write_text("symbols: ['A*USDT/1d']\n", encoding="utf-8")
            for name, command in {
                "backfill": [],
                "idle run": [],
                "check": ["check"],
                "status": ["status"],
                "verify 10 %": ["verify", "--percent", "10"],
            }.items():
                locks = Locks(server)
                locks.start()
                try:
                    _, seconds, peak_mib = run_program(environment, *command)
                finally:
                    locks.stop()
                print_line(
                    {
                        "command": name,
                        "series": arguments.series,
                        "seconds": round(seconds, 1),
                        "peak_mib": round(peak_mib),
                        "most_locks": locks.most,
                        "room": 64 * arguments.connections,
                    }
                )
    finally:
        exchange.stop()


if __name__ == "__main__":
    main()
