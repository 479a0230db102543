"""State, downloads and logs on a disk that is full: said in plain words, nothing half-written, the data still right."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crash_engine import ARCHIVES, REST, Bench, Job, Picture, temporary_files
from hostile_market import SERIES
from program import Program

from core.times import MS_PER_HOUR
from demo.faults import Answer

BAN_BODY = {"code": -1003, "msg": "Way too much request weight used; IP banned until {until}."}


pytestmark = pytest.mark.usefixtures("small_disks_allowed")


@pytest.fixture(scope="module")
def small_disks_allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no file system can be mounted: there is no other small disk to fill."""
    probe = tmp_path_factory.mktemp("probe")
    try:
        mount(probe, 64)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk needs root and the right to mount a tmpfs")
    unmount(probe)


def mount(folder: Path, kib: int) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True, capture_output=True
    )


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Make `folder` a disk of its own with so little room."""
    folder.mkdir(exist_ok=True)
    mount(folder, kib)
    try:
        yield folder
    finally:
        unmount(folder)


def fill(folder: Path) -> Path:
    """Leave no byte free; the file that takes the room is returned."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    return filler


def without_filler(program: Program) -> list[str]:
    return [name for name in temporary_files(program) if name != "filler"]


def reached(picture: Picture) -> dict[str, tuple[int | None, int | None]]:
    """Return how far the state files say that each series got."""
    return {
        name: (state.covered_until_ms, state.last_candle_ms)
        for name, state in picture.states.items()
        if state is not None
    }


@pytest.mark.parametrize("job", [REST, pytest.param(ARCHIVES, marks=pytest.mark.long)], ids=["rest", "archives"])
def test_a_full_disk_under_the_state_costs_no_candle(bench: Bench, job: Job) -> None:
    expected, _ = bench.undisturbed(job)
    with bench.program(job) as program, small_disk(program.folder / "state", 64) as state:
        filler = fill(state)
        done = program.run(*job.arguments)
        assert "the state file cannot be written" in done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert without_filler(program) == []
        assert list(state.glob("*.json")) == []  # nothing, rather than half of one
        for series in SERIES:
            assert program.stored(series.table_name) == bench.truth(series, job.span)
        filler.unlink()
        code = program.run(*job.arguments).returncode
        # By REST instead of archives the halt has one answer only: the outcome may differ, how far it got may not.
        assert reached(bench.picture(program, job, code)) == reached(expected)
        assert without_filler(program) == []


def test_a_full_disk_under_an_older_state_keeps_it_whole(bench: Bench) -> None:
    expected, _ = bench.undisturbed(REST)
    with bench.program(REST) as program, small_disk(program.folder / "state", 64) as state:
        program.run(*REST.arguments[:-1], "2024-02-15")
        before = {path.name: path.read_text() for path in state.glob("*.json")}
        filler = fill(state)
        done = program.run(*REST.arguments)
        assert "the state file cannot be written" in done.stderr
        assert {path.name: path.read_text() for path in state.glob("*.json")} == before
        assert without_filler(program) == []
        filler.unlink()
        code = program.run(*REST.arguments).returncode
        assert bench.picture(program, REST, code).states == expected.states


def test_archives_that_find_no_room_are_replaced_by_rest(bench: Bench) -> None:
    with bench.program(ARCHIVES) as program, small_disk(program.folder / "state", 256) as state:
        done = program.run(*ARCHIVES.arguments, "--json")
        assert "cannot be written to" in done.stderr
        assert "Traceback" not in done.stderr
        sources = json.loads(done.stdout)["series"][0]["rows_by_source"]
        assert "archive-monthly" not in sources
        assert list((state / "downloads").iterdir()) == []
        for series in SERIES:
            assert program.stored(series.table_name) == bench.truth(series, ARCHIVES.span)


@pytest.mark.long
def test_archives_alone_that_find_no_room_are_an_incomplete_run(bench: Bench) -> None:
    expected, _ = bench.undisturbed(ARCHIVES)
    with bench.program(ARCHIVES) as program:
        with small_disk(program.folder / "state", 64) as state:
            fill(state)
            done = program.run(*ARCHIVES.arguments, "--source", "archive")
            assert done.returncode == 3
            assert "No space left on device" in done.stderr
            assert "Traceback" not in done.stderr
            assert without_filler(program) == []
        code = program.run(*ARCHIVES.arguments).returncode
        picture = bench.picture(program, ARCHIVES, code)
        assert (picture.faults, picture.rows, picture.exit_code) == ([], expected.rows, expected.exit_code)


def test_a_ban_that_finds_no_room_ends_the_run_and_leaves_no_half_file(bench: Bench) -> None:
    with bench.program(REST) as program, small_disk(program.folder / "state", 64) as state:
        fill(state)
        until = int(time.time() * 1000) + MS_PER_HOUR
        body = {**BAN_BODY, "msg": BAN_BODY["msg"].format(until=until)}
        bench.exchange.faults.add("/api/v3/time", Answer(418, body, {"Retry-After": "3600"}))
        try:
            done = program.run("--symbols", "BTCUSDT", "--source", "rest")
        finally:
            bench.exchange.faults.clear()
        assert done.returncode == 5
        assert "cannot be recorded" in done.stderr
        left = [path.name for path in state.iterdir() if path.name != "filler"]
        assert left == []


def test_a_full_disk_under_the_logs_is_said_once_and_costs_no_candle(bench: Bench) -> None:
    expected, _ = bench.undisturbed(REST)
    with bench.program(REST) as program, small_disk(program.folder / "logs", 64) as logs:
        filler = fill(logs)
        done = program.run(*REST.arguments)
        assert done.returncode == expected.exit_code
        assert "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr
        filler.unlink()
        assert program.run(*REST.arguments).returncode == expected.exit_code
        assert "covered to" in program.log_text


def test_a_full_disk_under_the_logs_costs_no_candle(bench: Bench) -> None:
    expected, _ = bench.undisturbed(REST)
    with bench.program(REST) as program, small_disk(program.folder / "logs", 64) as logs:
        fill(logs)
        code = program.run(*REST.arguments).returncode
        assert bench.picture(program, REST, code).differences(expected) == []


def test_a_disk_without_room_for_one_more_file_under_the_logs(bench: Bench) -> None:
    with bench.program(REST) as program:
        logs = program.folder / "logs"
        logs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", str(logs)], check=True)
        try:
            done = program.run(*REST.arguments)
        finally:
            unmount(logs)
        assert done.returncode == 2
        assert "the log folder cannot be written" in done.stderr
        assert list(logs.iterdir()) == []
