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
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from common import PROJECT, own_folder, own_server, print_line, print_ratio, psql, write_archive

# isort: split
# The import above lets those below be found.
from candles import truth_rows
from ways import OURS, PSQL, SERIES, WAYS, Values, Way, World

from core.ranges import Span
from core.times import MS_PER_DAY, add_months, parse_time, to_datetime
from demo.archive_names import Period, archive_key, day_of, month_of
from demo.candle_store import CandleStore, RecordedFile
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.recordings import load_recordings
from demo.server import ReplayExchange

START_MS = parse_time("2023-01-01")
JUST_AFTER_MS = 30_000


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


def compare(world: World, way: Way, store: CandleStore) -> dict[str, int]:
    """Hold what was stored against the truth, month by month, and return the counts of `Result`."""
    everything = Span(0, add_months(world.span.end_ms, 12))
    counts = {"rows": len(way.stored(world, everything)), "differ": 0, "missing": 0}
    held = 0
    for month in months_of(world.span):
        truth = truth_of(store, month)
        stored = way.stored(world, month)
        common = truth.keys() & stored.keys()
        held += len(common)
        counts["missing"] += len(truth) - len(common)
        counts["differ"] += sum(not same(stored[at], truth[at]) for at in common)
    return {**counts, "not_of_the_exchange": counts["rows"] - held}


def truth_of(store: CandleStore, span: Span) -> Values:
    """Return the exchange's candles of `span`."""
    rows: list[Any] = truth_rows(store.rows(SERIES, span.start_ms, span.end_ms))
    return {at: tuple(values) for at, *values in rows}


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
        store.keep_file(key, RecordedFile(write_archive(folder / Path(key).name, rows), None))


def write_rows_file(path: Path, store: CandleStore, span: Span) -> Path:
    """Write the rows as psql reads them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for at, values in truth_of(store, span).items():
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
        rows_file = write_rows_file(folder / "rows.csv", store, span)
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
