"""Sets everything up on a machine with nothing but Python 3.11 or newer, then runs it.

    python3 bootstrap.py                 the main job (backfill of symbols.yml)
    python3 bootstrap.py demo            any command of ohlcv_data_fetcher.py, with its options
    python3 bootstrap.py test            the tests

Makes a virtual environment in `.venv`, installs requirements.txt into it (again only when that file
changes) and starts the program there. Uses nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
ENVIRONMENT = PROJECT / ".venv"
REQUIREMENTS = PROJECT / "requirements.txt"
INSTALLED = ENVIRONMENT / "requirements.sha256"


def main(arguments: list[str]) -> int:
    """Set up, then run; returns the exit code of what was run, or does not return."""
    if sys.version_info < (3, 11):
        print(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    try:
        set_up()
    except subprocess.CalledProcessError as error:
        print(f"setting up failed: {' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
        print("On Debian and Ubuntu: sudo apt install python3-venv, then once more", file=sys.stderr)
        return 1
    command = [str(python()), str(PROJECT / "ohlcv_data_fetcher.py"), *arguments]
    if arguments[:1] == ["test"]:
        os.chdir(PROJECT)
        command = [str(python()), "-m", "pytest", *arguments[1:]]
    if os.name == "nt":
        return subprocess.run(command, check=False).returncode
    # Become the program: signals and the exit code are then its own.
    sys.stdout.flush()
    os.execv(command[0], command)


def python() -> Path:
    """Return the interpreter of the virtual environment."""
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def set_up() -> None:
    """Make the virtual environment and install what is missing; says on stderr what it does."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python().exists() and INSTALLED.exists() and INSTALLED.read_text() == wanted:
        return
    print("setting up .venv (once; about a minute) ...", file=sys.stderr)
    if not python().exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True, stdout=sys.stderr)
    INSTALLED.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
