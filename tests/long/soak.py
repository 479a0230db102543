"""Days of a cron line in minutes, and one process of many thousand requests: nothing may pile up.

    .venv/bin/python tests/long/soak.py --seed 1 --days 3

The replay exchange's clock jumps from run to run. A day is a run every half hour through an exchange that answers some
requests wrongly; at noon somebody deletes a day of candles, and `check --heal`, `verify` and `status` follow; at
midnight come a run and a `check --heal` without faults, after which the tables must equal the truth. No run may leave
a connection, a lock or a temporary file. Memory, files, logs and the project's own tables are held against those of the
first day. Then one backfill by small pages is watched from outside while it works. Prints a JSON line a day, one for
that process, and a summary; ends with 1 on any violation. Needs the /proc of Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests"), str(PROJECT / "tests" / "end_to_end")]

from candles import truth_rows  # noqa: E402
from crash_engine import advisory_locks, comes_true, row_difference, started, temporary_files  # noqa: E402
from hostile_market import FAULTS  # noqa: E402
from long.hostile import SHARE, HostileScript, program_in, stored  # noqa: E402
from program import BACKEND, Program, serve  # noqa: E402
from servers import database_server, fresh_database  # noqa: E402

from commands.run_log import LOG_FILE  # noqa: E402
from core.ranges import Span  # noqa: E402
from core.series import Series, parse_series  # noqa: E402
from core.times import MS_PER_DAY, MS_PER_MINUTE, format_ms, parse_time, to_datetime  # noqa: E402
from db.connection import Database  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from demo.weights import WeightLimits  # noqa: E402

HAS_PROC = Path("/proc/self/status").exists()
BEGINS_MS = parse_time("2024-03-10")
SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT/1h", "um:BTCUSDT", "um:ETHUSDT/5m", "cm:BTCUSD_PERP/15m")]
HISTORY_DAYS = 40  # a month's archive, archives of days and pages for the first run
RUNS_A_DAY = 48
LONG_SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT")]
LONG_DAYS = 180
_LONG_PAGE = 20  # rows: many requests for few candles
_LONG_SHARE = 0.01  # each 429 holds all requests up for a second
LONG_LIMITS = WeightLimits(spot=10**6)  # the highest that the program believes: by the usual one it would wait and wait
_WORKERS = 8
_CRON_IS_LATE_MS = 5_000  # a candle is stored three seconds after its end at the earliest
_CLEAN, _ANY = (0,), (0, 3, 5)  # exit codes
_TIMEOUT_S = 1_200

# What is promised: README (memory), commands/run_log.py (rotation), commands/connections.py (candles, shared budget).
MOST_MIB = 200
LOG_FILES, LOG_FILE_BYTES = 6, 10_000_000
MOST_CONNECTIONS = 2
# Three streams, the log, two connections to the database, what signals are heard by, files being read or written.
OWN_DESCRIPTORS = 12
CRON_HOSTS, LONG_HOSTS = 5, 1  # three markets, the archives, their listing; each worker may keep a connection to each
# What still counts as level: the allocator keeps some MiB more or less, and a run that meets an archive or many faults
# needs some more than one that does not; up to 32 small ledger rows a series wait to be folded; a table grows by pages,
# and by dead rows until autovacuum comes by.
LEVEL_MIB, LEVEL_PEAK_MIB = 4.0, 12.0
LEVEL_ROWS = 32 * len(SERIES)
LEVEL_BYTES = 256 * 1024
# docs/storage.md: some thirty small rows and one a day; twice as many where a fault stood between.
LEDGER_ROWS, LEDGER_ROWS_A_DAY = 64, 2


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process holds at one moment."""

    resident_mib: float
    peak_mib: float  # since it began
    descriptors: int
    connections: int


@dataclass(slots=True)
class Tally:
    """What some runs needed, and what there was after them."""

    name: str
    runs: dict[str, int] = field(default_factory=dict)  # by command and exit code
    requests: int = 0
    downloads: int = 0  # archives among them
    faults: int = 0
    peak_mib: dict[str, float] = field(default_factory=dict)  # by command
    resident_mib: tuple[float, ...] = ()  # of one process in its second and its last third
    descriptors: int = 0  # the most
    connections: int = 0  # the most
    rows_compared: int = 0
    files: list[str] = field(default_factory=list)
    log_bytes: int = 0
    table_rows: dict[str, int] = field(default_factory=dict)  # of the project's own tables
    table_bytes: dict[str, int] = field(default_factory=dict)  # and of the server's catalog
    seconds: float = 0.0

    def add(self, command: str, code: int, samples: Sequence[Sample]) -> None:
        """Take over how a run ended and what it needed."""
        self.runs[f"{command} {code}"] = self.runs.get(f"{command} {code}", 0) + 1
        for one in samples:
            self.peak_mib[command] = max(self.peak_mib.get(command, 0.0), round(one.peak_mib, 1))
            self.descriptors = max(self.descriptors, one.descriptors)
            self.connections = max(self.connections, one.connections)

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "files": len(self.files)}


def later_thirds(values: Sequence[float]) -> tuple[float, ...]:
    """Return the medians of the second and of the last third; nothing where the values are too few to judge."""
    third = len(values) // 3
    parts = (values[third : 2 * third], values[2 * third :]) if third >= 5 else ()
    return tuple(round(statistics.median(part), 1) for part in parts)


def rises(what: str, values: Sequence[float], tolerance: float) -> list[str]:
    """Say so where the last third of `values` lies higher than the second third, by more than `tolerance`."""
    match later_thirds(values):
        case (middle, last):
            return [f"{what} rises from {middle:.1f} to {last:.1f}"] if last > middle + tolerance else []
    return [f"{what}: {len(values)} samples are too few to judge"]


def above_first(what: str, values: Sequence[float], tolerance: float) -> list[str]:
    """Say so where one of `values`, one a day, lies higher than the first, by more than `tolerance`."""
    return [f"{what} rises: {list(values)}"] if max(values) > values[0] + tolerance else []


def accelerates(what: str, totals: Sequence[int], slack: int) -> list[str]:
    """Say so where a later day adds more than half as much again as the first one did, and `slack`."""
    growth = [after - before for before, after in itertools.pairwise(totals)]
    return [f"{what} grow faster and faster: {list(totals)}"] if max(growth) > 1.5 * growth[0] + slack else []


def judge_size(tally: Tally, hosts: int) -> list[str]:
    """Hold the largest process against what is promised."""
    found = []
    if (peak_mib := max(tally.peak_mib.values(), default=0.0)) > MOST_MIB:
        found.append(f"{tally.name}: a process needed {peak_mib} MiB")
    if tally.descriptors > hosts * _WORKERS + OWN_DESCRIPTORS:
        found.append(f"{tally.name}: a process had {tally.descriptors} file descriptors")
    if not 0 < tally.connections <= MOST_CONNECTIONS:
        found.append(f"{tally.name}: a process had {tally.connections} database connections")
    return found


def judge_days(days: Sequence[Tally]) -> list[str]:
    """Hold the days against what is promised and against the first; the one before it fetched the history."""
    before, first, *_ = days
    found = judge_size(before, CRON_HOSTS)
    for number, day in enumerate(days[1:], 1):
        found += judge_size(day, CRON_HOSTS)
        if other := sorted(set(day.files) ^ set(first.files)):
            found.append(f"{day.name}: files that came or went since the first day: {other}")
        if sum(name.startswith(LOG_FILE) for name in day.files) < LOG_FILES:
            found.append(f"{day.name}: too few log files; that the oldest goes was not tried")
        most = before.table_rows["ohlcv_ledger"] + len(SERIES) * (LEDGER_ROWS + LEDGER_ROWS_A_DAY * number)
        if (rows := day.table_rows["ohlcv_ledger"]) > most:
            found.append(f"{day.name}: the ledger has {rows} rows, more than {most}: it is not folded")
    for command in first.peak_mib:
        peaks = [day.peak_mib.get(command, 0.0) for day in days[1:]]
        found += above_first(f"peak memory of {command} (MiB)", peaks, LEVEL_PEAK_MIB)
    found += above_first("the most file descriptors", [day.descriptors for day in days[1:]], _WORKERS)
    for table in first.table_rows:
        found += accelerates(f"rows of {table}", [day.table_rows[table] for day in days], LEVEL_ROWS)
    for table in first.table_bytes:
        found += accelerates(f"bytes of {table}", [day.table_bytes[table] for day in days], LEVEL_BYTES)
    return found


def judge_long(tally: Tally, samples: Sequence[Sample]) -> list[str]:
    """Hold a process against what is promised, and its last third against its second."""
    return [
        *judge_size(tally, LONG_HOSTS),
        *rises("resident memory (MiB)", [one.resident_mib for one in samples], LEVEL_MIB),
        *rises("open file descriptors", [one.descriptors for one in samples], 1),
    ]


class Soak:
    """The program, the exchange that it asks, and what was seen of both."""

    def __init__(self, program: Program, exchange: ReplayExchange, script: HostileScript, database: Database) -> None:
        self.program = program
        self.exchange = exchange
        self.script = script
        self.violations: list[str] = []
        # A server's process notices a moment later that its client has ended.
        self.patience_s = 5.0
        self._database = database

    def run(self, tally: Tally, *arguments: str, accepted: Sequence[int], every_s: float = 0.05) -> list[Sample]:
        """Run the program, look at it every so often, and at what it leaves; return what was seen meanwhile."""
        (self.program.folder / "state" / "exchange_bans.json").unlink(missing_ok=True)  # as if the ban were over
        fill_log(self.program)
        samples = []
        ends_s = time.monotonic() + _TIMEOUT_S
        with started(self.program, *arguments) as process:
            while process.poll() is None and time.monotonic() < ends_s:
                if (sample := read_sample(process.pid, self._connections())) is not None:
                    samples.append(sample)
                time.sleep(every_s)
        command = "backfill" if arguments[0].startswith("-") else arguments[0]
        said = (self.program.folder / "stderr").read_text()
        if process.returncode not in accepted or "Traceback" in said:
            self.say(tally, f"{command} ends with {process.returncode}: {said[-2000:]}")
        tally.add(command, process.returncode, samples)
        for line in self.left():
            self.say(tally, f"after {command}: {line}")
        return samples

    def say(self, tally: Tally, what: str) -> None:
        self.violations.append(f"{tally.name}: {what}")

    def left(self) -> list[str]:
        """Return what there is that no run may leave."""
        found = [f"temporary file {name}" for name in temporary_files(self.program, self.exchange.store.series())]
        found += [f"temporary file {path.name}" for path in (self.program.folder / "tmp").rglob("*")]
        if not comes_true(lambda: not self._connections(), self.patience_s):
            found.append(f"{self._connections()} database connections are open")
        if not comes_true(lambda: not self._locks(), self.patience_s):
            found.append(f"{self._locks()} advisory locks are held")
        sizes = log_sizes(self.program)
        found += [f"{name} has {size} bytes" for name, size in sizes.items() if size > LOG_FILE_BYTES]
        return found + ([f"{len(sizes)} log files"] if len(sizes) > LOG_FILES else [])

    def _connections(self) -> int:
        with self._database.transaction("count the program's connections") as tx:
            # Not the workers that the server adds to a query of a large table.
            tx.cursor.execute(f"select pid from pg_stat_activity where {BACKEND} and backend_type = 'client backend'")
            return len(tx.cursor.fetchall())

    def _locks(self) -> int:
        with self._database.transaction("count the locks") as tx:
            return len(advisory_locks(tx))

    def count_requests(self, tally: Tally) -> None:
        """Add what the exchange was asked, and what went wrong, since the last time."""
        tally.requests += len(self.exchange.requests)
        tally.downloads += self.exchange.count(".zip")
        tally.faults += sum(self.script.met.values())
        self.exchange.clear_requests()
        self.script.met.clear()

    def compare(self, tally: Tally, until_ms: int) -> None:
        """Hold all that is stored against the exchange's candles until then."""
        store = self.exchange.store
        for series in store.series():
            rows, truth = stored(self.program, series), truth_rows(store.rows(series, end_ms=until_ms))
            if rows != truth:
                self.say(tally, f"{series}: {row_difference(rows, truth)}")
            tally.rows_compared += len(rows)


def live_days(soak: Soak, days: int, runs_a_day: int) -> Iterator[Tally]:
    """Fetch the history, let cron's days pass, and give each when it is over; judge them at the end."""
    soak.program.symbols("symbols:\n" + "".join(f"  - {series}\n" for series in soak.exchange.store.series()))
    passed: list[Tally] = []
    for number in range(days + 1):
        tally = Tally(f"day {number}")
        began = time.monotonic()
        if number == 0:
            soak.script.share = 0.0
            soak.run(tally, "--quiet", accepted=_CLEAN)
        else:
            _live_day(soak, tally, number, runs_a_day)
        soak.count_requests(tally)
        soak.compare(tally, BEGINS_MS + number * MS_PER_DAY)
        tally.table_rows, tally.table_bytes = own_tables(soak.program)
        tally.files = files_of(soak.program)
        tally.log_bytes = sum(log_sizes(soak.program).values())
        tally.seconds = round(time.monotonic() - began, 1)
        passed.append(tally)
        yield tally
    soak.violations += judge_days(passed)


def _live_day(soak: Soak, tally: Tally, number: int, runs: int) -> None:
    start_ms = BEGINS_MS + (number - 1) * MS_PER_DAY
    for turn in range(1, runs + 1):
        is_midnight = turn == runs  # then comes what faults have kept from the other runs
        soak.script.share = 0.0 if is_midnight else SHARE
        soak.exchange.clock.set(start_ms + turn * MS_PER_DAY // runs + _CRON_IS_LATE_MS)
        soak.run(tally, "--quiet", accepted=_CLEAN if is_midnight else _ANY)
        if turn == (runs + 1) // 2:
            delete_day(soak.program, BEGINS_MS - (number + 1) * MS_PER_DAY)  # of the history: a day is as the other
            soak.run(tally, "check", "--heal", "--quiet", accepted=_ANY)
            soak.run(tally, "verify", "--percent", "4", "--quiet", accepted=_ANY)
            soak.run(tally, "status", accepted=_CLEAN)
    soak.run(tally, "check", "--heal", "--quiet", accepted=_CLEAN)


def long_process(soak: Soak, every_s: float = 0.2) -> Tally:
    """Watch one backfill of all the exchange has, by small pages; return what it needed."""
    tally = Tally("long process")
    began = time.monotonic()
    names = [str(series) for series in soak.exchange.store.series()]
    arguments = ["--symbols", *names, "--source", "rest", "--end", format_ms(BEGINS_MS)]
    soak.program.settings["DEFAULT_LIMIT"] = str(_LONG_PAGE)
    # Neither bans nor what looks like a wrong address: these end a run.
    soak.script.share, soak.script.ban_share, soak.script.actions = _LONG_SHARE, 0.0, list(FAULTS)
    samples = [one for one in soak.run(tally, *arguments, accepted=(0, 3), every_s=every_s) if one.connections]
    soak.count_requests(tally)
    soak.script.share = 0.0
    soak.exchange.clock.advance(2 * MS_PER_MINUTE)  # a new minute, of whose weight nothing is reserved
    soak.run(tally, *arguments, accepted=_CLEAN)
    soak.compare(tally, BEGINS_MS)
    tally.resident_mib = later_thirds([one.resident_mib for one in samples])
    soak.violations += judge_long(tally, samples)
    tally.seconds = round(time.monotonic() - began, 1)
    return tally


def read_sample(pid: int, connections: int) -> Sample | None:
    """Return what a process holds; None when it is just ending."""
    # Not by os.wait4: a child's ru_maxrss begins with the memory of the process that started it.
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in fields:
        return None
    resident, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Sample(resident, peak, descriptors, connections)


def fill_log(program: Program) -> None:
    """Let the log be one byte short of its limit, as after weeks; the hole in it takes no room on the disk."""
    log = program.folder / "logs" / LOG_FILE
    if log.exists():
        os.truncate(log, LOG_FILE_BYTES - 1)


def log_sizes(program: Program) -> dict[str, int]:
    """Return the bytes of each log file."""
    return {path.name: path.stat().st_size for path in sorted((program.folder / "logs").iterdir())}


def files_of(program: Program) -> list[str]:
    """Return the names of all that the program keeps in files."""
    kept = [path for folder in ("state", "logs") for path in (program.folder / folder).rglob("*")]
    return sorted(path.name for path in kept if path.is_file())


def own_tables(program: Program) -> tuple[dict[str, int], dict[str, int]]:
    """Return rows and bytes of each table that holds no candles; the server's catalog counts as one, without rows."""
    rows, sizes = {}, {}
    names = program.query(
        "select tablename from pg_tables where schemaname = 'public' and tablename not in"
        " (select table_name from public.ohlcv_series where table_name is not null) order by 1"
    )
    for (name,) in names:
        counted = program.query(f"select count(*), pg_total_relation_size('public.{name}') from public.{name}")
        rows[name], sizes[name] = map(int, counted[0])
    of_catalog = "relkind = 'r' and relnamespace = 'pg_catalog'::regnamespace"
    found = program.query(f"select sum(pg_total_relation_size(oid)) from pg_class where {of_catalog}")
    sizes["pg_catalog"] = int(found[0][0])
    return rows, sizes


def delete_day(program: Program, start_ms: int) -> None:
    """Delete a day of the first series by hand."""
    start, end = to_datetime(start_ms), to_datetime(start_ms + MS_PER_DAY)
    program.query(f"delete from {SERIES[0].table_name} where time >= '{start}' and time < '{end}'")


@contextmanager
def open_soak(
    url: str, folder: Path, seed: int, series: Sequence[Series], span: Span, limits: WeightLimits | None = None
) -> Iterator[Soak]:
    """An exchange with candles of a range, and the program in a folder and an empty database of its own."""
    store = CandleStore()
    for number, one in enumerate(series):
        store.add(one, generate_series(one, span, seed * 10 + number))
    script = HostileScript(random.Random(seed))
    # Days of cron are to end as the truth: no symbol is without an answer for good, no candle impossible for good.
    script.sick, script.cursed_ms = None, -1
    with (
        ReplayExchange(store, ReplayClock(BEGINS_MS + _CRON_IS_LATE_MS), weight_limits=limits) as exchange,
        closing(Database.connect(url, {}, "tests")) as database,
    ):
        exchange.faults = script
        program = program_in(folder, url)
        serve(program, exchange)
        (folder / "tmp").mkdir()
        program.settings |= {"TMPDIR": str(folder / "tmp"), "FETCH_WORKERS": str(_WORKERS)}
        yield Soak(program, exchange, script, database)


@contextmanager
def own_place(server: EmbeddedServer, name: str) -> Iterator[tuple[str, Path]]:
    """The URL of a database and a folder, both gone afterwards."""
    with fresh_database(server, name) as url, tempfile.TemporaryDirectory(prefix="ohlcv-soak-") as folder:
        yield url, Path(folder)


def days_around(before: int, after: int) -> Span:
    """Return so many days before and after the soak begins."""
    return Span(BEGINS_MS - before * MS_PER_DAY, BEGINS_MS + after * MS_PER_DAY)


def main() -> int:
    if not HAS_PROC:
        print("not done: without /proc a process cannot be watched", file=sys.stderr)
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=3, help="simulated days of cron; growth shows from the second on")
    parser.add_argument("--long-days", type=int, default=LONG_DAYS, help="days that one process fetches by small pages")
    options = parser.parse_args()
    if options.days < 1:
        parser.error("--days must be 1 or more")
    tallies: list[Tally] = []
    with database_server() as server:
        span = days_around(max(HISTORY_DAYS, options.days + 2), options.days + 1)
        with own_place(server, "soak_days") as place, open_soak(*place, options.seed, SERIES, span) as soak:
            for tally in live_days(soak, options.days, RUNS_A_DAY):
                print(json.dumps(tally.document()), flush=True)
                tallies.append(tally)
            violations = soak.violations
        span = days_around(options.long_days, 1)
        with (
            own_place(server, "soak_long") as place,
            open_soak(*place, options.seed, LONG_SERIES, span, LONG_LIMITS) as soak,
        ):
            tallies.append(long_process(soak))
            print(json.dumps(tallies[-1].document()), flush=True)
            violations += soak.violations
    summary = {
        "days": options.days,
        "runs": sum(sum(one.runs.values()) for one in tallies),
        "requests": sum(one.requests for one in tallies),
        "faults": sum(one.faults for one in tallies),
        "rows_compared": sum(one.rows_compared for one in tallies),
        "seconds": round(sum(one.seconds for one in tallies)),
        "violations": violations,
    }
    print(json.dumps(summary))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
