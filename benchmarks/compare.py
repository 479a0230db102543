"""A year of 1m candles stored by this program and by other tools: seconds against `psql \\copy`, and every digit.

    python3 -m venv .venv-benchmarks && .venv-benchmarks/bin/pip install -r benchmarks/requirements.txt
    python benchmarks/compare.py [--recordings DIR] [--months 12] [--latency-ms 50] [--rounds 1] [--tools-python PATH]

The other tools have a venv of their own, because their dependencies are not this project's. All of them, each in a
process of its own, get spot BTCUSDT of 2023 (recorded, or generated) from a replay exchange that takes `--latency-ms`
for every answer and has the published weight limits, and begin with nothing stored. It is half a minute
after the end of the last day: everything is closed; the archives of that day and of its month are not out yet.

| way | what it is | stored in |
|---|---|---|
| psql | `\\copy` of the same rows, made ready beforehand, nothing fetched: the yardstick | table with primary key |
| this program, archives | `--source auto` | its tables and ledger |
| this program, REST | `--source rest` | its tables and ledger |
| ccxt | `other_tools/ccxt_loop.py`: `fetch_ohlcv` page by page, `execute_values` | table, 5 values a candle |
| python-binance | `other_tools/python_binance_loop.py`: `get_historical_klines`, `execute_values` | table, 9 values |
| freqtrade, archives | `download-data`, which takes the archive of every day | feather file, 5 values |
| freqtrade, REST | `download-data` with its own setting `only_from_ccxt` | feather file, 5 values |

freqtrade stores in files, not in a database: whole tool against whole tool. Its REST addresses are set in its
configuration (`ccxt_config`); for the host of its archives it has no setting, so `other_tools/freqtrade_archives.py`
changes that in the running process. It leaves out the last candle of what it downloads, as unfinished. Every stored
value is compared with the truth as a decimal number (a float by the shortest text that gives it again); values that a
tool does not store are not counted against it. Prints JSON lines, then a table in Markdown: "extra" rows are stored
and not the exchange's.
"""

from __future__ import annotations

import argparse
import compileall
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
    write_archive,
)
from psycopg2.extensions import make_dsn

from core.archives import Period, day_of, month_of
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
# By REST alone the outage of 2023-03-24 is a hole that is explained only when it was asked for again half an hour
# later; until then this program ends with 3. The other tools say nothing of the hole.
MAY_END_WITH = (0, 3)
OTHER_TOOLS = Path(__file__).parent / "other_tools"
ALL_VALUES = tuple(name for name, _ in VALUE_COLUMNS)
OHLCV = ALL_VALUES[:5]
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


@dataclass(frozen=True)
class Result:
    """One run. The rows that differ, are missing or are not the exchange's are counted against the truth."""

    way: str
    values_a_row: int
    seconds: float
    peak_mib: float  # of the command's own process
    requests: int
    refused: int  # answered 429, or 418 after that
    rows: int
    differ: int
    missing: int
    not_of_the_exchange: int


def timed(
    command: Sequence[object], environment: Mapping[str, str] | None = None, accepted: Sequence[int] = (0,)
) -> tuple[float, float, str]:
    """Run a command and return the seconds it took, its peak memory in MiB and what it printed."""
    began = time.monotonic()
    output, peak_mib = run_measured(list(map(str, command)), environment or dict(os.environ), accepted)
    return time.monotonic() - began, peak_mib, output


def run_psql(world: World) -> tuple[float, float]:
    """Copy the ready-made rows."""
    values = ", ".join(f"{name} {kind} not null" for name, kind in VALUE_COLUMNS)
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
    import pyarrow as pa  # here and not above: see launching()
    import pyarrow.compute as pc
    from pyarrow import feather

    files = list((world.folder / "data").rglob("*.feather"))
    if not files:
        raise SystemExit("freqtrade has stored nothing")
    table = feather.read_table(files[0])
    times = table["date"].cast(pa.timestamp("ms")).cast(pa.int64())
    wanted = pc.and_(pc.greater_equal(times, span.start_ms), pc.less(times, span.end_ms))
    columns = [table[name].filter(wanted).to_pylist() for name in OHLCV]
    rows = zip(*columns, strict=True)
    return {at: tuple(map(repr, row)) for at, row in zip(times.filter(wanted).to_pylist(), rows, strict=True)}


PSQL = Way("psql \\copy, ready-made", ALL_VALUES, run_psql, stored_in_table("candles", ALL_VALUES))
OWN_TABLE = stored_in_table(SERIES.table_name, ALL_VALUES)
OURS = Way("this program, archives", ALL_VALUES, run_this_program("auto"), OWN_TABLE)
WAYS = [
    PSQL,
    OURS,
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


def compare(world: World, way: Way, store: CandleStore) -> dict[str, int]:
    """Hold what was stored against the truth, month by month, and return the counts of `Result`."""
    from candles import truth_rows  # here and not above: see launching()

    everything = Span(0, add_months(world.span.end_ms, 12))
    counts = {"rows": len(way.stored(world, everything)), "differ": 0, "missing": 0}
    held = 0
    for month in months_of(world.span):
        truth = {row[0]: row[1:] for row in truth_rows(store.rows(SERIES, month.start_ms, month.end_ms))}
        stored = way.stored(world, month)
        common = truth.keys() & stored.keys()
        held += len(common)
        counts["missing"] += len(truth) - len(common)
        counts["differ"] += sum(not same(stored[at], truth[at]) for at in common)
    return {**counts, "not_of_the_exchange": counts["rows"] - held}


def same(stored: tuple[str, ...], truth: tuple[str, ...]) -> bool:
    """Whether all stored values are the truth's, as decimal numbers. Both begin with open, high, low, close, volume."""
    pairs = zip(stored, truth, strict=False)
    return all(one == other or Decimal(one) == Decimal(other) for one, other in pairs)


def measure(world: World, way: Way, store: CandleStore) -> Result:
    """Run one way on an empty database and print the result."""
    world.server.recreate_database()
    psql(world.server, "checkpoint;")
    seconds, peak_mib = way.run(world)
    requests = world.exchange.requests
    result = Result(
        way=way.name,
        values_a_row=len(way.columns),
        seconds=round(seconds, 3),
        peak_mib=round(peak_mib, 1),
        requests=len(requests),
        refused=sum(one.status in (418, 429) for one in requests),
        **compare(world, way, store),
    )
    print_line(asdict(result))
    return result


def months_of(span: Span) -> list[Span]:
    """Return the months of a span."""
    months = []
    start_ms = span.start_ms
    while start_ms < span.end_ms:
        months.append(month_of(start_ms).span)
        start_ms = months[-1].end_ms
    return months


def make_store(recordings: Path | None, span: Span, folder: Path) -> CandleStore:
    """Return the candles of `span`, and their archives as files: none is made while a tool waits for it."""
    if recordings:
        store = load_recordings(recordings, only={SERIES})
        store.remove(SERIES, Span(span.end_ms, add_months(span.end_ms, 24)))
    else:
        store = CandleStore()
        store.add(SERIES, generate_series(SERIES, span, 1))
    days = (day_of(ms) for ms in range(span.start_ms, span.end_ms, MS_PER_DAY))
    for period in (*days, *(month_of(month.start_ms) for month in months_of(span))):
        keep_archive(store, period, folder)
    return store


def keep_archive(store: CandleStore, period: Period, folder: Path) -> None:
    """Make the archive of a period, unless a recorded one is served."""
    key = archive_key(SERIES, period)
    if store.file(key) is None:
        rows = store.rows(SERIES, period.span.start_ms, period.span.end_ms)
        store.keep_file(key, RecordedFile(write_archive(folder / Path(key).name, SERIES, period, rows), None))


def write_rows_file(path: Path, store: CandleStore) -> Path:
    """Write the rows as psql reads them."""
    from candles import truth_rows  # here and not above: see launching()

    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for at, *values in truth_rows(store.rows(SERIES)):
            writer.writerow([f"{to_datetime(at):%Y-%m-%d %H:%M:%S}+00", *values])
    return path


def check_tools(python: Path) -> None:
    """Print the other tools' versions; their modules are read from disk once, before anything is timed."""
    if not python.exists():
        raise SystemExit(f"{python} is not there. To make it:\n    {(__doc__ or '').splitlines()[2].strip()}")
    names = ("ccxt", "python-binance", "freqtrade", "psycopg2-binary")
    code = "import json, ccxt, binance, freqtrade.main, psycopg2; from importlib.metadata import version;"
    code += f"print(json.dumps({{name: version(name) for name in {names}}}))"
    versions = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    print_line({"versions": json.loads(versions.stdout)})


def print_line(line: Mapping[str, object]) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)  # noqa: T201


def print_table(results: Mapping[str, list[Result]]) -> None:
    """Print the medians of the rounds in Markdown, and the counts of the last round."""
    heads = ["way", "s", "x psql", "x this program", "rows/s", "peak MiB", "requests", "429"]
    heads += ["rows", "values", "differ", "missing", "extra"]
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))  # noqa: T201
    for name, runs in results.items():
        last = runs[-1]
        seconds = statistics.median(run.seconds for run in runs)
        peak = statistics.median(run.peak_mib for run in runs)
        cells: list[object] = [name, f"{seconds:.2f}"]
        cells += [f"{statistics.median(ratios(runs, results[other.name])):.2f}" for other in (PSQL, OURS)]
        cells += [round(last.rows / seconds), round(peak)]
        cells += [last.requests, last.refused, last.rows, last.values_a_row]
        cells += [last.differ, last.missing, last.not_of_the_exchange]
        print("| " + " | ".join(map(str, cells)) + " |")  # noqa: T201


def ratios(runs: Sequence[Result], yardstick: Sequence[Result]) -> list[float]:
    """Return each round's seconds as a multiple of the yardstick's in the same round."""
    return [run.seconds / other.seconds for run, other in zip(runs, yardstick, strict=True)]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=Path, help="folder with the daily zips of spot BTCUSDT 1m 2023")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tools-python", type=Path, default=PROJECT / ".venv-benchmarks" / "bin" / "python")
    arguments = parser.parse_args()
    check_tools(arguments.tools_python)
    for package in ("commands", "config", "core", "db", "fetcher", "logic"):  # as pip did for the other tools
        compileall.compile_dir(PROJECT / package, quiet=1)
    span = Span(START_MS, add_months(START_MS, arguments.months))
    results: dict[str, list[Result]] = {way.name: [] for way in WAYS}
    with own_folder() as folder, own_server(folder) as server:
        store = make_store(arguments.recordings, span, folder)
        rows_file = write_rows_file(folder / "rows.csv", store)
        for number in range(arguments.rounds):
            for way in WAYS:
                own = folder / f"{number}-{way.name.replace(' ', '-')}"
                # An exchange of its own: the weight one tool used must not be held against the next.
                clock = ReplayClock(span.end_ms + JUST_AFTER_MS)
                with ReplayExchange(store, clock, latency_s=arguments.latency_ms / 1000) as exchange:
                    world = World(own, server, exchange, span, rows_file, arguments.tools_python)
                    results[way.name].append(measure(world, way, store))
    seconds = {name: [run.seconds for run in runs] for name, runs in results.items()}
    for name in list(seconds)[1:]:
        print_ratio(f"{name}: seconds to psql", seconds[name], seconds[PSQL.name])
    print_table(results)


if __name__ == "__main__":
    main()
