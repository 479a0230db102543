from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from logic.fetching.read_ahead import ReadAhead


def one(_: int) -> int:
    return 1


def test_results_come_in_the_order_of_the_jobs() -> None:
    def fetch(number: int) -> int:
        time.sleep(0.01 * (number % 3))
        return number * 10

    with ThreadPoolExecutor(4) as executor:
        got = [(job, future.result()) for job, future in ReadAhead(executor, fetch, range(20), 6, one, 100)]
    assert got == [(number, number * 10) for number in range(20)]


def test_no_more_than_the_window_is_begun_before_it_is_taken() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def fetch(number: int) -> int:
        with lock:
            begun.append(number)
        return number

    with ThreadPoolExecutor(4) as executor:
        for taken, (_, future) in enumerate(ReadAhead(executor, fetch, range(50), 5, one, 100)):
            future.result()
            with lock:
                assert len(begun) <= taken + 5


def test_nothing_to_do_ends_at_once() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert list(ReadAhead(executor, str, [], 3, one, 100)) == []


def test_what_is_begun_and_not_done_with_stays_below_the_limit() -> None:
    sizes = [3, 4, 9, 1, 1, 1, 25, 2, 8, 3]
    begun: list[int] = []

    with ThreadPoolExecutor(4) as executor:
        for job, future in ReadAhead(executor, begun.append, range(len(sizes)), 8, sizes.__getitem__, 10):
            future.result()
            held = [number for number in begun if number >= job]
            assert sum(sizes[number] for number in held) <= 10 or held == [job]
    assert sorted(begun) == list(range(len(sizes)))
