"""The same year of 1m candles stored by this program and by other tools: seconds against `psql \\copy`, and every digit.

    python3 -m venv .venv-benchmarks && .venv-benchmarks/bin/pip install -r benchmarks/requirements.txt
    python benchmarks/compare.py [--recordings DIR] [--months 12] [--latency-ms 50] [--rounds 1] [--tools-python PATH]

The other tools have a venv of their own, because their dependencies are not this project's. All of them, each in a
process of its own, get spot BTCUSDT of 2023 (recorded, or generated) from a replay exchange that takes `--latency-ms`
for every answer and has the published weight limits, and begin with nothing stored. It is just after midnight of the
last day: everything is closed, and no archive of the last day is out yet, nor the last month's.

| way | what it is | stored in |
|---|---|---|
| psql | `\\copy` of the same rows, made ready beforehand, nothing fetched: the yardstick | table with its primary key |
| this program, archives | `--source auto` | its tables and ledger |
| this program, REST | `--source rest` | its tables and ledger |
| ccxt | `other_tools/ccxt_loop.py`: `fetch_ohlcv` page by page, `execute_values` | table, five values a candle |
| python-binance | `other_tools/python_binance_loop.py`: `get_historical_klines`, `execute_values` | table, nine values |
| freqtrade, archives | `download-data`, which takes the archive of every day | feather file, five values |
| freqtrade, REST | `download-data` with its own setting `only_from_ccxt` | feather file, five values |

freqtrade stores in files, not in a database: whole tool against whole tool. Its REST addresses are set in its
configuration (`ccxt_config`); for the host of its archives it has no setting, so `other_tools/freqtrade_archives.py`
changes that in the running process. Every stored value is compared with the truth as a decimal number (a float by the
shortest text that gives it again). Prints JSON lines, then a table in Markdown. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from common import (
    PROJECT,
    own_folder,
    own_server,
    print_ratio,
    program_environment,
    psql,
    run_measured,
    run_program,
    write_archive,
)
from psycopg2.extensions import make_dsn

from core.archive_names import Period, day_of, month_of
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, add_months, parse_time, to_datetime
from db.connection import Database
from db.embedded import EmbeddedServer
from db.schema import VALUE_COLUMNS
from demo.archive_calendar import archive_key
from demo.candle_store import CandleStore, RecordedFile
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.recordings import load_recordings
from demo.server import ReplayExchange

SERIES = parse_series("BTCUSDT")
START_MS = parse_time("2023-01-01")
JUST_AFTER_MS = 30_000
OTHER_TOOLS = Path(__file__).parent / "other_tools"
ALL_VALUES = tuple(name for name, _ in VALUE_COLUMNS)
OHLCV = ALL_VALUES[:5]
Values = Mapping[int, tuple[str, ...]]  # the values of a candle as text, by open time in epoch ms


@dataclass(frozen=True)
class World:
    """What a way of storing candles is given to work with. Every run has a folder and an exchange of its own."""

    launcher: Executor
    folder: Path
    server: EmbeddedServer
    exchange: ReplayExchange
    span: Span
    rows_file: Path  # the rows ready-made for psql
    tools_python: Path

    @property
    def dsn(self) -> str:
        """The database's address for psycopg2."""
        return make_dsn(**self.server.keywords())

    @property
    def dates(self) -> tuple[str, str]:
        """The span's bounds as dates."""
        return f"{to_datetime(self.span.start_ms):%Y-%m-%d}", f"{to_datetime(self.span.end_ms):%Y-%m-%d}"


@dataclass(frozen=True)
class Way:
    """One way to store candles. `run` returns seconds and peak MiB, `stored` what is there of a span afterwards."""

    name: str
    columns: tuple[str, ...]
    run: Callable[[World], tuple[float, float]]
    stored: Callable[[World, Span], Values]


@dataclass(frozen=True)
class Result:
    """One run. The rows that differ, are missing or are not the exchange's are counted against the truth."""

    way: str
    values_a_row: int
    seconds: float
    peak_mib: float
    requests: int
    refused: int  # answered 429, or 418 after that
    rows: int
    differ: int
    missing: int
    not_of_the_exchange: int


def timed(launcher: Executor, command: Sequence[object]) -> tuple[float, float]:
    """Run a command and return the seconds it took and its peak memory in MiB."""
    began = time.monotonic()
    _, peak_mib = launcher.submit(run_measured, list(map(str, command)), ENVIRONMENT).result()
    return time.monotonic() - began, peak_mib


def run_psql(world: World) -> tuple[float, float]:
    """Copy the ready-made rows."""
    values = ", ".join(f"{name} {kind} not null" for name, kind in VALUE_COLUMNS)
    psql(world.server, f"create table candles (time timestamptz primary key, {values});")
    command = [*shlex.split(world.server.psql_line()), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    return timed(world.launcher, [*command, "-c", f"\\copy candles from '{world.rows_file}' csv"])


def run_this_program(source: str) -> Callable[[World], tuple[float, float]]:
    """Return how this program is run with `--source`."""

    def run(world: World) -> tuple[float, float]:
        environment = program_environment(world.folder, world.server, world.exchange)
        start, end = world.dates
        arguments = ("--symbols", str(SERIES), "--start", start, "--end", end, "--source", source)
        report, seconds, peak_mib = world.launcher.submit(run_program, environment, *arguments).result()
        print_line({"way": f"this program --source {source}", "by_source": report["series"][0]["rows_by_source"]})
        return seconds, peak_mib

    return run


def run_loop(script: str) -> Callable[[World], tuple[float, float]]:
    """Return how a loop of `other_tools` is run."""

    def run(world: World) -> tuple[float, float]:
        span = world.span
        command = [world.tools_python, OTHER_TOOLS / script, world.dsn, world.exchange.url, span.start_ms, span.end_ms]
        return timed(world.launcher, command)

    return run


def run_freqtrade(by_archives: bool) -> Callable[[World], tuple[float, float]]:
    """Return how freqtrade is run."""

    def run(world: World) -> tuple[float, float]:
        (world.folder / "user_data").mkdir(parents=True)
        config = world.folder / "config.json"
        config.write_text(json.dumps(freqtrade_config(world.exchange.url, by_archives)))
        start, end = (date.replace("-", "") for date in world.dates)
        started = [OTHER_TOOLS / "freqtrade_archives.py", world.exchange.archive_url] if by_archives else ["-m", "freqtrade"]
        command = [world.tools_python, *started, "download-data", "--config", config]
        command += ["--userdir", world.folder / "user_data", "--datadir", world.folder / "data"]
        return timed(world.launcher, [*command, "--timeframes", "1m", "--timerange", f"{start}-{end}"])

    return run


def freqtrade_config(url: str, by_archives: bool) -> dict[str, object]:
    """Return the least configuration that downloads from the exchange at `url`."""
    addresses = {"public": "/api/v3", "fapiPublic": "/fapi/v1", "dapiPublic": "/dapi/v1"}
    exchange = {
        "name": "binance",
        "pair_whitelist": ["BTC/USDT"],
        "only_from_ccxt": not by_archives,
        "ccxt_config": {"urls": {"api": {name: url + path for name, path in addresses.items()}}},
    }
    return {"stake_currency": "USDT", "dry_run": True, "exchange": exchange}


def stored_in_table(table: str, columns: tuple[str, ...]) -> Callable[[World, Span], Values]:
    """Return how a table is read, every digit as stored."""
    texts = ", ".join(f"{name}::text" for name in columns)
    statement = (
        f"select (extract(epoch from time) * 1000)::bigint, {texts} from {table}"
        " where time >= to_timestamp(%s / 1000.0) and time < to_timestamp(%s / 1000.0)"
    )

    def stored(world: World, span: Span) -> Values:
        database = Database.connect(None, world.server.keywords(), "benchmark")
        try:
            with database.transaction("compare") as cursor:
                cursor.execute(statement, (span.start_ms, span.end_ms))
                return {row[0]: row[1:] for row in cursor.fetchall()}
        finally:
            database.close()

    return stored


def stored_in_feather(world: World, span: Span) -> Values:
    """Read freqtrade's file."""
    import pyarrow as pa  # here and not above: see launching()
    import pyarrow.compute as pc
    from pyarrow import feather

    table = feather.read_table(next((world.folder / "data").rglob("*.feather")))
    times = table["date"].cast(pa.timestamp("ms")).cast(pa.int64())
    wanted = pc.and_(pc.greater_equal(times, span.start_ms), pc.less(times, span.end_ms))
    columns = [table[name].filter(wanted).to_pylist() for name in OHLCV]
    rows = zip(*columns, strict=True)
    return {at: tuple(map(repr, row)) for at, row in zip(times.filter(wanted).to_pylist(), rows, strict=True)}


PSQL = Way("psql \\copy, ready-made", ALL_VALUES, run_psql, stored_in_table("candles", ALL_VALUES))
OWN_TABLE = stored_in_table(SERIES.table_name, ALL_VALUES)
WAYS = [
    PSQL,
    Way("this program, archives", ALL_VALUES, run_this_program("auto"), OWN_TABLE),
    Way("this program, REST", ALL_VALUES, run_this_program("rest"), OWN_TABLE),
    Way("ccxt + execute_values", OHLCV, run_loop("ccxt_loop.py"), stored_in_table("candles", OHLCV)),
    Way(
        "python-binance + execute_values",
        ALL_VALUES,
        run_loop("python_binance_loop.py"),
        stored_in_table("candles", ALL_VALUES),
    ),
    Way("freqtrade, archives", OHLCV, run_freqtrade(by_archives=True), stored_in_feather),
    Way("freqtrade, REST", OHLCV, run_freqtrade(by_archives=False), stored_in_feather),
]
