"""The tests that take long, and all property tests with ten times the examples: `python tests/long/suite.py --seed 1`.

The former are marked `long`. The seed is for both; pytest tells what failed, and the script
ends with 0 only when nothing did.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    options = ["-q", "-m", "long or hypothesis", "--hypothesis-profile=long", "--timeout=1200"]
    seeds = [f"--seed={seed}", f"--hypothesis-seed={seed}"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, *seeds], cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
