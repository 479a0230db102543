"""A month of three series through an exchange that answers every twentieth request wrongly, again and again.

    .venv/bin/python tests/long/hostile.py --seed 1 --rounds 10

A round is a database of its own, a run that meets the faults, and up to five more until one ends with 0. At the end
of each run what is stored must be a subset of the truth, equal to it where the exit code is 0, and `check --json` must
name every candle that lacks. No request may go into a ban, or come before a Retry-After is over. Prints a JSON line a
round and a summary; ends with 1 on any violation.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests"), str(PROJECT / "tests" / "end_to_end")]

from candles import Row, truth_rows  # noqa: E402
from hostile_market import FAULTS, SHIFTS_MS, hurry, late_line  # noqa: E402
from program import Program, serve  # noqa: E402
from servers import database_server, fresh_database  # noqa: E402

from core.ranges import Span  # noqa: E402
from core.series import Series, parse_series  # noqa: E402
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.faults import Action, AlterArchive, AlterBody, AlterRows, Answer, Reset, Stall  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from demo.weights import WeightLimits  # noqa: E402

SPAN = Span(parse_time("2024-02-01"), parse_time("2024-03-01"))
NOW_MS = parse_time("2024-03-03T00:01")  # the month's files are not out: days and REST
SERIES = [parse_series(text) for text in ("BTCUSDT", "um:BTCUSDT/5m", "cm:BTCUSD_PERP/15m")]
SHARE = 0.05
RERUNS = 5
BAN_S = 3
_SLACK_MS = 100  # a request that was on its way when the 429 or 418 was sent
LIMITED = {"code": -1003, "msg": "Too much request weight used."}
PAUSE = Answer(429, LIMITED, {"Retry-After": "1"})
BAN = Answer(418, LIMITED, {"Retry-After": str(BAN_S)})
BOUNDLESS_BANS = [
    Answer(418, LIMITED, {"Retry-After": "999999999"}),
    Answer(429, LIMITED, {"Retry-After": "999999999"}),
    Answer(418, {"code": -1003, "msg": "Way too much request weight used; IP banned until 9999999999999."}),
]
LONGEST_BAN_MS = 73 * 3_600_000  # three days and a margin
SICK_RUNS = 2  # for so many runs of a round one symbol answers with server faults alone
AWAY_S = 10  # for so long the archives' host is away, once in a round


def _with_third(rows: list[Any], position: int, value: object) -> list[Any]:
    return [[*r[:position], value, *r[position + 1 :]] if i == 2 else r for i, r in enumerate(rows)]


MORE_FAULTS: list[Action] = [
    PAUSE,
    PAUSE,
    Stall(0.3),
    Answer(404, "<html>no</html>"),
    Answer(408, ""),
    AlterRows(lambda rows: [row[:11] for row in rows]),
    AlterRows(lambda rows: _with_third(rows, 4, "")),
    AlterRows(lambda rows: _with_third(rows, 3, "-1")),
    AlterRows(lambda rows: _with_third(rows, 2, "9" * 30)),
    AlterRows(lambda rows: _with_third(rows, 2, "0.00000001")),
    AlterRows(lambda rows: [[row[0] - 5 * MS_PER_MINUTE, *row[1:]] for row in rows]),
    AlterRows(lambda rows: [*rows[1:], *([[rows[-1][0] + 40 * MS_PER_DAY, *rows[-1][1:]]] if rows else [])]),
    AlterRows(lambda rows: rows[1:]),
    AlterRows(lambda rows: rows[:-1]),
    AlterBody(lambda body: body[: len(body) // 3] + b"\0" + body[len(body) // 3 + 1 :]),
]


@dataclass
class Tally:
    """What happened so far."""

    requests: int = 0
    faults: int = 0
    runs: int = 0
    rows_compared: int = 0
    losses: int = 0
    violations: list[str] = field(default_factory=list)


class HostileScript:
    """Stands in for the exchange's fault script: each request meets a fault with the given chance."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        # What is wrong for good: a candle that cannot be, a file with a candle off the grid; and for a while: a symbol.
        self.sick = dice.choice([None, *SERIES])
        self.cursed = dice.choice(SERIES)
        self.cursed_ms = self.cursed.interval.floor(dice.randrange(SPAN.start_ms, SPAN.end_ms))
        shift_ms = dice.choice(SHIFTS_MS)
        self._shifted_file = f"{dice.choice(SERIES).symbol}-{{}}-2024-02-{dice.randrange(1, 30):02}".split("{}")
        self._shift = AlterArchive(lambda lines: late_line(lines, shift_ms))
        self._away_from_s = time.monotonic() + dice.uniform(0, 5)
        self._lock = threading.Lock()
        self.share = SHARE
        # One fault in twenty is a ban: more, and hardly a run would get anywhere.
        self.ban_share = 0.05
        self.actions: list[Action] = [*FAULTS, *MORE_FAULTS]
        self.met: Counter[str] = Counter()

    def take(self, target: str) -> Action | None:
        """Return a fault for one request in twenty."""
        with self._lock:
            is_rest = any(part in target for part in ("/api/", "/fapi/", "/dapi/"))
            if self._dice.random() >= self.share:
                return self._lasting(target, is_rest)
            if is_rest and self._dice.random() < self.ban_share:
                action: Action = self._dice.choice([BAN, BAN, *BOUNDLESS_BANS])
            else:
                action = self._dice.choice(self.actions)
            self.met[f"{type(action).__name__} {getattr(action, 'status', '')}".strip()] += 1
            return action

    def _lasting(self, target: str, is_rest: bool) -> Action | None:
        """Return what is wrong for good, or for a while, with this request."""
        if not is_rest:
            if self._away_from_s <= time.monotonic() < self._away_from_s + AWAY_S:
                return Reset()
            return self._shift if all(part in target for part in (*self._shifted_file, ".zip")) else None
        if "/klines" not in target:
            return None
        if self.sick is not None and _is_about(self.sick, target):
            return Answer(503, "<html>sorry</html>")
        return AlterRows(self._curse) if _is_about(self.cursed, target) else None

    def _curse(self, rows: list[Any]) -> list[Any]:
        return [[*row[:5], "-1", *row[6:]] if row[0] == self.cursed_ms else row for row in rows]


def _is_about(series: Series, target: str) -> bool:
    path = {"spot": "/api/", "um": "/fapi/", "cm": "/dapi/"}[series.market.value]
    return path in target and f"symbol={series.symbol}&" in target


def market(seed: int) -> CandleStore:
    """The month, a day before it and some days after it."""
    store = CandleStore()
    for number, series in enumerate(SERIES):
        wide = Span(SPAN.start_ms - MS_PER_DAY, NOW_MS + MS_PER_DAY)
        store.add(series, generate_series(series, wide, seed * 10 + number))
    return store


def program_in(folder: Path, url: str) -> Program:
    """The program with folders of its own."""
    nowhere = dict.fromkeys(["BINANCE_API_URL", "BINANCE_UM_API_URL", "BINANCE_CM_API_URL"], "http://127.0.0.1:9")
    program = Program(
        folder,
        {
            "DATABASE_URL": url,
            "STATE_DIR": str(folder / "state"),
            "LOG_DIR": str(folder / "logs"),
            "SYMBOLS_FILE": str(folder / "symbols.yml"),
            "EMBEDDED_PG_DIR": str(folder / "pgdata"),
            **nowhere,
        },
        url,
    )
    hurry(program)
    program.settings["NO_PROXY"] = "*"
    program.settings["DEFAULT_LIMIT"] = "200"  # more requests, more faults
    return program


def pool_of(path: str) -> str | None:
    """The address pool whose bans and pauses hold for a request."""
    if path.startswith("/api/"):
        return "spot"
    return "futures" if path.startswith(("/fapi/", "/dapi/")) else None


def forbidden_requests(exchange: ReplayExchange) -> list[str]:
    """Requests that came into a ban or a pause that the exchange had asked for."""
    found = []
    until: dict[str, tuple[int, int, int]] = {}  # pool: refused at, over at, status
    for record in sorted(exchange.requests, key=lambda one: one.at_ms):
        pool = pool_of(record.path)
        if pool is None:
            continue
        if pool in until:
            refused_ms, over_ms, status = until[pool]
            if refused_ms + _SLACK_MS < record.at_ms < over_ms:
                found.append(f"{record.path} came {record.at_ms - refused_ms} ms after a {status}")
        if record.status in (418, 429):
            # A ban is never taken for shorter than two minutes, the shortest that there is.
            wait_s = 120 if record.status == 418 else 1
            over_ms = max(record.at_ms + wait_s * 1000, until.get(pool, (0, 0, 0))[1])
            until[pool] = (record.at_ms, over_ms, record.status)
    return found


def stored(program: Program, series: Series) -> list[Row]:
    there = program.query(f"select to_regclass('public.{series.table_name}') is not null")[0][0]
    return program.stored(series.table_name) if there else []


def unnamed(program: Program, lacking: dict[str, set[int]]) -> list[str]:
    """Candles that lack and that `check --json` does not name."""
    if not any(lacking.values()):
        return []
    done = program.run("check", "--json", *range_arguments())
    if done.returncode != 3:
        return [f"check ends with {done.returncode} although candles lack: {done.stderr[-500:]}"]
    found = []
    for one in json.loads(done.stdout)["series"]:
        table = parse_series(f"{one['market']}:{one['symbol']}/{one['interval']}").table_name
        spans = [
            (parse_time(s["start"]), parse_time(s["end"]))
            for s in (*one["unexplained_in"], *one["never_fetched_in"], *one["gaps"])
        ]
        silent = [ms for ms in lacking.pop(table, set()) if not any(a <= ms < b for a, b in spans)]
        is_empty = not one["stored"] and not one["ranges"]  # `check` says that nothing was ever fetched
        if silent and not is_empty:
            found.append(f"check does not name {len(silent)} candles of {table}, the first at {min(silent)}")
    return found + [f"check leaves {table} out" for table, times in lacking.items() if times]


def range_arguments() -> list[str]:
    return ["--start", "2024-02-01", "--end", "2024-03-01"]


def boundless_bans(folder: Path) -> list[str]:
    """Bans in the state folder that are longer than any ban of the exchange."""
    path = folder / "state" / "exchange_bans.json"
    stops = json.loads(path.read_text()) if path.exists() else {}
    return [f"{pool}: a ban of {one['for_ms']} ms" for pool, one in stops.items() if one["for_ms"] > LONGEST_BAN_MS]


def explained(program: Program, series: Series) -> set[int]:
    """The slots whose row at the exchange cannot be a candle, as the program says."""
    found = program.query(
        "select (extract(epoch from gap_start) * 1000)::bigint from public.ohlcv_gaps join public.ohlcv_series s"
        f" on s.id = series_id where table_name = '{series.table_name}' and reason = 'unusable'"
        " and ohlcv_gaps.status = 'not_at_exchange'"
    )
    return {row[0] for row in found}


def compare(program: Program, code: int, truth: dict[str, list[Row]], tally: Tally, say: Callable[[str], None]) -> None:
    """Hold what is stored after a run against the truth."""
    lacking: dict[str, set[int]] = {}
    for series in SERIES:
        rows, right = stored(program, series), truth[series.table_name]
        tally.rows_compared += len(rows)
        if wrong := set(rows) - set(right):
            say(f"{len(wrong)} wrong rows in {series.table_name}, for one {min(wrong)}")
        if len(rows) != len(set(rows)):
            say(f"doubled rows in {series.table_name}")
        lacking[series.table_name] = {row[0] for row in right} - {row[0] for row in rows} - explained(program, series)
    lost = sum(map(len, lacking.values()))
    if code == 0 and lost:
        tally.losses += lost
        say(f"exit 0 although {lost} candles lack")
    for line in unnamed(program, dict(lacking)):
        say(line)


def play_round(server: EmbeddedServer, seed: int, number: int, tally: Tally) -> dict[str, Any]:
    """One round: its line of the report."""
    dice = random.Random(f"{seed}/{number}")
    began, before = time.monotonic(), len(tally.violations)
    store = market(seed * 100 + number)
    truth = {s.table_name: truth_rows(store.rows(s, SPAN.start_ms, SPAN.end_ms)) for s in SERIES}
    script = HostileScript(dice)
    codes: list[int] = []
    names = [str(series) for series in SERIES]
    limits = WeightLimits(spot=10**6, futures=10**6)
    folder = Path(tempfile.mkdtemp(prefix="ohlcv-round-"))
    try:
        with (
            fresh_database(server, f"round_{os.getpid()}_{number}") as url,
            ReplayExchange(store, ReplayClock(NOW_MS, speed=1.0), weight_limits=limits) as exchange,
        ):
            exchange.faults = script
            program = program_in(folder, url)
            serve(program, exchange)
            for run in range(1 + RERUNS):

                def say(what: str, run: int = run) -> None:
                    tally.violations.append(f"round {number}, run {run}: {what}")

                source = dice.choice(["auto", "rest", "rest"])  # archives alone would be few requests
                done = program.run("--symbols", *names, *range_arguments(), "--source", source, timeout_s=600)
                codes.append(done.returncode)
                if done.returncode not in (0, 3, 5) or "Traceback" in done.stderr:
                    say(f"exit {done.returncode}: {done.stderr[-2000:]}")
                compare(program, done.returncode, truth, tally, say)
                for line in (*forbidden_requests(exchange), *boundless_bans(folder)):
                    say(line)
                for series in SERIES:
                    cursed = {script.cursed_ms} if series == script.cursed else set()
                    if wrong := explained(program, series) - cursed:
                        say(f"{series}: {len(wrong)} candles count as unusable that the exchange has")
                if run + 1 >= SICK_RUNS:
                    script.sick = None
                tally.requests += len(exchange.requests)
                exchange.clear_requests()
                if done.returncode == 0:
                    break
                exchange.clock.advance(31 * MS_PER_MINUTE)  # a second answer counts as one from then on
                (folder / "state" / "exchange_bans.json").unlink(missing_ok=True)  # as if the ban were over
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tally.runs += len(codes)
    tally.faults += sum(script.met.values())
    return {
        "round": number,
        "exit_codes": codes,
        "faults": dict(sorted(script.met.items())),
        "seconds": round(time.monotonic() - began, 1),
        "violations": tally.violations[before:],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    tally = Tally()
    with database_server() as server:
        for number in range(arguments.rounds):
            print(json.dumps(play_round(server, arguments.seed, number, tally)), flush=True)
    summary = {
        "rounds": arguments.rounds,
        "runs": tally.runs,
        "requests": tally.requests,
        "faults": tally.faults,
        "rows_compared": tally.rows_compared,
        "losses": tally.losses,
        "violations": len(tally.violations),
    }
    print(json.dumps(summary))
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
