"""The server goes away amid a run: a clear end, candles and ledger that agree, and the next run completes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg2
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
from program import BACKEND, Program
from servers import SERVER_OPTIONS

from core.exit_codes import EXIT_DATABASE
from demo.faults import Stall

# The second series comes slowly, so that no run can be over before the server is gone.
SLOW = {"rest": SLOW_REST, "archives": "BTCUSD_PERP-5m-2024-02.zip", "heal": "klines", "repair": "klines"}


def stop_server(bench: Bench, program: Program) -> None:
    """Stop as a crash does: what was not yet on its way to the disk is gone."""
    bench.server._run("pg_ctl", "stop", "-D", str(bench.server.data_dir), "-m", "immediate", "-w")


def end_connection(bench: Bench, program: Program) -> None:
    program.query(f"select pg_terminate_backend(pid) from pg_stat_activity where {BACKEND}")


def after_commits(count: int, seconds: float) -> Callable[[Program], None]:
    """Return a wait for `count` more ledger rows than there were and a while."""

    def wait(program: Program) -> None:
        wait_for(lambda: count_ledger(program) >= count)
        time.sleep(seconds)

    return wait


def in_copy(program: Program) -> None:
    """Wait for the COPY of a month."""
    running = "select count(*) from pg_stat_progress_copy where datname = current_database()"
    wait_for(lambda: program.query(running) == [(1,)])


DICE = random.Random(7)
MOMENTS: list[tuple[str, Job, Callable[[Program], None]]] = [
    *((f"rest-{n}", REST, after_commits(n, DICE.uniform(0, 0.1))) for n in (0, 1, 4)),
    ("archives-copy", ARCHIVES, in_copy),
    ("archives-1", ARCHIVES, after_commits(1, DICE.uniform(0, 0.05))),
]


def at(names: Sequence[str], in_the_suite: str) -> pytest.MarkDecorator:
    """Try these moments: one in the suite, the others in the long runs."""
    chosen = [(name, job, moment) for name, job, moment in MOMENTS if name in names]
    marks = {name: () if name == in_the_suite else pytest.mark.long for name in names}
    cases = [pytest.param(job, moment, id=name, marks=marks[name]) for name, job, moment in chosen]
    return pytest.mark.parametrize(("job", "moment"), cases)


@at(["rest-0", "rest-1", "rest-4", "archives-copy", "archives-1"], in_the_suite="rest-1")
def test_a_backfill_survives_the_crash_of_the_server(bench: Bench, job: Job, moment: Callable[[Program], None]) -> None:
    lose_the_database(bench, job, moment, stop_server)


@pytest.mark.long
@at(["rest-1", "rest-4", "archives-copy"], in_the_suite="archives-copy")
def test_a_backfill_survives_the_end_of_its_connection(
    bench: Bench, job: Job, moment: Callable[[Program], None]
) -> None:
    lose_the_database(bench, job, moment, end_connection)


@pytest.mark.parametrize("job", [pytest.param(HEAL, marks=pytest.mark.long), REPAIR], ids=["heal", "repair"])
def test_heal_and_repair_survive_the_crash_of_the_server(bench: Bench, job: Job) -> None:
    asked_before = bench.exchange.count("klines")
    lose_the_database(
        bench, job, lambda program: wait_for(lambda: bench.exchange.count("klines") > asked_before), stop_server
    )


def lose_the_database(
    bench: Bench, job: Job, moment: Callable[[Program], None], lose: Callable[[Bench, Program], None]
) -> None:
    """Let `lose` happen at `moment`; then nothing is half there, and the next run ends as if nothing had been."""
    expected, _ = bench.undisturbed(job)
    with bench.program(job) as program:
        bench.exchange.faults.add(SLOW[job.name], Stall(3.0))
        try:
            with started(program, *job.arguments) as process:
                moment(program)
                lose(bench, program)
                code = process.wait(30)
        finally:
            bench.exchange.faults.clear()
            bench.server.ensure_running(SERVER_OPTIONS)
        told = (program.folder / "stderr").read_text()
        assert code == EXIT_DATABASE, told
        # The second where the run had not connected yet.
        assert "run again when the server is back" in told or "and that the server is running" in told
        assert "Traceback" not in told
        # Damaged tables do not agree yet, and the server may have been gone before the first table was there.
        if not job.is_on_full_tables and bench.has_tables(program):
            kept = bench.picture(program, job, code)
            assert not [fault for fault in kept.faults if "vouch" in fault or "counts" in fault or "lock" in fault]
        code = program.run(*job.arguments).returncode
        assert bench.picture(program, job, code).differences(expected) == []


@contextmanager
def locked_table(program: Program, table: str) -> Iterator[None]:
    """Hold a lock on `table` that lets others read but not write, as an administrator's statement may for hours."""
    found = f"select to_regclass('public.{table}') is not null"
    wait_for(lambda: program.query(found) == [(True,)])
    connection = psycopg2.connect(program.database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"lock table public.{table} in share mode")
        yield
    finally:
        connection.close()


@pytest.mark.long
def test_a_run_that_waits_for_a_lock_survives_the_crash_of_the_server(bench: Bench) -> None:
    def wait_in_copy(program: Program) -> None:
        with locked_table(program, "ohlcv_btcusdt"):
            wait_for(lambda: waits_for_lock(program))
            stop_server(bench, program)

    lose_the_database(bench, REST, wait_in_copy, lambda bench, program: None)


def test_a_run_that_waits_for_a_lock_can_be_stopped(bench: Bench) -> None:
    with (
        bench.program(REST) as program,
        started(program, *REST.arguments) as process,
        locked_table(program, "ohlcv_btcusdt"),
    ):
        wait_for(lambda: waits_for_lock(program))
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 143


def waits_for_lock(program: Program) -> bool:
    found = program.query(f"select count(*) from pg_stat_activity where {BACKEND} and wait_event_type = 'Lock'")
    return found == [(1,)]


def test_a_run_whose_server_says_nothing_any_more_can_be_stopped(bench: Bench) -> None:
    """As when the server's machine is gone: neither an answer nor an end of the connection."""
    with bench.program(REST) as program:
        with started(program, *REST.arguments) as process, locked_table(program, "ohlcv_btcusdt"):
            wait_for(lambda: waits_for_lock(program))
            ((pid,),) = program.query(f"select pid from pg_stat_activity where {BACKEND} and wait_event_type = 'Lock'")
            os.kill(pid, signal.SIGSTOP)
            try:
                process.send_signal(signal.SIGINT)
                assert process.wait(15) == 130
            finally:
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: program.query(f"select 1 from pg_stat_activity where {BACKEND}") == [])
        code = program.run(*REST.arguments).returncode
        assert bench.picture(program, REST, code).differences(bench.undisturbed(REST)[0]) == []
