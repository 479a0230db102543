"""A run that has ended does not stay: no thread of it waits on, and nothing is said where nothing is wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from program import PROJECT, Program

import ohlcv_data_fetcher
from demo.faults import Answer
from demo.server import ReplayExchange

BOTH = ("--symbols", "BTCUSDT", "um:BTCUSDT/5m", "--start", "2025-01-03", "--source", "rest")
# The disk is full when the first series is committed, and the other one has long begun to wait.
FULL_DISK = """
create function full_disk() returns trigger language plpgsql as $$
begin
    perform pg_sleep(3);
    raise exception 'no space left on device' using errcode = '53100';
end $$;
create trigger full_disk before insert on public.ohlcv_ledger execute function full_disk();
"""


@pytest.fixture
def ends_while_waiting(program: Program, exchange: ReplayExchange) -> Program:
    program.query(FULL_DISK)
    exchange.faults.add("/fapi/v1/klines", Answer(429, headers={"Retry-After": "45"}), times=100, after=2)
    return program


def test_an_error_that_ends_the_run_ends_the_process_though_a_worker_waits(ends_while_waiting: Program) -> None:
    began = time.monotonic()
    done = ends_while_waiting.run_fresh(*BOTH)
    assert done.returncode == 6, done.stderr
    assert "no space left on device" in done.stderr
    assert time.monotonic() - began < 30


def test_a_call_that_failed_leaves_no_thread_that_waits(ends_while_waiting: Program) -> None:
    before = set(threading.enumerate())
    code = ohlcv_data_fetcher.main(BOTH, ends_while_waiting.full_environment())
    assert code == 6
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("fetch"):
            thread.join(5)
            assert not thread.is_alive()


def test_a_quiet_run_says_nothing_at_all(program: Program, exchange: ReplayExchange) -> None:
    done = program.run_fresh("--symbols", "BTCUSDT", "--start", "2025-01-09", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_allocator_is_named_that_arrow_may_lack() -> None:
    """Arrow says on stderr that it lacks one, on ARM for example, and cron mails that."""
    tell = (
        "import os, ohlcv_data_fetcher as it; it._keep_memory_low(); print('ARROW_DEFAULT_MEMORY_POOL' in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", tell], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
