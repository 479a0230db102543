"""Fetches ahead of the database: several chunks at a time, handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class ReadAhead(Generic[Job, Result]):
    """Runs `fetch` over `jobs` on `executor`, at most `window` of them begun and not yet taken.

    `size_of` says how much memory a job's result takes, in a unit of the caller's; together the begun
    jobs take at most `most`, unless a single one is larger. What is fetched waits for the database, not
    the other way round.
    """

    def __init__(
        self,
        executor: Executor,
        fetch: Callable[[Job], Result],
        jobs: Iterable[Job],
        window: int,
        size_of: Callable[[Job], int],
        most: int,
    ) -> None:
        self._executor = executor
        self._fetch = fetch
        self._jobs = iter(jobs)
        self._next: Job | None = next(self._jobs, None)
        self._window = window
        self._size_of = size_of
        self._most = most
        self._size = 0
        self._begun: deque[tuple[Job, Future[Result]]] = deque()

    def __iter__(self) -> Iterator[tuple[Job, Future[Result]]]:
        """Yield each job with its future, in the order of the jobs."""
        self._fill()
        while self._begun:
            job, future = self._begun.popleft()
            yield job, future
            self._size -= self._size_of(job)  # the caller is done with it
            self._fill()

    def _fill(self) -> None:
        while self._next is not None and len(self._begun) < self._window:
            size = self._size_of(self._next)
            if self._begun and self._size + size > self._most:
                return
            self._size += size
            self._begun.append((self._next, self._executor.submit(self._fetch, self._next)))
            self._next = next(self._jobs, None)
