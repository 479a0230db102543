from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from logic.fetching.read_ahead import ReadAhead

Fetch = Callable[[str, int], int]


def one(_group: str, _job: int) -> int:
    return 1


def in_threes(jobs: Sequence[int]) -> list[tuple[str, Sequence[int]]]:
    """Return the jobs in groups of three, with an empty group at either end."""
    groups = [(f"from {i}", jobs[i : i + 3]) for i in range(0, len(jobs), 3)]
    return [("first", ()), *groups, ("last", ())]


def taken(ahead: ReadAhead[str, int, int], jobs: Sequence[int]) -> Iterator[tuple[int, Future[int]]]:
    for _, of_group in ahead.run(in_threes(jobs)):
        yield from of_group


def test_results_come_in_the_order_of_the_groups_and_their_jobs() -> None:
    def fetch(_group: str, number: int) -> int:
        time.sleep(0.01 * (number % 3))
        return number * 10

    with ThreadPoolExecutor(4) as executor:
        found = {
            group: [(job, future.result()) for job, future in of_group]
            for group, of_group in ReadAhead(executor, fetch, one, 6, 100).run(in_threes(range(20)))
        }
    assert list(found) == [group for group, _ in in_threes(range(20))]
    assert [pair for pairs in found.values() for pair in pairs] == [(number, number * 10) for number in range(20)]


def test_no_more_than_the_window_is_begun_before_it_is_taken() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def fetch(_group: str, number: int) -> int:
        with lock:
            begun.append(number)
        return number

    with ThreadPoolExecutor(4) as executor:
        for count, (_, future) in enumerate(taken(ReadAhead(executor, fetch, one, 5, 100), range(50))):
            future.result()
            with lock:
                assert len(begun) <= count + 5
    assert sorted(begun) == list(range(50))


def test_nothing_to_do_ends_at_once() -> None:
    with ThreadPoolExecutor(1) as executor:
        ahead: ReadAhead[str, int, int] = ReadAhead(executor, one, one, 3, 100)
        assert list(ahead.run([])) == []


def test_what_is_begun_and_not_done_with_stays_below_the_limit() -> None:
    sizes = [3, 4, 9, 1, 1, 1, 25, 2, 8, 3]
    begun: list[int] = []

    def fetch(_group: str, number: int) -> int:
        begun.append(number)
        return number

    def size_of(_group: str, number: int) -> int:
        return sizes[number]

    with ThreadPoolExecutor(4) as executor:
        for job, future in taken(ReadAhead(executor, fetch, size_of, 8, 10), range(len(sizes))):
            future.result()
            held = [number for number in begun if number >= job]
            assert sum(sizes[number] for number in held) <= 10 or held == [job]
    assert sorted(begun) == list(range(len(sizes)))


def test_jobs_that_are_left_behind_are_cancelled_and_the_next_group_gets_its_own() -> None:
    """The first group's second job runs, its third waits for a thread when the caller goes on."""
    is_begun, is_left = threading.Event(), threading.Event()
    done: list[int] = []

    def fetch(_group: str, number: int) -> int:
        if number == 1:
            is_begun.set()
            assert is_left.wait(30)
        done.append(number)
        return number

    with ThreadPoolExecutor(1) as executor:
        groups = ReadAhead(executor, fetch, one, 3, 100).run([("first", [0, 1, 2]), ("second", [3, 4])])
        _, of_first = next(groups)
        _, future = next(of_first)
        assert future.result() == 0
        assert is_begun.wait(30)
        _, of_second = next(groups)
        is_left.set()
        assert [(job, future.result()) for job, future in of_second] == [(3, 3), (4, 4)]
    assert 2 not in done
