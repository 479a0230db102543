"""Fetches several chunks in parallel, ahead of the database, and returns them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

Group = TypeVar("Group")
Job = TypeVar("Job")
Result = TypeVar("Result")


class ReadAhead(Generic[Group, Job, Result]):
    """Runs `fetch` for the jobs of groups on `executor`, at most `window` started jobs ahead of the caller.

    `size_of` returns the memory that a job's result takes, in any unit; the started jobs together take at most `most`,
    unless a single one is larger. So memory stays bounded when the database is slower than the downloads.
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
        self._started: deque[tuple[int, Future[Result]]] = deque()  # size and future
        self._waiting: Iterator[tuple[Group, Job]] = iter(())
        self._next: tuple[Group, Job] | None = None

    def run(
        self, groups: Sequence[tuple[Group, Sequence[Job]]]
    ) -> Iterator[tuple[Group, Iterator[tuple[Job, Future[Result]]]]]:
        """Yield each group with its jobs and their futures, in order.

        Jobs that the caller has not taken when it goes on to the next group are cancelled.
        """
        self._waiting = ((group, job) for group, jobs in groups for job in jobs)
        self._next = next(self._waiting, None)
        for group, jobs in groups:
            of_group = self._futures_of(jobs)
            yield group, of_group
            for _, left in of_group:
                left.cancel()

    def _futures_of(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Future[Result]]]:
        for job in jobs:
            self._fill()
            size, future = self._started.popleft()
            yield job, future
            self._size -= size  # the caller is done with it

    def _fill(self) -> None:
        while self._next is not None and len(self._started) < self._window:
            size = self._size_of(*self._next)
            if self._started and self._size + size > self._most:
                return
            self._size += size
            self._started.append((size, self._executor.submit(self._fetch, *self._next)))
            self._next = next(self._waiting, None)
