"""The table of faults in docs/fault-table.md, row by row: what a run says, how it ends, and what it has stored."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import socket
import struct
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from candles import Row, truth_rows
from hostile_market import hurry
from program import PROJECT, Program, serve

from core.archive_names import file_stem, month_of
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time
from demo.archive_files import ArchiveFiles
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import Action, AlterBody, AlterRows, Answer, CutBody, Reset, Stall
from demo.generated_market import generate_series
from demo.server import ReplayExchange

DOCUMENT = PROJECT / "docs" / "fault-table.md"
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
    """A row of the table. `stored` is `all`, `none`, `part` (a subset of the truth) or `other` (`after` says which)."""

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


def fault(place: str, action: Action, times: int = ALWAYS, after: int = 0) -> Prepare:
    return lambda program, exchange: exchange.faults.add(place, action, times, after)


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


def machine_clock_off_by(ms: int) -> Prepare:
    """Set the machine's clock to the exchange's and then wrong by `ms`."""
    now_ns = (REST_NOW_MS + ms) * 1_000_000
    return at_start(
        "import time\nbegan, clock = time.time_ns(), time.time_ns\n"
        f"time.time_ns = lambda: {now_ns} + clock() - began\ntime.time = lambda: time.time_ns() / 1e9\n"
    )


def exchange_clock_steps(program: Program, exchange: ReplayExchange) -> None:
    """Every request finds the exchange's clock five hours before or after where the last one found it."""
    answer, turn = exchange.handle, threading.Lock()
    state = {"early": False}

    def handle(target: str) -> Any:
        with turn:
            state["early"] = not state["early"]
            exchange.clock.set(REST_NOW_MS - (5 * MS_PER_HOUR if state["early"] else 0))
            try:
                return answer(target)
            finally:
                exchange.clock.set(REST_NOW_MS)

    exchange.handle = handle  # type: ignore[method-assign]


def time_is_ahead_by(ms: int) -> Prepare:
    """`/time` alone is wrong; the Date of every answer is right."""

    def change(body: bytes) -> bytes:
        return json.dumps({"serverTime": json.loads(body)["serverTime"] + ms}).encode()

    return fault("/time", AlterBody(change), ALWAYS)


def exchange_clock_falls_back(program: Program, exchange: ReplayExchange) -> None:
    """`/time` and its Date are half an hour ahead; every later request finds the true clock."""
    answer = exchange.handle

    def handle(target: str) -> Any:
        exchange.clock.set(REST_NOW_MS + (30 * MS_PER_MINUTE if "/time" in target else 0))
        try:
            return answer(target)
        finally:
            exchange.clock.set(REST_NOW_MS)

    exchange.handle = handle  # type: ignore[method-assign]


def connections_reset(program: Program, exchange: ReplayExchange) -> None:
    """Answer every request with a reset (RST) instead of an orderly end."""
    answer = exchange.handle

    def handle(target: str) -> Any:
        assert exchange._server is not None
        for connection in list(exchange._server._open):
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(connection.detach())
        return answer(target)[0], Reset()

    exchange.handle = handle  # type: ignore[method-assign]


def wrong_content_type(program: Program, exchange: ReplayExchange) -> None:
    answer = exchange.handle

    def handle(target: str) -> Any:
        reply, action = answer(target)
        return replace(reply, content_type="text/html"), action

    exchange.handle = handle  # type: ignore[method-assign]


# --- What is wrong with a page ------------------------------------------------------------------------------------


def with_field(position: int, value: object) -> AlterRows:
    """Put `value` into the third row's field."""

    def change(rows: list[Any]) -> list[Any]:
        return [[*r[:position], value, *r[position + 1 :]] if i == 2 else r for i, r in enumerate(rows)]

    return AlterRows(change)


def shifted(rows: list[Any], minutes: int) -> list[Any]:
    return [[row[0] + minutes * MS_PER_MINUTE, *row[1:6], row[6] + minutes * MS_PER_MINUTE, *row[7:]] for row in rows]


def without(time_ms: int) -> AlterRows:
    return AlterRows(lambda rows: [row for row in rows if row[0] != time_ms])


LACKED_MS = parse_time("2024-02-01T07:00")
PAGES: dict[str, tuple[Action, str]] = {
    "short": (
        AlterRows(lambda rows: rows[: -(-len(rows) // 2)]),
        "lack candles that it has just given, or keep changing",
    ),
    "doubled": (
        AlterRows(lambda rows: [rows[i // 2] for i in range(len(rows))]),
        "candles are doubled or out of order",
    ),
    "unsorted": (AlterRows(lambda rows: rows[::-1]), "candles are doubled or out of order"),
    "overlapping": (AlterRows(lambda rows: shifted(rows, -5)), "was asked for"),
    "with a candle too many": (AlterRows(lambda rows: [*rows, *shifted(rows[-1:], 1)]), "candles where at most"),
    "with an unclosed candle": (AlterRows(lambda rows: [*rows[1:], *shifted(rows[-1:], 1)]), "was asked for"),
    "with too few fields": (AlterRows(lambda rows: [row[:11] for row in rows]), "does not have 12 fields"),
    "with too many fields": (AlterRows(lambda rows: [[*row, "0"] for row in rows]), "does not have 12 fields"),
    "with NaN as a text": (with_field(4, "NaN"), "close is not a plain decimal number"),
    "with NaN as a number": (AlterBody(lambda body: body.replace(b'"0"]', b"NaN]", 1)), "is not whole JSON"),
    "with an empty price": (with_field(1, ""), "open is not a plain decimal number"),
    "with a price of null": (with_field(2, None), "high is missing"),
    "with a price as a number": (with_field(3, 3.5), "a candle has a field of the wrong kind"),
    "with a negative price": (with_field(3, "-1.00"), "low is not a plain decimal number"),
    "with a price of zero": (with_field(3, "0.00000000"), "a price is not above zero"),
    "with an absurd price": (with_field(2, "9" * 30), "high is not a plain decimal number"),
    "with high below low": (with_field(2, "0.00000001"), "open or close lies outside low..high"),
    "with a time as a text": (with_field(0, "1706745600000"), "open_time is not a whole number"),
    "with negative trades": (with_field(8, -1), "trades is outside 0"),
    "of cut JSON": (AlterBody(lambda body: body[:-20]), "the answer is not whole JSON"),
    "of nothing": (AlterBody(lambda body: b""), "the answer is not whole JSON (0 bytes"),
    "of too many bytes": (AlterBody(lambda body: body + b" " * (64 << 20)), "answers more than 67,108,864 bytes"),
    "of HTML": (AlterBody(lambda body: HTML.encode()), "begins '<html><body>Welcome"),
    "that is an object": (AlterBody(lambda body: b'{"code":-1000,"msg":"?"}'), "expected a list of candles"),
}


def page_cases() -> Iterator[Case]:
    for number, (kind, (action, named)) in enumerate(PAGES.items()):
        symbol = f"PAGE{number}USDT"
        place = f"symbol={symbol}&interval=1m"
        once = fault(place, action, times=1, after=3)  # the first requests look for the listing, a row each
        yield Case(f"page {kind}, once", 0, DONE, "all", once, symbol=symbol, group="once")
        always = fault(place, action)
        yield Case(f"page {kind}, for ever", 3, named, "none", always, symbol=symbol, group="for ever")


# --- What is wrong with an archive --------------------------------------------------------------------------------


def packed(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def stem(symbol: str) -> str:
    return file_stem(parse_series(f"{symbol}/15m"), FEBRUARY)


def with_flipped_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


Make = Callable[[str], Prepare]  # by symbol


def forged(make: Callable[[str], bytes]) -> Make:
    """Publish another file instead of February's, with a CHECKSUM that fits."""

    def prepare(program: Program, exchange: ReplayExchange, symbol: str) -> None:
        content = make(f"{stem(symbol)}.csv")
        checksum = f"{hashlib.sha256(content).hexdigest()}  {stem(symbol)}.zip".encode()
        exchange.faults.add(
            f"{stem(symbol)}.zip", AlterBody(lambda body: content if body[:2] == b"PK" else checksum), ALWAYS
        )

    return lambda symbol: lambda program, exchange: prepare(program, exchange, symbol)


def csv_changed(change: Callable[[list[bytes]], list[bytes]]) -> Make:
    return forged(lambda name: packed({name: b"\n".join(change(csv_of_february().split(b"\n")))}))


def with_cell(position: int, value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Put `value` into a cell of the hundredth candle."""

    def change(lines: list[bytes]) -> list[bytes]:
        cells = lines[100].split(b",")
        return [*lines[:100], b",".join([*cells[:position], value, *cells[position + 1 :]]), *lines[101:]]

    return change


def with_other_close(lines: list[bytes]) -> list[bytes]:
    """Give the hundredth candle its high as close: possible, but not what REST says."""
    cells = lines[100].split(b",")
    assert cells[4] != cells[2]
    return with_cell(4, cells[2])(lines)


def file_fault(end: str, action: Action, times: int = ALWAYS, after: int = 0) -> Make:
    return lambda symbol: fault(f"{stem(symbol)}.zip{end}", action, times, after)


def zips_alone(change: Callable[[bytes], bytes]) -> Make:
    return file_fault("", AlterBody(lambda body: change(body) if body[:2] == b"PK" else body))


def for_all(prepare: Prepare) -> Make:
    return lambda symbol: prepare


def verify_tells_only_against_rest(stage: Stage) -> None:
    """The archive's CHECKSUM fits, so `verify` is content; REST disagrees, and --repair follows it."""
    different = set(stage.stored) ^ set(stage.truth)
    assert {row[0] for row in different} == {stage.truth[100][0]}
    assert stage.run("verify").returncode == 0
    told = stage.run("verify", "--against", "rest")
    assert told.returncode == 3
    assert "different: close" in told.stdout
    assert stage.run("verify", "--against", "rest", "--repair").returncode == 0
    assert stage.stored == stage.truth


def the_next_run_stores_all(stage: Stage) -> None:
    stage.exchange.faults.clear()
    assert stage.backfill().returncode == 0
    assert stage.stored == stage.truth


def check_names_the_absent_candle(stage: Stage) -> None:
    """Two sources that agree are proof: the candle does not exist, and the evidence is kept."""
    assert len(stage.truth) - len(stage.stored) == 1
    assert set(stage.stored) < set(stage.truth)
    done = stage.run("check")
    assert done.returncode == 0
    assert "absent 2024-02-01T00:15Z .. 2024-02-01T00:30Z (1 candle)" in done.stdout


def check_names_the_gap(stage: Stage) -> None:
    done = stage.run("check", "--json")
    assert done.returncode == 3
    [series] = json.loads(done.stdout)["series"]
    lacking = {row[0] for row in stage.truth} - {row[0] for row in stage.stored}
    named = [span for span in (*series["lost"], *series["never_fetched"])]
    assert lacking
    assert all(any(parse_time(s["start"]) <= ms < parse_time(s["end"]) for s in named) for ms in lacking)


FETCHED = ": ok, inserted 2,784"
NO_FILE = "2024-02-01 .. 2024-03-01 was not fetched, no usable archive file has it"
FILES: list[tuple[str, str, Make]] = [
    ("truncated", "its CHECKSUM file says", zips_alone(lambda body: body[: len(body) // 2])),
    ("cut off in transfer, once", FETCHED, file_fault("", CutBody(), times=1, after=1)),
    (
        "corrupt under a valid CHECKSUM",
        "not a readable zip",
        forged(lambda name: with_flipped_bit(packed({name: csv_of_february()}))),
    ),
    (
        "of too many bytes",
        "answers more than 2,473,984 bytes",
        zips_alone(lambda body: body + b"\0" * (3 << 20)),
    ),
    ("that is no zip", "is not a readable zip", forged(lambda name: b"PK" + b"\0" * 5000)),
    (
        "with a stale CHECKSUM",
        "its CHECKSUM file says",
        file_fault(".CHECKSUM", AlterBody(lambda body: b"0" * 64 + body[64:])),
    ),
    ("without CHECKSUM", "answers 404: not published", file_fault(".CHECKSUM", Answer(404, HTML))),
    (
        "with the CHECKSUM of another file",
        "the CHECKSUM file of",
        file_fault(".CHECKSUM", AlterBody(lambda body: body.replace(b"15m", b"30m"))),
    ),
    ("that lacks rows", FETCHED, csv_changed(lambda lines: lines[:70] + lines[90:])),
    ("with impossible values", "holds unusable rows: impossible candle", csv_changed(with_cell(4, b"NaN"))),
    ("with a cut row", "holds unusable rows", csv_changed(lambda lines: [*lines[:50], b"17067"])),
    ("that is out of order", "doubled or out of order", csv_changed(lambda lines: lines[-2::-1])),
    (
        "with candles of another month",
        "holds a candle of 2024-03-01",
        csv_changed(lambda lines: [*lines[:-1], b"1709251200000" + lines[-2][13:], b""]),
    ),
    (
        "that is a zip bomb",
        "unpacks to more than",
        forged(lambda name: packed({name: csv_of_february() + b"\n" * 20_000_000})),
    ),
    (
        "with another member",
        "extra.csv instead of",
        forged(lambda name: packed({name: csv_of_february(), "extra.csv": b"1"})),
    ),
    (
        "with a member outside its folder",
        "holds ../x.csv instead of",
        forged(lambda name: packed({"../x.csv": csv_of_february()})),
    ),
    ("of nothing", FETCHED, forged(lambda name: packed({name: b""}))),
    ("with 5xx for ever", "answers 503 (given up after 4 attempts", file_fault("", Answer(503, HTML))),
    (
        "that is refused with 403",
        "answers 403: not published, or not for this address",
        file_fault("", Answer(403, HTML)),
    ),
]


def file_cases() -> Iterator[Case]:
    for number, (kind, named, make) in enumerate(FILES):
        symbol = f"FILE{number}USDT"
        yield Case(f"archive {kind}", 0, named, "all", make(symbol), BY_ARCHIVE, symbol=symbol, group="files")


ARCHIVES = [
    Case(
        "archive that lacks rows, and REST too",
        0,
        "inserted 2,783, there 0, conflicts 0, healed 0, absent 1",
        "other",
        both(
            csv_changed(lambda lines: lines[:1] + lines[2:])("BTCUSDT"),
            fault("klines", without(parse_time("2024-02-01T00:15"))),
        ),
        BY_ARCHIVE,
        check_names_the_absent_candle,
    ),
    Case(
        "archive that differs from REST",
        0,
        FETCHED,
        "other",
        csv_changed(with_other_close)("BTCUSDT"),
        BY_ARCHIVE,
        verify_tells_only_against_rest,
    ),
    Case(
        "archive listing unreadable",
        0,
        "file names are guessed",
        "all",
        fault("prefix=", AlterBody(lambda body: HTML.encode())),
        BY_ARCHIVE,
    ),
    Case(
        "archive host unreachable",
        0,
        "is left out of this run",
        "all",
        settings(BINANCE_ARCHIVE_URL="http://127.0.0.1:9", BINANCE_ARCHIVE_LIST_URL="http://127.0.0.1:9"),
        BY_ARCHIVE,
    ),
    Case(
        "archive host stalled for ever",
        0,
        "is left out of this run",
        "all",
        both(IMPATIENT, fault("data/", Stall(60))),
        BY_ARCHIVE,
    ),
    Case(
        "archive truncated, and only archives allowed",
        0,
        "its CHECKSUM file says",
        "all",
        zips_alone(lambda body: body[:-1])("BTCUSDT"),
        ONLY_ARCHIVES,
    ),
    Case(
        "all archives truncated, and only archives allowed",
        3,
        NO_FILE,
        "none",
        fault(".zip", AlterBody(lambda body: body[:-1] if body[:2] == b"PK" else body)),
        ONLY_ARCHIVES,
        the_next_run_stores_all,
    ),
    Case(
        "archive that lacks rows, and only archives allowed",
        3,
        "2024-02-01T17:30Z .. 2024-02-01T22:30Z",
        "part",
        csv_changed(lambda lines: lines[:70] + lines[90:])("BTCUSDT"),
        ONLY_ARCHIVES,
        check_names_the_gap,
    ),
    Case(
        "archive host unreachable, and only archives allowed",
        3,
        "no whole answer from http://127.0.0.1:9",
        "none",
        settings(BINANCE_ARCHIVE_LIST_URL="http://127.0.0.1:9"),
        ONLY_ARCHIVES,
    ),
]


# --- What is wrong with the network, the host or its clock --------------------------------------------------------


def waited_before_going_on(stage: Stage) -> None:
    """The first request after the 429 came when its second was over, not before."""
    requests = stage.exchange.requests
    refused = next(i for i, record in enumerate(requests) if record.status == 429)
    # In flight at that moment may be what another thread had sent already.
    after = [record.at_ms - requests[refused].at_ms for record in requests[refused + 1 :]]
    assert all(ms < 150 or ms >= 1000 for ms in after)
    assert any(ms >= 1000 for ms in after)


def a_second_run_sends_nothing(stage: Stage) -> None:
    stage.exchange.clear_requests()
    again = stage.backfill()
    assert (again.returncode, stage.exchange.requests) == (5, [])
    assert "no request was sent. Run again after that" in again.stderr


def verify_names_the_wrong_price(stage: Stage) -> None:
    assert len(set(stage.stored) - set(stage.truth)) == 1
    stage.exchange.faults.clear()
    told = stage.run("verify")
    assert told.returncode == 3
    assert "different: high" in told.stdout
    assert stage.run("verify", "--repair").returncode == 0
    assert stage.stored == stage.truth


def all_that_had_closed_by_the_earlier_clock(stage: Stage) -> None:
    """Nothing that was still open, no hole before the end; the next run takes the rest."""
    stored = stage.stored
    assert stored == stage.truth[: len(stored)]
    assert len(stage.truth) - len(stored) == 5 * 60
    del stage.exchange.handle  # the clock stands still from here on
    stage.exchange.clock.set(REST_NOW_MS)
    the_next_run_stores_all(stage)


def moving_clock(program: Program, exchange: ReplayExchange) -> None:
    exchange.clock = exchange._routes._clock = ReplayClock(REST_NOW_MS, speed=1.0)


HIGHER = AlterRows(lambda rows: [[*r[:2], "99999999.00000000", *r[3:]] if r[0] == LACKED_MS else r for r in rows])
NETWORK = [
    Case("connection refused", 5, "Connection refused; check the network", "none", hosts_at("http://127.0.0.1:9")),
    Case("connection closed without an answer, once", 0, DONE, "all", fault("klines", Reset(), times=1)),
    Case(
        "connection closed without an answer, for ever",
        5,
        "no whole answer from",
        "none",
        everywhere(Reset()),
        after=the_next_run_stores_all,
    ),
    Case("connection reset, for ever", 5, "Connection reset by peer; check the network", "none", connections_reset),
    Case("connection closed in mid-body, once", 0, DONE, "all", fault("klines", CutBody(), times=1)),
    Case("connection closed in mid-body, for ever", 5, "no whole answer from", "none", everywhere(CutBody())),
    Case(
        "connection closed in the second chunk, for ever",
        5,
        "no whole answer from",
        "part",
        fault("klines", Reset(), after=2),
        after=the_next_run_stores_all,
    ),
    Case("stalled, once", 0, DONE, "all", both(IMPATIENT, fault("klines", Stall(60), times=1))),
    Case(
        "stalled, for ever",
        5,
        "ReadTimeout: timed out; check the network",
        "none",
        both(IMPATIENT, everywhere(Stall(60))),
    ),
    Case("slow", 0, DONE, "all", everywhere(Stall(0.3))),
    Case("host name unknown", 5, "check the network and the address", "none", hosts_at("http://exchange.invalid")),
    Case(
        "429 with Retry-After, once",
        0,
        DONE,
        "all",
        both(moving_clock, fault("klines", Answer(429, RATE_LIMIT, {"Retry-After": "1"}), times=1)),
        after=waited_before_going_on,
    ),
    Case(
        "429, for ever",
        5,
        "answers 429, too many requests (given up after 6 attempts",
        "none",
        everywhere(Answer(429, RATE_LIMIT, {"Retry-After": "0"})),
    ),
    Case(
        "429 with a Retry-After of hours",
        5,
        "has banned this address until",
        "none",
        everywhere(Answer(429, RATE_LIMIT, {"Retry-After": "7200"})),
        after=a_second_run_sends_nothing,
    ),
    Case(
        "418 with Retry-After",
        5,
        "has banned this address until",
        "part",
        fault("klines", Answer(418, RATE_LIMIT, {"Retry-After": "3600"}), after=2),
        after=a_second_run_sends_nothing,
    ),
    Case(
        "418 without a word",
        5,
        "has banned this address until",
        "none",
        everywhere(Answer(418, "")),
        after=a_second_run_sends_nothing,
    ),
    Case(
        "451",
        5,
        "The exchange does not serve this location",
        "none",
        everywhere(Answer(451, {"code": 0, "msg": "Service unavailable from a restricted location"})),
    ),
    Case("403 with HTML", 5, "The exchange's firewall refuses this address", "none", everywhere(Answer(403, HTML))),
    Case("404 with HTML", 5, "Check the address in BINANCE_API_URL", "none", everywhere(Answer(404, HTML))),
    Case(
        "redirect to a web page",
        5,
        "Check the address in BINANCE_API_URL",
        "none",
        everywhere(Answer(302, HTML, {"Location": "http://127.0.0.1:9/"})),
    ),
    Case(
        "400 with an unknown code",
        3,
        "(code -1100)",
        "none",
        fault("klines", Answer(400, {"code": -1100, "msg": "Illegal characters found."})),
    ),
    Case("5xx burst that ends", 0, DONE, "all", fault("klines", Answer(502, HTML), times=4)),
    Case(
        "5xx, for ever",
        5,
        "answers 503: Welcome to the hotel. Please log in. (given up",
        "none",
        everywhere(Answer(503, HTML)),
    ),
    Case("200 with HTML from the whole host", 5, "begins '<html><body>Welcome", "none", everywhere(Answer(200, HTML))),
    Case("content type wrong, JSON right", 0, DONE, "all", wrong_content_type),
    Case(
        "the same candle missing from every answer",
        3,
        "gap 2024-02-01T07:00Z",
        "part",
        fault("klines", without(LACKED_MS)),
        after=check_names_the_gap,
    ),
    Case(
        "every page empty",
        3,
        "has no candle of it by REST; try again later",
        "none",
        fault("klines", AlterRows(lambda rows: [])),
    ),
    Case("a possible but wrong price", 0, DONE, "other", fault("klines", HIGHER), after=verify_names_the_wrong_price),
    Case(
        "symbol list without symbols",
        5,
        "exchangeInfo lists no symbols",
        "none",
        fault("exchangeInfo", Answer(200, {"rateLimits": [], "symbols": []})),
    ),
    Case("machine clock five hours ahead", 0, DONE, "all", machine_clock_off_by(5 * MS_PER_HOUR)),
    Case("machine clock five hours behind", 0, DONE, "all", machine_clock_off_by(-5 * MS_PER_HOUR)),
    Case("machine clock years ahead", 0, DONE, "all", settings()),
    Case(
        "exchange clock that steps to and fro",
        0,
        "BTCUSDT/1m: ok",
        "other",
        exchange_clock_steps,
        after=all_that_had_closed_by_the_earlier_clock,
    ),
    Case("exchange clock 40 seconds ahead", 0, "the earlier counts", "all", time_is_ahead_by(40_000)),
    Case("exchange clock three hours ahead", 0, "the earlier counts", "all", time_is_ahead_by(3 * MS_PER_HOUR)),
    Case(
        "exchange clock that falls back after it was asked",
        3,
        "it is not finished, and the exchange's clock was ahead",
        "part",
        exchange_clock_falls_back,
    ),
    Case("exchange clock without a time", 5, "expected serverTime", "none", fault("/time", Answer(200, {"now": 1}))),
    Case(
        "exchange clock at 1970",
        5,
        "expected serverTime",
        "none",
        fault("/time", AlterBody(lambda body: b'{"serverTime":0}')),
    ),
]

CASES = [*NETWORK, *page_cases(), *ARCHIVES, *file_cases()]
GROUPS: dict[str, dict[str, Outcome]] = {}  # what came of the runs that cases share, by group and symbol


@contextmanager
def replay(cases: list[Case]) -> Iterator[ReplayExchange]:
    """The exchange that the cases of a run meet, with a series for each."""
    store = CandleStore()
    for case in cases:
        store.add(case.series, rows_of(case.series.interval.code))
    with ReplayExchange(store, ReplayClock(REST_NOW_MS if cases[0].by_rest else ARCHIVE_NOW_MS, speed=0.0)) as exchange:
        yield exchange


def set_up(program: Program, exchange: ReplayExchange, cases: list[Case]) -> int:
    hurry(program)
    program.settings["NO_PROXY"] = "*"
    serve(program, exchange)
    for case in cases:
        case.prepare(program, exchange)
    return exchange.clock.now_ms()


def judge(case: Case, outcome: Outcome) -> None:
    """What holds for every row: the code, the message, no bug shown, no wrong candle and no silence."""
    print(outcome.said)
    assert outcome.exit == case.exit
    assert case.message in outcome.said
    assert "Traceback" not in outcome.said
    if case.stored == "other":
        return
    assert set(outcome.stored) <= set(outcome.truth)
    assert outcome.exit != 0 or outcome.stored == outcome.truth
    assert {"all": len(outcome.truth), "none": 0}.get(case.stored, len(outcome.stored)) == len(outcome.stored)


def run_group(program: Program, cases: list[Case]) -> dict[str, Outcome]:
    """Run all cases of a group at once. The code of one is 0 or 3: as its own outcome says and the run's does too."""
    found = {}
    with replay(cases) as exchange:
        began_ms = set_up(program, exchange, cases)
        done = program.run("--symbols", *(str(case.series) for case in cases), *cases[0].arguments)
        for case in cases:
            lines = (done.stdout + done.stderr).splitlines()
            said = "\n".join(line for line in lines if re.search(rf"\b{case.symbol}\b", line))
            code = 0 if f"{case.series}: ok, inserted" in said else 3
            assert code == 0 or done.returncode == code
            stage = Stage(program, exchange, case, began_ms)
            found[case.symbol] = Outcome(code, said, stage.stored, stage.truth)
        assert done.returncode == max(outcome.exit for outcome in found.values()), done.stderr
    assert not list(program.folder.parent.rglob("x.csv"))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_the_program_does_about(request: pytest.FixtureRequest, case: Case) -> None:
    if case.group:
        if case.group not in GROUPS:
            program: Program = request.getfixturevalue("program")  # not before: most need no database of their own
            GROUPS[case.group] = run_group(program, [one for one in CASES if one.group == case.group])
        judge(case, GROUPS[case.group][case.symbol])
        return
    program = request.getfixturevalue("program")
    with replay([case]) as exchange:
        began_ms = set_up(program, exchange, [case])
        stage = Stage(program, exchange, case, began_ms)
        done = stage.backfill()
        judge(case, Outcome(done.returncode, done.stdout + done.stderr, stage.stored, stage.truth))
        if case.after is not None:
            case.after(stage)


def rows_of_the_document(title: str) -> list[list[str]]:
    """The cells of the rows below a heading of the document."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def test_the_document_has_a_row_for_every_case_and_no_other() -> None:
    titles = ["Network, host and clock", "Pages of candles", "Archives"]
    rows = [row for title in titles for row in rows_of_the_document(title)]
    written = [(row[0], row[3], row[4].split(":")[0]) for row in rows]
    assert written == [(case.id, str(case.exit), case.stored) for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        assert row[2].strip("`") in case.message or case.message in row[2].strip("`"), case.id


# --- What is not as it should be ----------------------------------------------------------------------------------


def run_with_time(program: Program, server_time_ms: int) -> Outcome:
    """Let the exchange's `/time` answer this; its candles are those of REST_NOW_MS."""
    body = b'{"serverTime":%d}' % server_time_ms
    case = Case("wrong time", 0, "", "all", fault("/time", AlterBody(lambda _: body)))
    with replay([case]) as exchange:
        stage = Stage(program, exchange, case, set_up(program, exchange, [case]))
        done = stage.backfill()
        return Outcome(done.returncode, done.stdout + done.stderr, stage.stored, stage.truth)


def test_a_time_that_is_hours_ahead_lets_no_open_candle_in(program: Program) -> None:
    outcome = run_with_time(program, REST_NOW_MS + 5 * MS_PER_HOUR)
    assert set(outcome.stored) <= set(outcome.truth)


def test_a_time_beyond_the_calendar_is_no_bug_of_this_program(program: Program) -> None:
    outcome = run_with_time(program, 999_999_999_999_999_999)
    assert outcome.exit == 5
    assert "Traceback" not in outcome.said


def test_a_last_day_whose_archive_is_broken_is_named_where_only_archives_are_allowed(program: Program) -> None:
    broken = AlterBody(lambda body: body[:-1] if body[:2] == b"PK" else body)
    prepare = both(fault("2024-02.zip", broken), fault("2024-02-29.zip", broken))
    case = Case("last day", 3, "", "part", prepare, ONLY_ARCHIVES)
    with replay([case]) as exchange:
        stage = Stage(program, exchange, case, set_up(program, exchange, [case]))
        done = stage.backfill()
        assert len(stage.truth) - len(stage.stored) == 96
        print(done.stdout, done.stderr, stage.run("check").stdout)
        assert done.returncode == 3 or stage.run("check").returncode == 3
