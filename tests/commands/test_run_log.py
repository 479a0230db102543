"""The log file, which several runs write at once."""

from __future__ import annotations

import io
import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from commands import run_log
from commands.run_log import LOG_FILE, LogOptions, logging_to

log = logging.getLogger("a run")


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(run_log, "_FILE_BYTES", 1_000)
    yield


def write(folder: Path, run: str, lines: int) -> None:
    with logging_to(LogOptions(run, "ERROR", (), folder, "INFO"), Console(file=io.StringIO())):
        for number in range(lines):
            log.info("line %d", number)


def test_of_two_runs_one_begins_a_new_file_and_the_other_goes_on_in_it(tmp_path: Path) -> None:
    first = run_log._file_handler(LogOptions("first", "ERROR", (), tmp_path, "INFO"), tmp_path)
    second = run_log._file_handler(LogOptions("second", "ERROR", (), tmp_path, "INFO"), tmp_path)
    record = logging.LogRecord("a", logging.INFO, "", 0, "x" * 300, None, None)
    for handler in (first, second, first, second, second):  # a file has room for two
        handler.emit(record)
    for handler in (first, second):
        handler.close()
    told = {path.name: path.read_text().count("x" * 300) for path in tmp_path.iterdir()}
    assert told == {f"{LOG_FILE}.2": 2, f"{LOG_FILE}.1": 2, LOG_FILE: 1}


def test_many_runs_lose_no_line_and_begin_no_file_too_early(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=write, args=(tmp_path, f"run{number}", 20)) for number in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    files = list(tmp_path.iterdir())
    assert len(files) <= run_log._FILES_KEPT + 1
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 80


def test_a_file_that_cannot_be_renamed_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows while another run has it open."""

    def refuse(self: Path, target: object) -> Path:
        raise PermissionError("another process has it open")

    monkeypatch.setattr(Path, "rename", refuse)
    write(tmp_path, "run", 60)
    assert [path.name for path in tmp_path.iterdir()] == [LOG_FILE]
    assert len((tmp_path / LOG_FILE).read_text().splitlines()) == 60
