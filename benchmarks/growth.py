"""How seconds and peak memory of the whole program grow with the years of a series and with the number of series.

    python benchmarks/growth.py [--rounds 3] [--plot growth.svg]

| curve | what is fetched | sizes |
|---|---|---|
| years | one series of 1m from its monthly archives | 1, 2, 4 and 8 years |
| series | series with two months of 1m each, from their monthly archives | 1, 10 and 50 series |
| REST | series with a month of 1h each, by REST without latency, request-weight limits lifted | 20 and 200 series |

Every run is the entrypoint as a process of its own and begins with an empty database; the sizes take turns. The candles
are generated and their archives written to disk before the first run (a minute and a half, 1.7 GiB of memory), so that
the replay exchange has files to send and nothing to make. Prints a JSON line a run: the seconds, the peak memory and
the processor seconds of the program, and those of this process, which are the exchange's. Then the medians, and the
ratios of sizes with their goals. --plot draws the medians as SVG or PNG and needs matplotlib
(`pip install matplotlib`).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import (
    own_folder,
    own_server,
    print_line,
    print_ratio,
    program_environment,
    psql,
    run_program,
    write_archive,
)

from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_HOUR, add_months, parse_time, to_datetime
from db.embedded import EmbeddedServer
from demo.archive_calendar import published_ms
from demo.archive_names import archive_key, month_of
from demo.candle_store import CandleStore, RecordedFile
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.weights import WeightLimits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

YEARS, SERIES, REST = "years", "series", "REST"
SIZES = {YEARS: (1, 2, 4, 8), SERIES: (1, 10, 50), REST: (20, 200)}
# The first year has 365 days, and all eight end before spot archives turn to microseconds.
YEARS_START_MS = parse_time("2017-01-01")
SERIES_START_MS = parse_time("2023-01-01")
MOST_MIB = 200
PLOT_FORMATS = (".svg", ".png")


@dataclass(frozen=True)
class Curve:
    """What grows: the exchange that serves its largest size, and what is asked of it."""

    name: str
    exchange: ReplayExchange
    series: Sequence[Series]
    months: int  # of each series, at the size 1
    source: str

    def series_at(self, size: int) -> Sequence[Series]:
        """Return the series that are fetched at a size."""
        return self.series if self.name == YEARS else self.series[:size]

    def span_at(self, size: int) -> Span:
        """Return what is fetched of each series at a size."""
        start_ms = YEARS_START_MS if self.name == YEARS else SERIES_START_MS
        return Span(start_ms, add_months(start_ms, self.months * (size if self.name == YEARS else 1)))


@dataclass(frozen=True)
class Run:
    """What one run took."""

    curve: str
    size: int
    rows: int
    seconds: float
    peak_mib: float
    program_cpu_s: float
    exchange_cpu_s: float  # with what the watching of the program's memory takes
    requests: int


Runs = Mapping[tuple[str, int], Sequence[Run]]


def make_curves(folder: Path, stack: ExitStack) -> list[Curve]:
    """Return the curves, each with a running exchange of its own, stopped by `stack`.

    An exchange serves the largest size and is asked for a part of it at the others, so that a request costs it
    the same at every size.
    """
    one = [parse_series("BTCUSDT")]
    many = [parse_series(f"A{number}USDT") for number in range(max(SIZES[SERIES]))]
    by_rest = [parse_series(f"B{number}USDT/1h") for number in range(max(SIZES[REST]))]
    years = Span(YEARS_START_MS, add_months(YEARS_START_MS, 12 * max(SIZES[YEARS])))
    two_months = Span(SERIES_START_MS, add_months(SERIES_START_MS, 2))
    month = month_of(SERIES_START_MS).span
    return [
        Curve(YEARS, stack.enter_context(make_exchange(one, years, folder)), one, 12, "auto"),
        Curve(SERIES, stack.enter_context(make_exchange(many, two_months, folder)), many, 2, "auto"),
        Curve(REST, stack.enter_context(make_exchange(by_rest, month, None)), by_rest, 1, "rest"),
    ]


def make_exchange(series: Sequence[Series], span: Span, folder: Path | None) -> ReplayExchange:
    """Return an exchange with the same candles for all series and, with a folder, their monthly archives in it."""
    store = CandleStore()
    # A list of eight years of rows would take gigabytes; one of months is needed again for every series.
    rows = generate_series(series[0], span, 1)
    for one, of_one in zip(series, [rows] if len(series) == 1 else [list(rows)] * len(series), strict=True):
        store.add(one, of_one)
        if folder is not None:
            keep_archives(store, one, span, folder)
    # Late enough for the last month's archive, and early enough for the series not to count as silent since.
    now_ms = published_ms(month_of(span.end_ms - 1)) + MS_PER_HOUR
    limits = WeightLimits(spot=10**9)
    return ReplayExchange(store, ReplayClock(now_ms, speed=0.0), archives=folder is not None, weight_limits=limits)


def keep_archives(store: CandleStore, series: Series, span: Span, folder: Path) -> None:
    """Write the monthly archives of a series and their CHECKSUM files, to be served as they are."""
    start_ms = span.start_ms
    while start_ms < span.end_ms:
        month = month_of(start_ms)
        key = archive_key(series, month)
        rows = store.rows(series, month.span.start_ms, month.span.end_ms)
        path = write_archive(folder / Path(key).name, rows)
        checksum = path.with_name(f"{path.name}.CHECKSUM")
        checksum.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
        store.keep_file(key, RecordedFile(path, checksum))
        start_ms = month.span.end_ms


def measure(curve: Curve, size: int, folder: Path, server: EmbeddedServer) -> Run:
    """Run the program on an empty database. Raises SystemExit unless it stores every candle."""
    server.recreate_database()
    psql(server, "checkpoint;")
    curve.exchange.clear_requests()
    series, span = curve.series_at(size), curve.span_at(size)
    start, end = (f"{to_datetime(ms):%Y-%m-%d}" for ms in (span.start_ms, span.end_ms))
    arguments = ["--symbols", *map(str, series), "--start", start, "--end", end, "--source", curve.source]
    environment = program_environment(folder, server, curve.exchange)
    program_before_s, own_before_s = program_cpu_s(), time.process_time()
    report, seconds, peak_mib = run_program(environment, *arguments)
    program_s, own_s = program_cpu_s() - program_before_s, time.process_time() - own_before_s
    rows = sum(one["inserted"] for one in report["series"])
    expected = sum(one.interval.count(span.start_ms, span.end_ms) for one in series)
    if rows != expected:
        raise SystemExit(f"{curve.name} {size}: {rows} candles stored where {expected} are to be had")
    cpu = (round(program_s, 2), round(own_s, 2))
    return Run(curve.name, size, rows, round(seconds, 3), round(peak_mib, 1), *cpu, len(curve.exchange.requests))


def program_cpu_s() -> float:
    """Return the processor seconds of all processes that this one has started and seen end."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_all(rounds: int) -> Runs:
    """Return the runs of every size, taken in turns; each is printed when it is done."""
    runs: dict[tuple[str, int], list[Run]] = {(curve, size): [] for curve, sizes in SIZES.items() for size in sizes}
    with own_folder() as folder, own_server(folder) as server, ExitStack() as stack:
        curves = make_curves(folder, stack)
        for number in range(rounds):
            for curve in curves:
                for size in SIZES[curve.name]:
                    run = measure(curve, size, folder / f"{number}-{curve.name}-{size}", server)
                    print_line({"round": number + 1, **asdict(run)})
                    runs[curve.name, size].append(run)
    return runs


def print_medians(runs: Runs) -> None:
    """Print the medians of every size, and what a further series costs by REST."""
    for (curve, size), of_size in runs.items():
        line = {"seconds": round(median_seconds(of_size), 2), "peak_mib": round(median_peak(of_size), 1)}
        print_line({"curve": curve, "size": size, "median_of": len(of_size), **line})
    few, many = SIZES[REST]
    more_s = median_seconds(runs[REST, many]) - median_seconds(runs[REST, few])
    print_line({"curve": REST, "ms_a_further_series": round(more_s / (many - few) * 1000, 2)})


def print_ratios(runs: Runs) -> None:
    """Print what is to be at most linear, or not to grow at all, with the goals."""
    for curve, small, large, goal in ((YEARS, 1, 8, "at most 8.4"), (REST, 20, 200, "at most 10.5")):
        upper, lower = ([run.seconds for run in runs[curve, size]] for size in (large, small))
        print_ratio(f"{curve}: seconds of {large} to {small}", upper, lower, goal=goal)
    # A series of two months ends before three are under way: one of a year is what fifty have to be held against.
    year = [run.peak_mib for run in runs[YEARS, 1]]
    for name, point in (
        ("years: peak memory of 8 to 1", (YEARS, 8)),
        ("peak memory of 50 series to one", (SERIES, 50)),
    ):
        print_ratio(name, [run.peak_mib for run in runs[point]], year, goal="at most 1.15")
    highest = max(run.peak_mib for of_size in runs.values() for run in of_size)
    print_line({"highest_peak_mib": highest, "goal": f"below {MOST_MIB}"})


def median_seconds(runs: Sequence[Run]) -> float:
    """Return the median of the runs' seconds."""
    return statistics.median(run.seconds for run in runs)


def median_peak(runs: Sequence[Run]) -> float:
    """Return the median of the runs' peak memory in MiB."""
    return statistics.median(run.peak_mib for run in runs)


def draw(runs: Runs, path: Path) -> None:
    """Draw the medians: time and memory, against years and against series."""
    import matplotlib  # here and not above: measuring does not need it

    matplotlib.use("Agg")
    # A new drawing of the same figures is the same file, and the text in it stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, ((years_s, series_s), (years_mib, series_mib)) = pyplot.subplots(2, 2, figsize=(10, 7), sharex="col")
    draw_time(years_s, runs, {YEARS: "one series of 1m, archives"})
    draw_time(series_s, runs, {SERIES: "two months of 1m each, archives", REST: "a month of 1h each, REST"})
    draw_memory(years_mib, runs, (YEARS,), "years of 1m")
    draw_memory(series_mib, runs, (SERIES, REST), "series")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_time(axes: Axes, runs: Runs, names: Mapping[str, str]) -> None:
    """Draw the seconds of some curves, each with the line on which they would lie were they in proportion to size."""
    for curve, name in names.items():
        sizes = SIZES[curve]
        seconds = [median_seconds(runs[curve, size]) for size in sizes]
        (line,) = axes.plot(sizes, seconds, "o-", label=name)
        proportional = [seconds[0] * size / sizes[0] for size in sizes]
        axes.plot(sizes, proportional, "--", color=line.get_color(), alpha=0.5, label="in proportion to the smallest")
    axes.set(ylabel="seconds", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()


def draw_memory(axes: Axes, runs: Runs, curves: Sequence[str], what: str) -> None:
    """Draw the peak memory of some curves and how high it may be; in the colours of their seconds."""
    for curve in curves:
        axes.plot(SIZES[curve], [median_peak(runs[curve, size]) for size in SIZES[curve]], "o-")
    axes.axhline(MOST_MIB, linestyle=":", color="grey", label="goal: below this")
    axes.set(xlabel=what, ylabel="peak memory, MiB", xlim=(0, None), ylim=(0, 1.1 * MOST_MIB))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def check_plot(path: Path) -> None:
    """Raise SystemExit when nothing could be drawn into `path`: better before the measuring than after it."""
    if path.suffix not in PLOT_FORMATS:
        raise SystemExit(f"--plot {path}: the file's name has to end in {' or '.join(PLOT_FORMATS)}")
    if not path.resolve().parent.is_dir():
        raise SystemExit(f"--plot {path}: there is no such folder")
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib==3.11.2")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the medians into this SVG or PNG")
    arguments = parser.parse_args()
    if arguments.plot:
        check_plot(arguments.plot)
    runs = measure_all(arguments.rounds)
    print_medians(runs)
    print_ratios(runs)
    if arguments.plot:
        draw(runs, arguments.plot)


if __name__ == "__main__":
    main()
