"""A case of the fault table, and the stage on which it is played: program, exchange, series."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from candles import Row, truth_rows
from program import Program

from core.archives import month_of
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_HOUR, parse_time
from demo.archive_files import ArchiveFiles
from demo.candle_store import CandleStore
from demo.faults import Action
from demo.generated_market import generate_series
from demo.server import ReplayExchange

ALWAYS = 10**6
RATE_LIMIT = {"code": -1003, "msg": "Too much request weight used."}
HTML = "<html><body>Welcome to the hotel. Please log in.</body></html>"

# REST: a day and a half of minutes, three pages in two chunks. Archives: a month of 15m, one file.
MINUTES = parse_series("BTCUSDT")
QUARTERS = parse_series("BTCUSDT/15m")
REST_SPAN = Span(parse_time("2024-02-01"), parse_time("2024-02-02T12:00"))
REST_NOW_MS = REST_SPAN.end_ms + 25_000
FEBRUARY = month_of(parse_time("2024-02-01"))
ARCHIVE_NOW_MS = parse_time("2024-03-25T00:01")
BY_REST = ("--source", "rest", "--start", "2024-02-01")
BY_ARCHIVE = ("--start", "2024-02-01", "--end", "2024-03-01")
ONLY_ARCHIVES = (*BY_ARCHIVE, "--source", "archive")
DONE = ": ok, inserted 2,160"


@functools.cache
def rows_of(interval: str) -> list[list[Any]]:
    """Rows of any symbol to a while beyond now: what has not closed must not be taken."""
    span = Span(REST_SPAN.start_ms, REST_SPAN.end_ms + 12 * MS_PER_HOUR)
    if interval == "15m":
        span = Span(FEBRUARY.span.start_ms, ARCHIVE_NOW_MS + MS_PER_HOUR)
    return [list(row) for row in generate_series(parse_series(f"BTCUSDT/{interval}"), span, 1)]


@functools.cache
def zip_of_february() -> bytes:
    store, series = CandleStore(), parse_series("BTCUSDT/15m")
    store.add(series, rows_of("15m"))
    return ArchiveFiles(store).zip_bytes(series, FEBRUARY)


@functools.cache
def csv_of_february() -> bytes:
    with zipfile.ZipFile(io.BytesIO(zip_of_february())) as archive:
        return archive.read(archive.namelist()[0])


@dataclass(frozen=True)
class Outcome:
    """How a run ended for one series."""

    exit: int
    said: str
    stored: list[Row]
    truth: list[Row]


@dataclass
class Stage:
    """One case under way."""

    program: Program
    exchange: ReplayExchange
    case: Case
    began_ms: int  # by the exchange's clock

    @property
    def truth(self) -> list[Row]:
        """What had closed in the wanted range by the exchange's clock when the run began."""
        closed_ms = min(self.case.series.interval.floor(self.began_ms), self.case.wanted.end_ms)
        return truth_rows(self.exchange.store.rows(self.case.series, self.case.wanted.start_ms, closed_ms))

    @property
    def stored(self) -> list[Row]:
        table = self.case.series.table_name
        there = self.program.query(f"select to_regclass('public.{table}') is not null")[0][0]
        return self.program.stored(table) if there else []

    def backfill(self) -> subprocess.CompletedProcess[str]:
        return self.program.run("--symbols", str(self.case.series), *self.case.arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.program.run(*arguments)


Prepare = Callable[[Program, ReplayExchange], None]
After = Callable[[Stage], None]


@dataclass(frozen=True)
class Case:
    """A row of the table. `stored` is `all`, `none`, `part` (a subset of the truth), `usable` (all that can be
    candles) or `other` (`after` says which)."""

    id: str
    exit: int
    message: str
    stored: str
    prepare: Prepare
    arguments: tuple[str, ...] = BY_REST
    after: After | None = None
    symbol: str = "BTCUSDT"
    group: str = ""  # cases of one group share a run, a symbol each

    @property
    def by_rest(self) -> bool:
        return self.arguments[:2] == BY_REST[:2]

    @property
    def series(self) -> Series:
        return parse_series(f"{self.symbol}/1m" if self.by_rest else f"{self.symbol}/15m")

    @property
    def wanted(self) -> Span:
        return Span(REST_SPAN.start_ms, parse_time("2025-01-01")) if self.by_rest else FEBRUARY.span


# --- How a case is prepared ---------------------------------------------------------------------------------------


def fault(place: str, action: Action, times: int = ALWAYS, after: int = 0, *, but_not: str = "") -> Prepare:
    return lambda program, exchange: exchange.faults.add(place, action, times, after, but_not=but_not)


def settings(**values: str) -> Prepare:
    return lambda program, exchange: program.settings.update(values)


def everywhere(action: Action) -> Prepare:
    return fault("/", action)


def hosts_at(url: str) -> Prepare:
    return settings(BINANCE_API_URL=url)


def at_start(code: str) -> Prepare:
    """Let the program run `code` before anything else."""

    def prepare(program: Program, exchange: ReplayExchange) -> None:
        with (program.folder / "hurry" / "sitecustomize.py").open("a") as file:
            file.write(code)

    return prepare


def both(*steps: Prepare) -> Prepare:
    def prepare(program: Program, exchange: ReplayExchange) -> None:
        for step in steps:
            step(program, exchange)

    return prepare


# The program waits 10 s for a connection and 30 s for the next byte; a sixtieth of that is enough here.
IMPATIENT = at_start(
    "import requests\nget = requests.Session.get\n"
    "def impatient(self, url, **options):\n"
    "    options['timeout'] = tuple(seconds / 60 for seconds in options['timeout'])\n"
    "    return get(self, url, **options)\n"
    "requests.Session.get = impatient\n"
)


def the_next_run_stores_all(stage: Stage) -> None:
    stage.exchange.faults.clear()
    assert stage.backfill().returncode == 0
    assert stage.stored == stage.truth


def check_names_the_gap(stage: Stage) -> None:
    done = stage.run("check", "--json")
    [series] = json.loads(done.stdout)["series"]
    lacking = {row[0] for row in stage.truth} - {row[0] for row in stage.stored}
    named = [*series["unexplained_in"], *series["never_fetched_in"]]
    assert done.returncode == (3 if named else 0)
    named += series["too_young_in"]  # no exit code of their own until the archive is due
    assert lacking
    assert all(any(parse_time(s["start"]) <= ms < parse_time(s["end"]) for s in named) for ms in lacking)
