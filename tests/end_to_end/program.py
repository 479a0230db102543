"""Runs the entrypoint as a subprocess, as cron would, and reads what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candles import Row, stored_rows
from forked_program import CAN_FORK, ForkedRun, run_forked

from config.settings import SETTINGS
from db.connection import Database
from demo.server import ReplayExchange

# What Python looks at when it starts, and a fork of a running one does not.
READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ")
PROJECT = Path(__file__).resolve().parents[2]
# The program's own connections, in pg_stat_activity.
BACKEND = "application_name = 'ohlcv_data_fetcher' and datname = current_database()"


@dataclass
class Program:
    """The program with settings of its own: replay exchange, test database, temporary folders."""

    folder: Path
    environment: dict[str, str]
    database_url: str = ""
    exchange: ReplayExchange | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(PROJECT / "ohlcv_data_fetcher.py"), *arguments]

    def full_environment(self) -> dict[str, str]:
        # Every setting is given, so that a .env of whoever runs the tests changes nothing.
        ours = {setting.name: "" for setting in SETTINGS}
        return {**os.environ, **ours, **self.environment, **self.settings}

    def run(self, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run the program to its end: as cron would where Python itself is told something, else forked."""
        if self._can_fork():
            return run_forked(arguments, self.full_environment(), self.folder, timeout_s)
        return self.run_fresh(*arguments, timeout_s=timeout_s)

    def _can_fork(self) -> bool:
        names = self.settings.keys() - {"PYTHONPATH"}
        return CAN_FORK and not any(name.startswith(READ_AT_START) for name in names)

    def run_fresh(self, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run the program to its end as cron would: a new interpreter."""
        return subprocess.run(
            self.command(*arguments),
            env=self.full_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start_writing(self, output: Path, *arguments: str) -> subprocess.Popen[str] | ForkedRun:
        """Start the program as `run` does, with all that it says in the file `output`."""
        if self._can_fork():
            return ForkedRun(arguments, self.full_environment(), self.folder, (output, output))
        with output.open("w") as file:
            return subprocess.Popen(
                self.command(*arguments), env=self.full_environment(), cwd=self.folder, stdout=file, stderr=file
            )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the program as cron would: a new interpreter."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.full_environment(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run_json(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Run with --json, require the exit code, return the document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    def symbols(self, text: str) -> None:
        (self.folder / "symbols.yml").write_text(text, encoding="utf-8")

    def be_impatient(self) -> None:
        """Let heals and verifications not wait the minutes that they give another run."""
        folder = self.folder / "impatient"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "import logic.series_locks\nlogic.series_locks.Patience.wait = lambda self: False\n"
        )
        self.settings["PYTHONPATH"] = str(folder)

    def stored(self, table: str) -> list[Row]:
        database = Database.connect(self.database_url, {}, "tests")
        try:
            with database.transaction("read") as tx:
                return stored_rows(tx, table)
        finally:
            database.close()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        database = Database.connect(self.database_url, {}, "tests")
        try:
            with database.transaction("query") as tx:
                tx.cursor.execute(statement)
                return tx.cursor.fetchall() if tx.cursor.description else []
        finally:
            database.close()

    @property
    def log_text(self) -> str:
        return (self.folder / "logs" / "ohlcv_backfill.log").read_text(encoding="utf-8")


def serve(program: Program, exchange: ReplayExchange) -> None:
    """Point the program at `exchange`."""
    program.exchange = exchange
    program.environment |= {
        "BINANCE_API_URL": exchange.url,
        "BINANCE_UM_API_URL": exchange.url,
        "BINANCE_CM_API_URL": exchange.url,
        "BINANCE_ARCHIVE_URL": exchange.archive_url,
        "BINANCE_ARCHIVE_LIST_URL": exchange.archive_list_url,
    }
