"""Commands called again and again in one process, as a service does: nothing of a call outlives it."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from program import BACKEND, Program

from demo.server import ReplayExchange
from ohlcv_data_fetcher import main

SHORT = ["--symbols", "BTCUSDT", "BTCUSDT/1h", "--start", "2025-01-09"]


def call(program: Program, *arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main(arguments, program.full_environment(), out, err)
    return code, out.getvalue(), err.getvalue()


# The simulated exchange lives in this process too: its threads come and go with its connections.
OF_THE_EXCHANGE = ("(serve_forever)", "(process_request_thread)")


def threads_of_calls() -> list[str]:
    """Return the names of the threads that are not the simulated exchange's."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.endswith(OF_THE_EXCHANGE))


def footprint(program: Program) -> dict[str, Any]:
    """Return everything of this process that a call could leave behind."""
    root = logging.getLogger()
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return {
        "threads": threads_of_calls(),
        "handlers": (list(root.handlers), root.level, logging.getLogger("urllib3").level),
        "signals": (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), wakeup),
        "environment": dict(os.environ),
        "streams": (sys.stdout, sys.stderr, sys.stdout.errors),
        "connections": program.query(f"select count(*) from pg_stat_activity where {BACKEND}"),
    }


def settled(program: Program, before: dict[str, Any]) -> dict[str, Any]:
    """Return the footprint, a backend of the server and a worker being given a moment to end."""
    deadline = time.monotonic() + 10
    while (after := {part: is_now for part, is_now in footprint(program).items() if part in before}) != before:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return after


def test_twenty_calls_leave_the_process_as_it_was(program: Program, exchange: ReplayExchange) -> None:
    before = footprint(program)
    calls = [SHORT, ["check"], ["status", "--json"], ["verify", "--verbose"], ["chekc"]] * 3
    calls += [["--help"], ["check", "--heal"], ["verify", "--undo", "nothing"], ["--symbols", "BTCUSDT/7m"], SHORT]
    codes = [call(program, *arguments)[0] for arguments in calls]
    assert codes == [0, 0, 0, 0, 2] * 3 + [0, 0, 2, 2, 0]
    assert settled(program, before) == before


def test_calls_from_other_threads_run_side_by_side_and_leave_signals_alone(
    program: Program, exchange: ReplayExchange
) -> None:
    before = footprint(program)
    assert call(program, *SHORT)[0] == 0
    results: dict[int, tuple[int, str, str]] = {}
    commands = [["status", "--json"], ["check", "--json"], ["verify", "--json"], ["status", "--json"]]

    def work(number: int) -> None:
        results[number] = call(program, *commands[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(commands))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results[number][0] for number in range(len(commands))] == [0, 0, 0, 0]
    assert all(json.loads(results[number][1])["series"] for number in range(len(commands)))
    handlers, *_ = before.pop("handlers")  # calls side by side share the root logger, and its level
    assert settled(program, before) == before
    assert logging.getLogger().handlers == handlers


def test_a_call_writes_to_the_streams_it_was_given(program: Program, exchange: ReplayExchange, capfd: Any) -> None:
    code, out, err = call(program, "--help")
    assert (code, err) == (0, "") and "commands (backfill when none is given)" in out
    code, out, err = call(program, "status", "--sybmols", "BTCUSDT", "--json")
    assert code == 2 and "did you mean --symbols?" in err and json.loads(out)["exit_code"] == 2
    code, out, err = call(program, *SHORT)
    assert code == 0 and out.startswith("ok: 2 series") and "INFO" in err
    assert capfd.readouterr() == ("", "")
