"""Counts what a tool's handler gets, for the scripts that read live frames for benchmarks/stream.py.

Each frame carries the microsecond in which it was sent (stream_sender.py) in place of a quantity. Commands come on the
input: `begin` counts anew, `end` prints what was counted.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from array import array
from decimal import Decimal
from pathlib import Path

STAMP = 10**15
SERIES, TRADES = 300, 100


def names(kind: str) -> list[str]:
    """Return the names of the streams of candles (`kline_1m`) or trades (`aggTrade`)."""
    return [f"s{number:04}usdt@{kind}" for number in range(SERIES if kind == "kline_1m" else TRADES)]


class Meter:
    """What was handled since `begin`. `handled` and `closed` are called by the tool's handlers."""

    def __init__(self) -> None:
        self.delays_us = array("q")
        self.finals = 0
        self._began_cpu = time.process_time()
        threading.Thread(target=self._listen, daemon=True).start()

    def handled(self, quantity: str | Decimal) -> None:
        """Count a frame of a trade or of a candle that has not closed."""
        self.delays_us.append(time.monotonic_ns() // 1000 - int(quantity) + STAMP)

    def closed(self) -> None:
        """Count a closed candle."""
        self.finals += 1

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == "begin":
                self.delays_us, self.finals, self._began_cpu = array("q"), 0, time.process_time()
            else:
                self._tell()

    def _tell(self) -> None:
        cpu_s, known = time.process_time() - self._began_cpu, sorted(self.delays_us)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
        last = len(known) - 1
        delays = known and {name: round(known[min(int(last * one), last)] / 1000, 1) for name, one in shares.items()}
        found = {
            "handled": len(known) + self.finals,
            "delay_ms": delays,
            "cpu_us_a_frame": round(cpu_s / max(1, len(known) + self.finals) * 1e6, 1),
            "resident_mib": round(pages * resource.getpagesize() / 2**20, 1),
        }
        print(json.dumps(found), flush=True)  # noqa: T201
