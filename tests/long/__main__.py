"""All long runs, one after the other: `python tests/long --seed 1`.

Prints what each of them prints and its summary once more at the end; ends with 1 when any of them found a violation.
`docs/reliability.md` says how long that takes and what came of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RUNS = (
    ("suite.py",),
    ("crashes.py", "--runs", "200"),
    ("hostile.py", "--rounds", "10"),
    ("soak.py", "--days", "3"),
    ("live.py", "--cuts", "50"),
    ("live_kills.py", "--kills", "100"),
    ("live_starts.py", "--starts", "40"),
    ("live_turnovers.py", "--turnovers", "50"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    seed = str(parser.parse_args().seed)
    ends = [run([str(FOLDER / script), "--seed", seed, *options]) for script, *options in RUNS]
    print()
    for (script, *_), (code, summary) in zip(RUNS, ends, strict=True):
        print(f"{script}: exit {code}, {summary}")
    return max(code for code, _ in ends)


def run(command: list[str]) -> tuple[int, str]:
    """Run one of the scripts, pass on its lines and return its exit code and last line."""
    last = ""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip()
    return (1 if process.returncode else 0), last


if __name__ == "__main__":
    sys.exit(main())
