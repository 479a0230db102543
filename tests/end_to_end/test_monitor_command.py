"""`monitor` and `status` tell what a stream is doing, and that it has died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from live_program import SERIES, live, running, wait_for_live
from program import Program
from terminal import run_in_terminal

__all__ = ["live"]


def monitored(program: Program, expect: int) -> dict[str, Any]:
    return program.run_json("monitor", "--once", expect=expect)


@contextmanager
def may_only_read(program: Program) -> Iterator[None]:
    """The program by a role that may read and nothing else."""
    program.query("create role only_reader login; grant select on all tables in schema public to only_reader")
    before = program.environment["DATABASE_URL"]
    program.environment["DATABASE_URL"] = before.replace("postgres@", "only_reader@")
    try:
        yield
    finally:
        program.environment["DATABASE_URL"] = before
        program.query("drop owned by only_reader; drop role only_reader")


def wait_until_all_are_live(program: Program) -> dict[str, Any]:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        document = json.loads(program.run("monitor", "--once", "--json").stdout)
        # What has come is told before it is stored, and each report is of one moment.
        if document["is_well"] and document["sessions"][0]["statistics"]["counts"]["stored"]:
            return document  # type: ignore[no-any-return]
        time.sleep(0.5)
    raise AssertionError(f"not live: {document}")


def test_it_tells_what_streams_and_that_it_has_died(live: Program) -> None:
    with running(live) as process:
        wait_for_live(live, 3)
        [session] = wait_until_all_are_live(live)["sessions"]
        assert session["is_alive"] is True
        streams = {f"{one['market']}:{one['symbol']}/{one['interval']}": one for one in session["streams"]}
        assert set(streams) == {"spot:BTCUSDT/1s", "spot:ETHUSDT/1s", "um:BTCUSDT/1m"}
        assert all(one["state"] in ("live", "healing") and one["messages"] > 0 for one in streams.values())
        assert any(one["last_price"] for one in streams.values())
        with may_only_read(live):
            monitored(live, 0)
            _looks_well(live)
            _ends_at_once(live)
        assert ", 3 streams live" in live.run("status").stdout
        process.send_signal(signal.SIGKILL)
    live.query("update public.stream_sessions set heartbeat_at = heartbeat_at - interval '25 seconds'")
    assert [one["is_alive"] for one in monitored(live, 3)["sessions"]] == [False]
    for command in (["monitor", "--once"], ["status"]):
        assert f"(process {session['pid']}) has died" in live.run(*command).stdout
    # The names under which other programs look for the same.
    told = {one["symbol"] + one["interval"]: one for one in live.run_json("status")["series"]}
    state = 'select symbol || "interval", to_char(last_closed_ts at time zone \'UTC\', \'YYYY-MM-DD"T"HH24:MI:SS"Z"\')'
    pointers = live.query(f"{state} from public.sync_state")
    assert len(pointers) == len(SERIES)
    for name, last in pointers:
        assert last == told[name]["last_candle"].replace(".000", "") or told[name]["holes_in_coverage"], told[name]


def _looks_well(program: Program) -> None:
    for columns in (80, 120):
        shown = run_in_terminal(program, "monitor", "--once", columns=columns)
        assert shown.code == 0, shown.text
        assert max(len(line) for line in shown.lines) <= columns
        assert "ok: 3 streams live" in shown.text and "BTCUSDT kline 1s" in shown.text, shown.text


def _ends_at_once(program: Program) -> None:
    process = subprocess.Popen(
        program.command("monitor", "--interval", "60", "--json"),
        env=program.full_environment(),
        cwd=program.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["is_well"] is True
    os.kill(process.pid, signal.SIGINT)
    told_s = time.monotonic()
    assert process.wait(10) == 0
    assert time.monotonic() - told_s < 3


def test_where_nothing_streams_it_says_so(program: Program) -> None:
    done = program.run("monitor", "--once")
    assert done.returncode == 3 and "no stream is running" in done.stdout
    assert monitored(program, 3) == {"is_well": False, "sessions": []}


@pytest.mark.parametrize("interval", ["0", "x", "-1", "nan"])
def test_an_interval_that_is_none_is_refused(program: Program, interval: str) -> None:
    assert program.run("monitor", "--once", "--interval", interval).returncode == 2
