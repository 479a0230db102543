"""Several runs on one database keep one request-weight budget."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from db.connection import Database
from db.shared_weight import SharedWeight, reserve_weight
from fetcher.weight_budget import WeightBudget

MINUTE = 28_000_000


def reserve(database: Database, wanted: int, allowed: int = 100, minute: int = MINUTE, pool: str = "spot") -> int:
    with database.transaction("reserve") as tx:
        return reserve_weight(tx, pool, minute, wanted, allowed)


def another(database: Database) -> Database:
    return Database.connect(None, database._connection.get_dsn_parameters(), "tests")


def test_what_is_left_is_granted_and_no_more(database: Database) -> None:
    assert [reserve(database, 40), reserve(database, 40), reserve(database, 40), reserve(database, 1)] == [
        40,
        40,
        20,
        0,
    ]


def test_the_limit_that_one_run_was_told_is_known_to_the_next(database: Database) -> None:
    shared = SharedWeight(database)
    assert shared.published_limit("spot") is None
    reserve(database, 40)
    assert shared.published_limit("spot") is None
    for limit in (400, 300):
        shared.keep_limit("spot", limit)
        assert shared.published_limit("spot") == limit
    shared.keep_limit("futures", 2400)
    assert (shared.published_limit("spot"), shared.published_limit("futures")) == (300, 2400)
    assert [reserve(database, 60), reserve(database, 1), reserve(database, 1, pool="futures")] == [60, 0, 1]


def test_a_new_minute_and_another_pool_begin_anew(database: Database) -> None:
    reserve(database, 100)
    assert reserve(database, 100, pool="futures") == 100
    assert reserve(database, 70, minute=MINUTE + 1) == 70


def test_a_run_whose_clock_is_behind_by_a_turn_of_the_minute_waits(database: Database) -> None:
    reserve(database, 10, minute=MINUTE + 1)
    assert reserve(database, 10, minute=MINUTE) == 0


def test_a_clock_of_long_ago_or_far_ahead_holds_up_nobody(database: Database) -> None:
    reserve(database, 100, minute=MINUTE + 500_000)
    assert reserve(database, 10) == 10


def test_a_request_heavier_than_the_budget_goes_alone(database: Database) -> None:
    assert reserve(database, 120) == 120
    assert reserve(database, 1) == 0
    assert reserve(database, 120, minute=MINUTE + 1) == 120


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=30))
def test_whatever_is_asked_a_minute_never_gets_more_than_allowed(
    database: Database, asked: list[tuple[int, int]]
) -> None:
    with database.transaction("begin anew") as tx:
        tx.cursor.execute("delete from public.ohlcv_weight")
    granted: dict[int, int] = {}
    for step, wanted in sorted(asked):
        granted[step] = granted.get(step, 0) + reserve(database, wanted, minute=MINUTE + step)
    assert all(total <= 100 for total in granted.values())


def test_two_runs_at_once_do_not_exceed_the_budget_together(database: Database) -> None:
    used: dict[int, int] = {}
    lock = threading.Lock()
    now_ms = [MINUTE * 60_000]

    def wait(seconds: float) -> None:
        with lock:  # whoever waits lets time pass, as the clock would
            now_ms[0] += int(seconds * 1000) // 4

    def run(number: int) -> None:
        shared = SharedWeight(another(database))
        budget = WeightBudget(1000, 0.8, lambda: now_ms[0], lambda: now_ms[0] / 1000, wait)
        budget.share(lambda minute, wanted, allowed: shared.reserve("spot", minute, wanted, allowed))
        for _ in range(150):
            minute = budget.acquire(7 if number % 2 else 2)
            with lock:
                used[minute] = used.get(minute, 0) + (7 if number % 2 else 2)
        shared.close()

    with ThreadPoolExecutor(3) as runs:
        list(runs.map(run, range(3)))
    assert sum(used.values()) == 150 * (2 + 7 + 2)
    assert max(used.values()) <= 800
    assert len(used) >= 2
