"""`stream` killed at random moments: the next start goes on, and nothing is lost, doubled or wrong.

    .venv/bin/python tests/long/live_kills.py --seed 1 --kills 100

Kills the program (SIGKILL) at random moments of its start, its backfill and its streaming of candles of a second,
ten times in a row; then lets it run until nothing lacks, ends it by SIGTERM and compares the tables with the exchange
row by row, and `check` with that. Prints a JSON line for each ten kills and a summary; ends with 1 on any violation.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests"), str(PROJECT / "tests" / "end_to_end")]

from live_program import (  # noqa: E402
    OF_A_SECOND,
    assert_true_to_the_end,
    kill,
    live_program,
    most_streamed,
    output_of,
    running,
    wait_for_live,
)
from servers import database_server, fresh_database  # noqa: E402

from db.connection import Database  # noqa: E402
from db.migrate import migrate  # noqa: E402

KILLS_OF_A_ROUND = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    chosen = parser.parse_args()
    rounds = -(-chosen.kills // KILLS_OF_A_ROUND)
    rows, violations = 0, 0
    with database_server("ohlcv-kills-") as server:
        for number in range(rounds):
            with fresh_database(server, f"kills_{number}") as url, tempfile.TemporaryDirectory() as folder:
                stored, violation = a_round(url, Path(folder), random.Random(f"kills/{chosen.seed}/{number}"))
            rows += stored
            violations += bool(violation)
            print(json.dumps({"round": number, "rows": stored, "violation": violation}), flush=True)
    kills = rounds * KILLS_OF_A_ROUND
    print(json.dumps({"seed": chosen.seed, "kills": kills, "rows": rows, "violations": violations}))
    return 1 if violations else 0


def a_round(url: str, folder: Path, lots: random.Random) -> tuple[int, str]:
    """Return how many rows were compared, and what is wrong, or nothing."""
    database = Database.connect(url, {}, "long")
    migrate(database)
    database.close()
    with live_program(url, folder) as program:
        for _ in range(KILLS_OF_A_ROUND):
            with running(program) as process:
                time.sleep(lots.choice([lots.uniform(0, 1), lots.uniform(0, 6)]))
                kill(program, process)
        before = most_streamed(program) if program.query("select 1 from public.ohlcv_ledger limit 1") else 0
        with running(program, output="last.txt") as process:
            try:
                wait_for_live(program, before + 3)
                time.sleep(lots.uniform(0, 1))
            except AssertionError as error:
                return 0, str(error)
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
        try:
            for series in OF_A_SECOND:
                assert_true_to_the_end(program, series)
        except AssertionError:
            return 0, "the tables are not what the exchange has"
        if code != 0:
            return 0, f"exit code {code}: {output_of(program, 'last.txt')}"
        checked = program.run("check", "--symbols", *map(str, OF_A_SECOND))
        if checked.returncode != 0:
            return 0, checked.stdout
        return sum(len(program.stored(series.table_name)) for series in OF_A_SECOND), ""


if __name__ == "__main__":
    sys.exit(main())
