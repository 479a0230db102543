"""A soak in small: a day of cron and some thousand requests leave everything level; and each of its checks can fail.

`tests/long/soak.py` is the long one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import pytest
from long.soak import (
    BEGINS_MS,
    HAS_PROC,
    LONG_LIMITS,
    LONG_SERIES,
    SERIES,
    Sample,
    Soak,
    Tally,
    days_around,
    judge_days,
    judge_long,
    live_days,
    long_process,
    open_soak,
)

from commands.run_log import LOG_FILE
from db.connection import Database

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="without /proc a process cannot be watched")


def test_a_day_of_cron_leaves_nothing_behind(tmp_path: Path, empty_database_url: str) -> None:
    with open_soak(empty_database_url, tmp_path, 1, SERIES, days_around(3, 2)) as soak:
        passed = list(live_days(soak, days=1, runs_a_day=2))
        assert "\n".join(soak.violations) == ""
    assert [sum(day.runs.values()) for day in passed] == [1, 6]
    assert passed[-1].rows_compared > passed[0].rows_compared > 0


@pytest.mark.long
def test_a_process_of_thousands_of_requests_stays_level(tmp_path: Path, empty_database_url: str) -> None:
    with open_soak(empty_database_url, tmp_path, 1, LONG_SERIES, days_around(20, 1), LONG_LIMITS) as soak:
        tally = long_process(soak, every_s=0.05)
        assert "\n".join(soak.violations) == ""
    assert tally.requests > 2_000


@pytest.fixture
def idle(tmp_path: Path, empty_database_url: str) -> Iterator[Soak]:
    with open_soak(empty_database_url, tmp_path, 1, SERIES[:1], days_around(1, 1)) as soak:
        soak.patience_s = 0.0
        for folder in ("state", "logs"):
            (tmp_path / folder).mkdir()
        assert soak.left() == []
        yield soak


@pytest.mark.parametrize(
    ("path", "size", "told"),
    [
        ("state/spot_BTCUSDT_1m.json.77.tmp", 1, "temporary file spot_BTCUSDT_1m.json.77.tmp"),
        ("state/downloads/0123-BTCUSDT-1m-2024-03.zip", 1, "temporary file downloads/0123-BTCUSDT-1m-2024-03.zip"),
        ("tmp/left", 1, "temporary file left"),
        (f"logs/{LOG_FILE}", 10_000_001, f"{LOG_FILE} has 10000001 bytes"),
    ],
)
def test_the_soak_tells_a_file_that_a_run_leaves(idle: Soak, path: str, size: int, told: str) -> None:
    planted = idle.program.folder / path
    planted.parent.mkdir(exist_ok=True)
    planted.touch()
    os.truncate(planted, size)
    assert idle.left() == [told]


def test_the_soak_tells_more_log_files_than_are_kept(idle: Soak) -> None:
    for number in range(7):
        (idle.program.folder / "logs" / f"{LOG_FILE}.{number}").touch()
    assert idle.left() == ["7 log files"]


def test_the_soak_tells_an_open_connection_and_a_held_lock(idle: Soak) -> None:
    with closing(Database.connect(idle.program.database_url, {}, "ohlcv_data_fetcher")) as database:
        with database.transaction("lock") as tx:
            tx.cursor.execute("select pg_advisory_lock(1)")
        assert idle.left() == ["1 database connections are open", "1 advisory locks are held"]


def test_the_soak_tells_rows_that_are_not_the_truth(idle: Soak) -> None:
    tally = Tally("day 1")
    idle.run(tally, "--symbols", "BTCUSDT", "--quiet", accepted=[0])
    idle.compare(tally, BEGINS_MS)
    assert idle.violations == []
    idle.program.query("delete from ohlcv_btcusdt where time = '2024-03-09T12:00Z'")
    idle.compare(tally, BEGINS_MS)
    assert idle.violations == [
        "day 1: BTCUSDT/1m: 1 rows missing or different, 0 not the exchange's, first 2024-03-09T12:00Z"
    ]


def test_the_soak_tells_a_run_that_ends_otherwise_than_it_may(idle: Soak) -> None:
    idle.run(Tally("day 1"), "--no-such-option", accepted=[0, 3, 5])
    assert [one.partition(":")[2][:29] for one in idle.violations] == [" backfill ends with 2: error:"]


def level_days() -> list[Tally]:
    """A day before the first and three others, as a sound program passes them."""
    files = [LOG_FILE, *(f"{LOG_FILE}.{number}" for number in range(1, 6)), "spot_BTCUSDT_1m.json"]
    return [
        Tally(
            f"day {number}",
            peak_mib={"backfill": 98.0, "check": 99.0},
            descriptors=20,
            connections=2,
            files=files,
            table_rows={"ohlcv_ledger": 50 + 100 * min(number, 1), "ohlcv_gaps": number},
            table_bytes={"ohlcv_ledger": 80_000 + 40_000 * number},
        )
        for number in range(4)
    ]


def grow(number: int, change: Callable[[Tally], None]) -> Callable[[list[Tally]], None]:
    return lambda days: change(days[number])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (grow(3, lambda day: day.peak_mib.update(check=112.0)), "peak memory of check (MiB) rises"),
        (grow(0, lambda day: day.peak_mib.update(backfill=201.0)), "day 0: a process needed 201.0 MiB"),
        (grow(2, lambda day: setattr(day, "descriptors", 53)), "day 2: a process had 53 file descriptors"),
        (grow(3, lambda day: setattr(day, "descriptors", 29)), "the most file descriptors rises"),
        (grow(2, lambda day: setattr(day, "connections", 3)), "day 2: a process had 3 database connections"),
        (grow(2, lambda day: setattr(day, "connections", 0)), "day 2: a process had 0 database connections"),
        (grow(3, lambda day: setattr(day, "files", [*day.files, "more.json"])), "day 3: files that came or went"),
        (grow(1, lambda day: setattr(day, "files", day.files[3:])), "day 1: too few log files"),
        (grow(2, lambda day: day.table_rows.update(ohlcv_ledger=500)), "day 2: the ledger has 500 rows"),
        (grow(3, lambda day: day.table_rows.update(ohlcv_gaps=200)), "rows of ohlcv_gaps grow faster"),
        (grow(3, lambda day: day.table_bytes.update(ohlcv_ledger=900_000)), "bytes of ohlcv_ledger grow faster"),
    ],
)
def test_the_soak_tells_what_grows_from_day_to_day(harm: Callable[[list[Tally]], None], told: str) -> None:
    days = level_days()
    assert judge_days(days) == []
    harm(days := deepcopy(days))
    assert any(one.startswith(told) for one in judge_days(days))


@pytest.mark.parametrize(
    ("mib_a_sample", "descriptors_a_sample", "told"),
    [
        (0.0, 0.0, []),
        (0.5, 0.0, ["resident memory (MiB) rises from 142.2 to 157.2"]),
        (0.0, 0.1, ["open file descriptors rises from 11.0 to 14.0"]),
    ],
)
def test_the_soak_tells_what_grows_within_a_process(
    mib_a_sample: float, descriptors_a_sample: float, told: list[str]
) -> None:
    samples = [
        Sample(120 + mib_a_sample * number, 150, int(7 + descriptors_a_sample * number), 2) for number in range(90)
    ]
    tally = Tally("long process", peak_mib={"backfill": 150.0}, descriptors=15, connections=2)
    assert judge_long(tally, samples) == told
    assert judge_long(tally, samples[:10])  # too few
