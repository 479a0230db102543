"""What the benchmarks share: a server and an exchange of their own, the program as a subprocess, interleaved rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from config.settings import SETTINGS  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402


@contextmanager
def own_server(folder: Path) -> Iterator[EmbeddedServer]:
    """Run an embedded PostgreSQL with its default settings in `folder`, and stop it."""
    server = EmbeddedServer(folder / "pgdata")
    server.ensure_running()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def own_folder() -> Iterator[Path]:
    """Give a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ohlcv-benchmark-") as folder:
        yield Path(folder)


def program_environment(folder: Path, server: EmbeddedServer, exchange: ReplayExchange) -> dict[str, str]:
    """Return the environment in which the program uses `server` and `exchange` and leaves nothing outside `folder`."""
    return {
        **os.environ,
        **{setting.name: "" for setting in SETTINGS},  # a .env of whoever measures changes nothing
        "PYTHONDONTWRITEBYTECODE": "",  # compiling its modules anew is not what a user's second run waits for
        "EMBEDDED_PG_DIR": str(server.data_dir),
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "logs"),
        "SYMBOLS_FILE": str(folder / "symbols.yml"),
        **dict.fromkeys(("BINANCE_API_URL", "BINANCE_UM_API_URL", "BINANCE_CM_API_URL"), exchange.url),
        "BINANCE_ARCHIVE_URL": exchange.archive_url,
        "BINANCE_ARCHIVE_LIST_URL": exchange.archive_list_url,
    }


def run_program(
    environment: Mapping[str, str], *arguments: str, accepted: Sequence[int] = (0,)
) -> tuple[dict[str, Any], float, float]:
    """Run the entrypoint with --json; return its document, the seconds it took and its peak memory in MiB."""
    command = [sys.executable, str(PROJECT / "ohlcv_data_fetcher.py"), *arguments, "--json"]
    began = time.monotonic()
    output, peak_mib = run_measured(command, environment, accepted)
    return json.loads(output), time.monotonic() - began, peak_mib


def run_measured(
    command: Sequence[str], environment: Mapping[str, str], accepted: Sequence[int] = (0,)
) -> tuple[str, float]:
    """Return what a command printed and the peak of its resident memory in MiB.

    Raises SystemExit when it ends with another code than those `accepted`.

    The peak is the kernel's count for the process itself (VmHWM), looked at often (Linux): a child's ru_maxrss would
    begin with the memory of the process that started it.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=errors)  # noqa: S603
        peak_kib = 0
        while process.poll() is None:
            peak_kib = max(peak_kib, _peak_kib(process.pid))
            time.sleep(0.01)
        output.seek(0)
        errors.seek(0)
        if process.returncode not in accepted:
            raise SystemExit(f"{command} ended with {process.returncode}: {output.read()}{errors.read()[-2000:]}")
        return output.read(), peak_kib / 1024


def _peak_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def psql(server: EmbeddedServer, commands: str) -> float:
    """Run commands in psql and return the seconds it took. Raises CalledProcessError."""
    began = time.monotonic()
    line = server.psql_line() + " -X -q -v ON_ERROR_STOP=1"
    subprocess.run(line, shell=True, input=commands, text=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S602
    return time.monotonic() - began


def write_archive(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """Write candles as an archive of the exchange: a zip with one CSV of the same name, without header."""
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}.csv", text)
    return path


def rounds(actions: Mapping[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Return the seconds of each action, in `count` rounds that take them in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(count):
        for name, action in actions.items():
            began = time.monotonic()
            action()
            seconds[name].append(time.monotonic() - began)
    return seconds


def print_line(line: Mapping[str, object]) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)  # noqa: T201


def print_ratio(name: str, upper: Sequence[float], lower: Sequence[float], **more: object) -> None:
    """Print the median of the rounds' ratios, and the ratios, as a line of JSON."""
    ratios = [one / other for one, other in zip(upper, lower, strict=True)]
    line = {"ratio": name, "median": round(statistics.median(ratios), 3), "of": [round(r, 2) for r in ratios], **more}
    print_line(line)
