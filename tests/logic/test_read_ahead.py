from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from logic.read_ahead import ReadAhead


def test_results_come_in_the_order_of_the_jobs() -> None:
    def fetch(number: int) -> int:
        time.sleep(0.01 * (number % 3))
        return number * 10

    with ThreadPoolExecutor(4) as executor:
        got = [(job, future.result()) for job, future in ReadAhead(executor, fetch, range(20), window=6)]
    assert got == [(number, number * 10) for number in range(20)]


def test_no_more_than_the_window_is_begun_before_it_is_taken() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def fetch(number: int) -> int:
        with lock:
            begun.append(number)
        return number

    with ThreadPoolExecutor(4) as executor:
        for taken, (_, future) in enumerate(ReadAhead(executor, fetch, range(50), window=5)):
            future.result()
            with lock:
                assert len(begun) <= taken + 5


def test_nothing_to_do_ends_at_once() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert list(ReadAhead(executor, str, [], window=3)) == []
