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

    The window bounds the memory: what is fetched waits for the database, not the other way round.
    """

    def __init__(self, executor: Executor, fetch: Callable[[Job], Result], jobs: Iterable[Job], window: int) -> None:
        self._executor = executor
        self._fetch = fetch
        self._jobs = iter(jobs)
        self._window = window
        self._begun: deque[tuple[Job, Future[Result]]] = deque()

    def __iter__(self) -> Iterator[tuple[Job, Future[Result]]]:
        """Yield each job with its future, in the order of the jobs."""
        self._fill()
        while self._begun:
            yield self._begun.popleft()
            self._fill()

    def _fill(self) -> None:
        for job in self._jobs:
            self._begun.append((job, self._executor.submit(self._fetch, job)))
            if len(self._begun) >= self._window:
                return
