"""Fetches ahead of the database: several chunks at a time, handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

Group = TypeVar("Group")
Job = TypeVar("Job")
Result = TypeVar("Result")


class ReadAhead(Generic[Group, Job, Result]):
    """Runs `fetch` over the jobs of groups on `executor`, at most `window` of them begun and not yet taken.

    `size_of` says how much memory a job's result takes, in a unit of the caller's; together the begun jobs take at most
    `most`, unless a single one is larger. The queue is bounded so that what is fetched waits for the database.
    """

    def __init__(
        self,
        executor: Executor,
        fetch: Callable[[Group, Job], Result],
        size_of: Callable[[Group, Job], int],
        window: int,
        most: int,
    ) -> None:
        self._executor = executor
        self._fetch = fetch
        self._size_of = size_of
        self._window = window
        self._most = most
        self._size = 0
        self._begun: deque[tuple[int, Future[Result]]] = deque()  # size and future
        self._waiting: Iterator[tuple[Group, Job]] = iter(())
        self._next: tuple[Group, Job] | None = None

    def run(
        self, groups: Sequence[tuple[Group, Sequence[Job]]]
    ) -> Iterator[tuple[Group, Iterator[tuple[Job, Future[Result]]]]]:
        """Yield each group with its jobs and their futures, in order.

        Jobs that the caller leaves when it goes on to the next group are cancelled.
        """
        self._waiting = ((group, job) for group, jobs in groups for job in jobs)
        self._next = next(self._waiting, None)
        for group, jobs in groups:
            of_group = self._take(jobs)
            yield group, of_group
            for _, left in of_group:
                left.cancel()

    def _take(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Future[Result]]]:
        for job in jobs:
            self._fill()
            size, future = self._begun.popleft()
            yield job, future
            self._size -= size  # the caller is done with it

    def _fill(self) -> None:
        while self._next is not None and len(self._begun) < self._window:
            size = self._size_of(*self._next)
            if self._begun and self._size + size > self._most:
                return
            self._size += size
            self._begun.append((size, self._executor.submit(self._fetch, *self._next)))
            self._next = next(self._waiting, None)
