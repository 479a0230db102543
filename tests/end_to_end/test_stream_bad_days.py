"""Bad days of `stream` as a user meets them: the program itself, in real time. docs/live-bad-days.md has the rows."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from bad_days import bad_day
from live_program import OF_A_SECOND, assert_true_to_the_end, kill, most_streamed, output_of, running, wait_for_live
from program import Program

from core.exit_codes import EXIT_DATABASE, EXIT_EXCHANGE, EXIT_OK, EXIT_USAGE
from db.connection import Database
from demo.faults import Answer

ONE = ("--symbols", "BTCUSDT/1s")


@pytest.fixture(autouse=True)
def said(request: pytest.FixtureRequest, live: Program) -> Iterator[None]:
    """At the end of a day its messages were said, and no traceback was."""
    yield
    told = output_of(live)
    assert "Traceback" not in told
    for day in getattr(request.function, "bad_days", ()):
        assert day.message in told, told


@bad_day("killed (SIGKILL) at any moment", "stored live")
@bad_day("a second signal", "stopped by SIGTERM; what was committed stays")
def test_killed_or_ended_at_once_it_loses_nothing(live: Program, seed: int) -> None:
    lots = random.Random(seed)
    for _ in range(2):
        with running(live) as process:
            time.sleep(lots.uniform(0.3, 2.0))
            kill(live, process)
    before = most_streamed(live)
    with running(live) as process, closing(Database.connect(live.database_url, {}, "tests")) as other:
        wait_for_live(live, before + 1)
        with other.transaction("hold the ledger") as tx:  # so that the first signal has something to wait for
            tx.cursor.execute("lock table public.ohlcv_ledger")
            time.sleep(1.1)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            told_s = time.monotonic()
            assert process.wait(20) == 143, output_of(live)
            assert time.monotonic() - told_s < 3
    before = most_streamed(live)
    with running(live) as process:
        wait_for_live(live, before + 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == EXIT_OK, output_of(live)
    for series in OF_A_SECOND:
        assert_true_to_the_end(live, series)


@bad_day("the log folder cannot be written at the start", "the log folder cannot be written")
@bad_day("the database cannot be reached at the start", "cannot connect to the database")
@bad_day("the only market cannot be used", "does not serve this location")
def test_what_is_wrong_at_the_start_is_said_and_ends_it(live: Program) -> None:
    assert live.exchange is not None
    (live.folder / "file").write_text("not a folder")
    nowhere = f"postgresql://nobody@/nowhere?host={live.folder}"
    refused = Answer(451, {"code": 0, "msg": "Service unavailable from a restricted location"})
    told = ""
    for setting, value, code in (
        ("LOG_DIR", str(live.folder / "file"), EXIT_USAGE),
        ("DATABASE_URL", nowhere, EXIT_DATABASE),
        ("LOG_LEVEL", "INFO", EXIT_EXCHANGE),
    ):
        if code == EXIT_EXCHANGE:
            live.exchange.faults.add("/api/v3", refused, times=100)
        live.settings = {setting: value}
        done = live.run("stream", *ONE)
        assert done.returncode == code, done.stdout + done.stderr
        told += done.stderr
    (live.folder / "output.txt").write_text(told)
