"""The ways in which compare.py stores a year of candles, each told how it is run and how what it stored is read."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from common import PROJECT, print_line, program_environment, psql, run_measured
from psycopg2.extensions import make_dsn
from pyarrow import feather

from core.columns import VALUE_COLUMNS, VALUE_NAMES
from core.ranges import Span
from core.series import parse_series
from core.times import to_datetime
from db.connection import Database
from db.embedded import EmbeddedServer
from demo.server import ReplayExchange

SERIES = parse_series("BTCUSDT")
# By REST alone the outage of 2023-03-24 is a hole that is explained only when it was asked for again half an hour
# later; until then this program ends with 3. The other tools say nothing of the hole.
MAY_END_WITH = (0, 3)
OTHER_TOOLS = Path(__file__).parent / "other_tools"
OHLCV = VALUE_NAMES[:5]
Values = Mapping[int, tuple[str, ...]]  # the values of a candle as text, by open time in epoch ms


@dataclass(frozen=True)
class World:
    """What a way of storing candles is given to work with. Every run has a folder and an exchange of its own."""

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


def timed(
    command: Sequence[object], environment: Mapping[str, str] | None = None, accepted: Sequence[int] = (0,)
) -> tuple[float, float, str]:
    """Run a command and return the seconds it took, its peak memory in MiB and what it printed."""
    began = time.monotonic()
    output, peak_mib = run_measured(list(map(str, command)), environment or dict(os.environ), accepted)
    return time.monotonic() - began, peak_mib, output


def run_psql(world: World) -> tuple[float, float]:
    """Copy the ready-made rows."""
    values = ", ".join(f"{one.sql_name} {one.kind.sql_type} not null" for one in VALUE_COLUMNS)
    psql(world.server, f"create table candles (time timestamptz primary key, {values});")
    command = [*shlex.split(world.server.psql_line()), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    return timed([*command, "-c", f"\\copy candles from '{world.rows_file}' csv"])[:2]


def run_this_program(source: str) -> Callable[[World], tuple[float, float]]:
    """Return how this program is run with `--source`."""

    def run(world: World) -> tuple[float, float]:
        start, end = world.dates
        command = [sys.executable, PROJECT / "ohlcv_data_fetcher.py", "--symbols", SERIES]
        command += ["--start", start, "--end", end, "--source", source, "--json"]
        environment = program_environment(world.folder, world.server, world.exchange)
        seconds, peak_mib, output = timed(command, environment, MAY_END_WITH)
        report = json.loads(output)
        line = {name: report["series"][0][name] for name in ("rows_by_source", "not_at_exchange", "unexplained")}
        print_line({"this program": source, "exit_code": report["exit_code"], **line})
        return seconds, peak_mib

    return run


def run_loop(script: str) -> Callable[[World], tuple[float, float]]:
    """Return how a loop of `other_tools` is run."""

    def run(world: World) -> tuple[float, float]:
        span = world.span
        command = [world.tools_python, OTHER_TOOLS / script, world.dsn, world.exchange.url, span.start_ms, span.end_ms]
        return timed(command)[:2]

    return run


def run_freqtrade(by_archives: bool) -> Callable[[World], tuple[float, float]]:
    """Return how freqtrade is run."""

    def run(world: World) -> tuple[float, float]:
        (world.folder / "user_data").mkdir(parents=True)
        config = world.folder / "config.json"
        config.write_text(json.dumps(freqtrade_config(world.exchange.url, by_archives)))
        start, end = (date.replace("-", "") for date in world.dates)
        started = (
            [OTHER_TOOLS / "freqtrade_archives.py", world.exchange.archive_url] if by_archives else ["-m", "freqtrade"]
        )
        command = [world.tools_python, *started, "download-data", "--config", config]
        command += ["--userdir", world.folder / "user_data", "--datadir", world.folder / "data"]
        return timed([*command, "--timeframes", "1m", "--timerange", f"{start}-{end}"])[:2]

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
            with database.transaction("compare") as tx:
                tx.cursor.execute(statement, (span.start_ms, span.end_ms))
                return {row[0]: row[1:] for row in tx.cursor.fetchall()}
        finally:
            database.close()

    return stored


def stored_in_feather(world: World, span: Span) -> Values:
    """Read freqtrade's file."""
    files = list((world.folder / "data").rglob("*.feather"))
    if not files:
        raise SystemExit("freqtrade has stored nothing")
    table = feather.read_table(files[0])
    times = table["date"].cast(pa.timestamp("ms")).cast(pa.int64())
    wanted = pc.and_(pc.greater_equal(times, span.start_ms), pc.less(times, span.end_ms))
    columns = [table[name].filter(wanted).to_pylist() for name in OHLCV]
    rows = zip(*columns, strict=True)
    return {at: tuple(map(repr, row)) for at, row in zip(times.filter(wanted).to_pylist(), rows, strict=True)}


PSQL = Way("psql \\copy, ready-made", VALUE_NAMES, run_psql, stored_in_table("candles", VALUE_NAMES))
OWN_TABLE = stored_in_table(SERIES.table_name, VALUE_NAMES)
OURS = Way("this program, archives", VALUE_NAMES, run_this_program("auto"), OWN_TABLE)
WAYS = [
    PSQL,
    OURS,
    Way("this program, REST", VALUE_NAMES, run_this_program("rest"), OWN_TABLE),
    Way("ccxt + execute_values", OHLCV, run_loop("ccxt_loop.py"), stored_in_table("candles", OHLCV)),
    Way(
        "python-binance + execute_values",
        VALUE_NAMES,
        run_loop("python_binance_loop.py"),
        stored_in_table("candles", VALUE_NAMES),
    ),
    Way("freqtrade, archives", OHLCV, run_freqtrade(by_archives=True), stored_in_feather),
    Way("freqtrade, REST", OHLCV, run_freqtrade(by_archives=False), stored_in_feather),
]
