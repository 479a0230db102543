"""A clock that only moves when someone sleeps, and short ways to make candles and zips."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from generated import generated_rows

from core.binance.row import ROW_POSITIONS
from core.candles import CandleBatch
from core.columns import SCHEMA
from core.instrument import Market
from core.ranges import Span
from core.series import Series
from core.times import parse_time
from demo.clock import ReplayClock
from fetcher.ban_file import BanFile
from fetcher.binance.exchange import POOLS
from fetcher.binance.rest import BinanceRest
from fetcher.binance.rest_client import RestClient
from fetcher.exchange_clock import ExchangeClock
from fetcher.gate import Gate
from fetcher.http import Sleep
from fetcher.weight_budget import WeightBudget

Row = Sequence[Any]
_PATHS = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}
NOW_MS = parse_time("2024-06-01T12:00")
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"  # recordings, not part of the project


class FakeTime:
    """The machine's clock, the monotonic clock and the sleep of one test. Thread-safe."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.clock = ReplayClock(now_ms, speed=0)
        self.waits: list[float] = []

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def monotonic_s(self) -> Any:
        """Exact, so that no millisecond is lost on the way through seconds."""
        return Fraction(self.now_ms(), 1000)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.waits.append(seconds)
        self.clock.advance(math.ceil(seconds * 1000))


def rest_of(
    market: Market,
    url: str,
    budget: WeightBudget,
    bans: BanFile,
    time: FakeTime,
    *,
    clock: ExchangeClock | None = None,
    limit: int | None = None,
    sleep: Sleep | None = None,
) -> BinanceRest:
    """Return one market's REST API at `url` on the fake clock."""
    clock = clock or ExchangeClock(time.now_ms, time.monotonic_s)
    gate = Gate(POOLS[market], budget, bans, sleep or time.sleep)
    client = RestClient(url + _PATHS[market], gate, clock, sleep or time.sleep, connections=4)
    return BinanceRest(market, client, clock, limit, time.monotonic_s)


def bans_in(path: Path) -> dict[str, int]:
    """Return until when (epoch ms) each address pool is banned, from the file."""
    return {pool: stop["until_ms"] for pool, stop in json.loads(path.read_text()).items()}


def budget_of(rest: BinanceRest) -> WeightBudget:
    return rest._client.gate._budget


def generated(series: Series, start: str, count: int) -> tuple[Span, list[Row]]:
    """Return the span of `count` candles from `start` on, and the candles."""
    start_ms = series.interval.ceil(parse_time(start))
    span = Span(start_ms, series.interval.add(start_ms, count))
    rows = generated_rows(series, span)
    assert len(rows) == count
    return span, list(rows.rows(0, count))


def columns_of(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Return the ten stored columns of 12-item exchange rows."""
    return [tuple(row[ROW_POSITIONS[name]] for name in SCHEMA.names) for row in rows]


def rows_of(batch: CandleBatch) -> list[tuple[Any, ...]]:
    """Return a batch in the same form as `columns_of`."""
    return [tuple(row.values()) for row in batch.columns.to_pylist()]


def csv_of(rows: Sequence[Row], *, header: str = "", microseconds: bool = False) -> str:
    """Return rows as the public archives write them."""
    if microseconds:
        rows = [[row[0] * 1000, *row[1:6], row[6] * 1000 + 999, *row[7:]] for row in rows]
    lines = [",".join(map(str, row)) for row in rows]
    return "\n".join([header, *lines] if header else lines) + "\n"


def write_zip(path: Path, members: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
