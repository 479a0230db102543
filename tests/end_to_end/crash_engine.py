"""Kills the program at chosen moments, starts it again, and holds what is left against an undisturbed run."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candles import Row, stored_rows, truth_rows
from hostile_market import HALT, SERIES, SPAN, market
from program import Program, serve
from servers import database_server, execute, fresh_database, url_of

from core.exit_codes import EXIT_LOCKED
from core.ranges import Span, merge
from core.series import Series
from core.times import format_ms, parse_time, to_datetime
from db.catalog import load_catalog
from db.connection import Database
from db.embedded import EmbeddedServer
from db.ledger import hash_stored, load_entries
from db.schema import find_tables
from demo.clock import ReplayClock
from demo.server import ReplayExchange
from demo.weights import WeightLimits
from fetcher.binance.archive import ArchiveClient
from logic.state_files import SeriesState, load_state

NAMES = [str(series) for series in SERIES]
REST_SPAN = Span(parse_time("2024-02-13"), parse_time("2024-02-19"))  # the halt is inside
_TWO_DAYS_S = 2 * 86_400


@dataclass(frozen=True, slots=True)
class Job:
    """A command that writes, and what it finds: nothing, or all candles with some damage."""

    name: str
    arguments: tuple[str, ...]
    span: Span
    damage: str = ""  # what is done to the stored candles before: delete or alter
    damage_seed: int = 0

    @property
    def is_on_full_tables(self) -> bool:
        return bool(self.damage)


REST = Job(
    "rest",
    ("--symbols", *NAMES, "--source", "rest", "--start", "2024-02-13", "--end", "2024-02-19"),
    REST_SPAN,
)
ARCHIVES = Job("archives", ("--symbols", *NAMES), SPAN)
HEAL = Job("heal", ("check", "--heal"), SPAN, "delete")
REPAIR = Job("repair", ("verify", "--repair"), SPAN, "alter")
JOBS = (REST, ARCHIVES, HEAL, REPAIR)
# The first chunk of the second series, not the search for its listing.
SLOW_REST = f"BTCUSD_PERP&interval=5m&startTime={REST_SPAN.start_ms}"
_DAMAGES = 6  # so many kinds of damage a job, so that undisturbed runs can be kept


def some_job(dice: random.Random) -> Job:
    """Return one of the jobs, with damage of its own."""
    job = dice.choice(JOBS)
    return dataclasses.replace(job, damage_seed=dice.randrange(_DAMAGES)) if job.is_on_full_tables else job


@dataclass(slots=True)
class Picture:
    """What a run left behind, without what differs from run to run: run ids, times, how spans were cut."""

    exit_code: int
    faults: list[str]  # what is wrong in itself, whatever other runs leave
    rows: dict[str, int]
    covered: dict[str, list[Span]]
    open_gaps: list[tuple[str, Span, str]]
    healed_gaps: dict[str, list[Span]]
    corrections: list[tuple[Any, ...]]
    states: dict[str, SeriesState | None]

    def differences(self, other: Picture) -> list[str]:
        """Return where `other`, an undisturbed run's picture, is not as this one."""
        names = ("exit_code", "rows", "covered", "open_gaps", "healed_gaps", "corrections", "states")
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        told = (
            f"{name}: {_short(ours)}, undisturbed {_short(theirs)}" for name, ours, theirs in pairs if ours != theirs
        )
        return [*self.faults, *told]


@dataclass(slots=True)
class CrashReport:
    """One kill and the run after it."""

    job: str
    kill_after_s: float
    was_hit: bool  # the program was still at work when it was killed
    was_amid: bool  # and had committed something by then
    rows_compared: int
    left_at_kill: list[str]  # temporary files
    differences: list[str]
    seconds: float = 0.0


class Bench:
    """A server and an exchange of its own, on which runs are killed."""

    def __init__(self, folder: Path, exchange: ReplayExchange, server: EmbeddedServer) -> None:
        self.folder = folder
        self.exchange = exchange
        self.server = server
        self._numbers = itertools.count(1)
        self._truth = {s: truth_rows(exchange.store.rows(s)) for s in SERIES}
        self._undisturbed: dict[Job, tuple[Picture, float]] = {}

    def truth(self, series: Series, span: Span) -> list[Row]:
        return [row for row in self._truth[series] if span.start_ms <= int(str(row[0])) < span.end_ms]

    @contextmanager
    def program(self, job: Job) -> Iterator[Program]:
        """Give a program in a folder and a database of its own, as the job finds them."""
        if job.is_on_full_tables:
            self._make_full()
        name = f"run_{next(self._numbers)}"
        folder = self.folder / name
        folder.mkdir()
        template = "full" if job.is_on_full_tables else "template1"
        with fresh_database(self.server, name, template) as url:
            program = self._program(folder, url)
            if job.is_on_full_tables:
                shutil.copytree(self.folder / "full" / "state", folder / "state")
                damage(program, job)
            yield program
        shutil.rmtree(folder)

    def _program(self, folder: Path, url: str) -> Program:
        program = Program(folder, environment_in(folder, url), url)
        serve(program, self.exchange)
        return program

    def _make_full(self) -> None:
        """Make the template whose tables hold everything, once."""
        folder = self.folder / "full"
        if folder.exists():
            return
        folder.mkdir()
        self.execute("create database full_tables")
        done = self._program(folder, url_of(self.server, "full_tables")).run(*ARCHIVES.arguments)
        assert done.returncode == 0, done.stderr
        self.execute('alter database full_tables rename to "full"')

    def undisturbed(self, job: Job) -> tuple[Picture, float]:
        """Return what the job leaves when nothing happens to it, and how many seconds it takes."""
        if job not in self._undisturbed:
            with self.program(job) as program:
                began = time.monotonic()
                code = program.run_fresh(*job.arguments).returncode  # as the runs that are killed
                seconds = time.monotonic() - began
                picture = self.picture(program, job, code)
                assert not picture.faults, f"an undisturbed run of {job.name} leaves {picture.faults}"
                self._undisturbed[job] = (picture, seconds)
        return self._undisturbed[job]

    def crash(self, job: Job, share: float) -> CrashReport:
        """Kill the job when `share` of its usual time has passed, start it again, and compare."""
        began = time.monotonic()
        expected, usual_s = self.undisturbed(job)
        with self.program(job) as program:
            before = committed(program)
            process = program.start(*job.arguments)
            was_hit = not _ended_within(process, share * usual_s)
            process.kill()
            process.wait()
            was_amid = was_hit and committed(program) != before
            left = temporary_files(program)
            code = program.run(*job.arguments).returncode
            picture = self.picture(program, job, code)
            differences = picture.differences(expected) + self._leftovers(program, job)
        return CrashReport(
            job.name,
            round(share * usual_s, 3),
            was_hit,
            was_amid,
            sum(picture.rows.values()),
            left,
            differences,
            round(time.monotonic() - began, 2),
        )

    def _leftovers(self, program: Program, job: Job) -> list[str]:
        """Return the temporary files that a run some days later still leaves where they are."""
        if not temporary_files(program):
            return []
        make_older(program)
        state_dir = program.folder / "state"
        client = ArchiveClient("", "", state_dir / "downloads", connections=1, sleep=lambda _: None)
        client.remove_leftovers()
        if temporary_files(program):
            program.run(*job.arguments)
        return [f"{name} stays for ever" for name in temporary_files(program)]

    def has_tables(self, program: Program) -> bool:
        """Whether the tables of all series are there to be looked at."""
        names = ", ".join(f"to_regclass('public.{series.table_name}')" for series in SERIES)
        return program.query(f"select num_nulls({names})") == [(0,)]

    def picture(self, program: Program, job: Job, exit_code: int) -> Picture:
        """Read what is in the program's database and state folder."""
        picture = Picture(exit_code, [], {}, {}, [], {}, [], {})
        if exit_code == EXIT_LOCKED:
            picture.faults.append("a lock is stuck: the second run ended with 4")
        database = Database.connect(program.database_url, {}, "tests")
        try:
            with database.transaction("read what is left") as tx:
                for series in SERIES:
                    self._look_at_series(picture, tx, series, job)
                _look_at_the_rest(picture, tx)
        finally:
            database.close()
        for series in SERIES:
            _look_at_state(picture, program.folder / "state", series)
        return picture

    def _look_at_series(self, picture: Picture, tx: Any, series: Series, job: Job) -> None:
        table, name = series.table_name, str(series)
        ids = [row.id for row in load_catalog(tx) if row.series == series]
        if not ids or table not in find_tables(tx, [table]):
            picture.faults.append(f"{name}: no table")
            return
        stored, truth = stored_rows(tx, table), self.truth(series, job.span)
        if stored != truth:
            picture.faults.append(f"{name}: {row_difference(stored, truth)}")
        entries = load_entries(tx, ids[0], table)
        for entry in entries:
            if hash_stored(tx, table, entry.span) != (entry.rows, entry.content_hash):
                picture.faults.append(f"{name}: the ledger row of {entry.span} does not vouch for what is stored")
        if any(one.span.end_ms > two.span.start_ms for one, two in itertools.pairwise(entries)):
            picture.faults.append(f"{name}: ledger rows overlap")
        if sum(entry.rows for entry in entries) != len(stored):
            picture.faults.append(f"{name}: the ledger counts {sum(e.rows for e in entries)}, stored {len(stored)}")
        picture.rows[name] = len(stored)
        picture.covered[name] = merge(entry.span for entry in entries)

    def execute(self, statement: str) -> None:
        """Run a statement in the server's own database."""
        execute(self.server, statement)


def _look_at_the_rest(picture: Picture, tx: Any) -> None:
    tx.cursor.execute(
        "select table_name, gap_start, gap_end, ohlcv_gaps.status from public.ohlcv_gaps"
        " join public.ohlcv_series on ohlcv_series.id = series_id order by table_name, gap_start"
    )
    for table, start, end, status in tx.cursor.fetchall():
        span = Span(int(start.timestamp() * 1000), int(end.timestamp() * 1000))
        if status == "healed":
            picture.healed_gaps[table] = merge([*picture.healed_gaps.get(table, []), span])
        else:
            picture.open_gaps.append((table, span, status))
    tx.cursor.execute(
        "select table_name, time, old_row::text, new_row::text, source from public.ohlcv_corrections"
        " join public.ohlcv_series on ohlcv_series.id = series_id order by 1, 2, 3, 4"
    )
    picture.corrections = tx.cursor.fetchall()
    # A server's process notices a moment later that its client has ended.
    if not comes_true(lambda: not advisory_locks(tx), 5):
        picture.faults.append("an advisory lock is still held")


def advisory_locks(tx: Any) -> list[tuple[Any, ...]]:
    """Return the advisory locks that are held in the tx's database."""
    tx.cursor.execute(
        "select pid, classid, objid from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    found: list[tuple[Any, ...]] = tx.cursor.fetchall()
    return found


def _look_at_state(picture: Picture, folder: Path, series: Series) -> None:
    state = load_state(folder, series)
    if state is None:
        picture.faults.append(f"{series}: no state file that can be used")
    else:
        end_ms = picture.covered[str(series)][-1].end_ms if picture.covered.get(str(series)) else None
        if state.covered_until_ms != end_ms:
            picture.faults.append(f"{series}: the state file says {state.covered_until_ms}, the ledger {end_ms}")
        state = dataclasses.replace(state, last_run_id=None, last_run_ms=None)
    picture.states[str(series)] = state


def row_difference(stored: list[Row], truth: list[Row]) -> str:
    """Say how rows that are stored differ from what is true."""
    missing, extra = set(truth) - set(stored), set(stored) - set(truth)
    times = sorted({int(str(row[0])) for row in missing | extra})
    return f"{len(missing)} rows missing or different, {len(extra)} not the exchange's, first {format_ms(times[0])}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 400 else f"{text[:400]}..."


def _ended_within(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def environment_in(folder: Path, url: str) -> dict[str, str]:
    """Return the settings of a program that keeps everything in `folder`."""
    return {
        "DATABASE_URL": url,
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "logs"),
        "SYMBOLS_FILE": str(folder / "symbols.yml"),
        "EMBEDDED_PG_DIR": str(folder / "pgdata"),
    }


def count_ledger(program: Program) -> int:
    """Return how many spans are committed; 0 also where there is no ledger yet."""
    if program.query("select to_regclass('public.ohlcv_ledger') is null") == [(True,)]:
        return 0
    return int(program.query("select count(*) from public.ohlcv_ledger")[0][0])


def committed(program: Program) -> tuple[Any, ...]:
    """Return something that each commit of a chunk, a heal or a repair changes."""
    if program.query("select to_regclass('public.ohlcv_gaps') is null") == [(True,)]:
        return ()
    return program.query(
        "select (select (count(*), max(id), max(hash_checked_at), max(verified_at), max(attempted_at))::text"
        " from public.ohlcv_ledger), (select jsonb_agg(ohlcv_gaps order by id)::text from public.ohlcv_gaps)"
    )[0]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until `condition` holds; fail loudly when it does not come true."""
    assert comes_true(condition, seconds), "what was waited for did not come"


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` holds, for at most `seconds`; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def started(program: Program, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the program, its messages in the file `stderr`; whatever happens, it does not outlive the block."""
    with (program.folder / "stderr").open("w") as messages:
        process = subprocess.Popen(
            program.command(*arguments),
            env=program.full_environment(),
            cwd=program.folder,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def temporary_files(program: Program, of_series: Sequence[Series] = SERIES) -> list[str]:
    """Return the files in the state folder that are neither a series' state nor the record of bans."""
    state_dir = program.folder / "state"
    kept = {f"{series.file_stem}.json" for series in of_series} | {"exchange_bans.json"}
    files = (path for path in sorted(state_dir.rglob("*")) if path.is_file())
    return [str(path.relative_to(state_dir)) for path in files if path.name not in kept]


def make_older(program: Program) -> None:
    """Let the temporary files look as if the run that left them had been two days ago."""
    then = time.time() - _TWO_DAYS_S
    for name in temporary_files(program):
        os.utime(program.folder / "state" / name, (then, then))


def damage(program: Program, job: Job) -> None:
    """Delete or alter stored candles, the same ones for the same seed."""
    dice = random.Random(f"{job.damage}/{job.damage_seed}")
    statements = [_damage_of(series, job.damage, dice) for series in SERIES for _ in range(3)]
    # One transaction a statement, as of somebody at psql.
    for statement in statements:
        program.query(statement)


def _damage_of(series: Series, kind: str, dice: random.Random) -> str:
    start_ms = dice.randrange(SPAN.start_ms, SPAN.end_ms - 86_400_000)
    span = Span(start_ms, start_ms + dice.choice((60_000, 3_600_000, 86_400_000)))
    if kind == "alter" and dice.random() < 0.3 and series is SERIES[0]:
        return _doubled_into_halt(series, dice)
    where = f"time >= '{to_datetime(span.start_ms)}' and time <= '{to_datetime(span.end_ms)}'"
    if kind == "delete" or dice.random() < 0.3:
        return f"delete from public.{series.table_name} where {where}"
    column = dice.choice(("open", "close", "volume", "taker_buy_quote_volume"))
    return f"update public.{series.table_name} set {column} = {column} + 1 where {where}"


def _doubled_into_halt(series: Series, dice: random.Random) -> str:
    """Put a candle where the exchange has none."""
    at = to_datetime(HALT.start_ms + dice.randrange(120) * 60_000)
    columns = "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"
    return (
        f"insert into public.{series.table_name} (time, {columns}) select '{at}', {columns}"
        f" from public.{series.table_name} limit 1 on conflict do nothing"
    )


def random_share(dice: random.Random) -> float:
    """Return at which share of its usual time a run is killed: mostly amid its work, at times early or late."""
    kind = dice.random()
    if kind < 0.1:
        return dice.uniform(0.0, 0.35)
    return dice.uniform(0.9, 1.1) if kind < 0.25 else dice.uniform(0.4, 0.95)


@contextmanager
def open_bench() -> Iterator[Bench]:
    """Start a server and an exchange; stop both at the end, and only then remove the folder."""
    limits = WeightLimits(spot=10**6, futures=10**6)
    clock = ReplayClock(SPAN.end_ms + 25_000, speed=0.0)
    with (
        database_server("ohlcv-crashes-") as server,
        # A little slow, as a network is: else a run is mostly the start of Python, and few kills fall amid its work.
        ReplayExchange(market(), clock, weight_limits=limits, latency_s=0.015) as exchange,
    ):
        yield Bench(server.data_dir.parent, exchange, server)


@dataclass(slots=True)
class Tally:
    """All runs together."""

    runs: int = 0
    kills_that_hit: int = 0
    kills_amid_commits: int = 0
    rows_compared: int = 0
    losses: list[int] = field(default_factory=list)  # the numbers of the runs that differ

    def add(self, number: int, report: CrashReport) -> None:
        self.runs += 1
        self.kills_that_hit += report.was_hit
        self.kills_amid_commits += report.was_amid
        self.rows_compared += report.rows_compared
        if report.differences:
            self.losses.append(number)


def crash_number(bench: Bench, seed: int, number: int) -> CrashReport:
    """Do run `number` of `seed`: the same job, damage and share of its time whenever it is asked for."""
    dice = random.Random(f"{seed}/{number}")
    job = some_job(dice)
    return bench.crash(job, random_share(dice))


def numbers(runs: int, only: Sequence[int] = ()) -> list[int]:
    """Return the numbers of the runs to do."""
    return list(only) or list(range(runs))
