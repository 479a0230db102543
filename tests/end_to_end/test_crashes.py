"""A run that is killed or told to stop leaves nothing that the next run does not bring to the truth."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_engine import (
    ARCHIVES,
    HEAL,
    REPAIR,
    REST,
    SLOW_REST,
    Bench,
    Job,
    count_ledger,
    started,
    wait_for,
)
from program import Program

from core.series import parse_series
from demo.faults import Stall

STALL_S = 30.0
PLANTED = "spot_BTCUSDT_1m.json.4194300.tmp"  # as a run that is killed between writing and renaming leaves it


# tests/long/crashes.py kills hundreds of times; one shows here that what it does still works.
@pytest.mark.parametrize(
    ("job", "share"), [(REST, 0.55), pytest.param(REPAIR, 0.85, marks=pytest.mark.long)], ids=["rest", "repair"]
)
def test_a_killed_run_started_again_ends_as_one_that_nothing_happened_to(bench: Bench, job: Job, share: float) -> None:
    report = bench.crash(job, share)
    assert report.differences == []
    assert report.rows_compared > 10_000


@pytest.mark.parametrize(
    ("job", "stop", "slow"),
    [
        (REST, signal.SIGTERM, SLOW_REST),
        pytest.param(ARCHIVES, signal.SIGINT, "BTCUSD_PERP-5m-2024-02.zip", marks=pytest.mark.long),
    ],
    ids=["rest-sigterm", "archives-sigint"],
)
def test_a_backfill_told_to_stop_ends_at_once_and_the_next_one_completes(
    bench: Bench, job: Job, stop: signal.Signals, slow: str
) -> None:
    expected, _ = bench.undisturbed(job)
    with bench.program(job) as program:
        # The first series comes, then an answer that would take long: it must not be waited for.
        bench.exchange.faults.add(slow, Stall(STALL_S), times=100)
        stop_and_measure(bench, job, program, stop, lambda: count_ledger(program) >= 4)
        kept = bench.picture(program, job, 0)
        assert 0 < sum(kept.rows.values()) < sum(expected.rows.values())
        assert not [fault for fault in kept.faults if "vouch" in fault or "counts" in fault or "lock" in fault]
        code = program.run(*job.arguments).returncode
        assert bench.picture(program, job, code).differences(expected) == []


@pytest.mark.parametrize(
    ("job", "stop"),
    [pytest.param(HEAL, signal.SIGTERM, marks=pytest.mark.long), (REPAIR, signal.SIGINT)],
    ids=["heal-sigterm", "repair-sigint"],
)
def test_a_heal_or_repair_told_to_stop_ends_at_once(bench: Bench, job: Job, stop: signal.Signals) -> None:
    expected, _ = bench.undisturbed(job)
    with bench.program(job) as program:
        asked_before = bench.exchange.count("klines")
        bench.exchange.faults.add("klines", Stall(STALL_S), times=100)
        stop_and_measure(bench, job, program, stop, lambda: bench.exchange.count("klines") > asked_before)
        code = program.run(*job.arguments).returncode
        assert bench.picture(program, job, code).differences(expected) == []


def stop_and_measure(
    bench: Bench, job: Job, program: Program, stop: signal.Signals, condition: Callable[[], bool]
) -> None:
    """Stop the job when `condition` holds: at once, with the code of the signal, and with a word on what is kept."""
    try:
        with started(program, *job.arguments) as process:
            wait_for(condition)
            process.send_signal(stop)
            began = time.monotonic()
            assert process.wait(20) == 128 + stop
            assert time.monotonic() - began < 5
    finally:
        bench.exchange.faults.clear()
    told = (program.folder / "stderr").read_text()
    assert f"stopped by {stop.name}; what was committed stays" in told
    assert "Traceback" not in told


def test_a_first_start_killed_before_its_database_was_made_is_completed_by_the_next_run(bench: Bench) -> None:
    with bench.program(REST) as program:
        # The server runs, as a killed run leaves it between pg_ctl and "create database".
        bench.execute("drop database if exists ohlcv")
        program.settings |= {"DATABASE_URL": "", "EMBEDDED_PG_DIR": str(bench.server.data_dir)}
        done = program.run("--symbols", "BTCUSDT", "--source", "rest", "--start", "2024-02-13", "--end", "2024-02-14")
        assert done.returncode == 0, done.stderr


def test_half_written_downloads_of_a_killed_run_are_removed_a_day_later(bench: Bench) -> None:
    with bench.program(REST) as program:
        downloads = program.folder / "state" / "downloads"
        downloads.mkdir(parents=True)
        old, young = downloads / "BTCUSDT-1m-2024-02.zip.a.part", downloads / "BTCUSDT-1m-2024-02.zip.b.part"
        for path in (old, young):
            path.write_bytes(b"half")
        two_days_ago = time.time() - 2 * 86_400
        os.utime(old, (two_days_ago, two_days_ago))
        program.run(*REST.arguments)
        assert [path.name for path in downloads.iterdir()] == [young.name]


def test_a_state_file_half_written_by_a_killed_run_is_removed_a_day_later(bench: Bench) -> None:
    with bench.program(REST) as program:
        left = plant_half_state(program.folder / "state")
        assert parse_series("BTCUSDT").file_stem in left.name
        program.run(*REST.arguments)
        assert not left.exists()


def plant_half_state(folder: Path) -> Path:
    """Leave half of a state file of two days ago, under the name of a process that is no more."""
    folder.mkdir(parents=True)
    left = folder / PLANTED
    left.write_text('{"version": 1, "mark')
    two_days_ago = time.time() - 2 * 86_400
    os.utime(left, (two_days_ago, two_days_ago))
    return left
