"""Kills the program at random moments, many times over: `python tests/long/crashes.py --seed 1 --runs 200`.

Each run starts a command that writes, kills it (SIGKILL), starts it again, and holds rows, ledger, gaps, corrections,
state files, locks and temporary files against those of a run that nothing happened to. One JSON line a run, a summary
at the end; exit code 1 when anything differs. `--only N` does run N of the seed again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests"), str(PROJECT / "tests" / "end_to_end")]

from crash_engine import CrashReport, Tally, crash_number, numbers, open_bench  # noqa: E402


def main() -> int:
    options = _options()
    began = time.monotonic()
    todo: Any = multiprocessing.Queue()
    done: Any = multiprocessing.Queue()
    chosen = numbers(options.runs, options.only or ())
    for number in [*chosen, *[None] * options.jobs]:
        todo.put(number)
    workers = [multiprocessing.Process(target=_work, args=(options.seed, todo, done)) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    tally = Tally()
    for number, report in _reports(done, options.jobs):
        tally.add(number, report)
        print(json.dumps({"seed": options.seed, "run": number, **asdict(report)}), flush=True)
    for worker in workers:
        worker.join()
    undone = len(chosen) - tally.runs
    print(json.dumps({"summary": asdict(tally), "undone": undone, "seconds": round(time.monotonic() - began)}))
    for number in tally.losses:
        print(f"to repeat: python tests/long/crashes.py --seed {options.seed} --only {number}", file=sys.stderr)
    return 1 if tally.losses or undone else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="only these runs of the seed")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, each with a server of its own")
    return parser.parse_args()


def _work(seed: int, todo: Any, done: Any) -> None:
    try:
        with open_bench() as bench:
            while (number := todo.get()) is not None:
                done.put((number, crash_number(bench, seed, number)))
    finally:
        done.put(None)


def _reports(done: Any, workers: int) -> Any:
    ended = 0
    while ended < workers:
        found: tuple[int, CrashReport] | None = done.get()
        if found is None:
            ended += 1
        else:
            yield found


if __name__ == "__main__":
    sys.exit(main())
