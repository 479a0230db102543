"""Many runs at once on one database: by the exchange's own count they together stay within their share."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable

import pytest

from fetcher.weight_budget import WeightBudget

LIMIT, SHARE = 400, 0.8
MINUTE_MS = 60_000
BEGIN_MS = 28_000_000 * MINUTE_MS + 40_000
MINUTES = 12
SLOWEST_MS = 900  # until a request is at the exchange


class MustWait(Exception):
    """A run would sleep."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Traffic:
    """Runs with several workers each, on one clock, with requests that take their time to the exchange and back."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = BEGIN_MS
        self.counted: Counter[int] = Counter()  # by the exchange, a minute
        self._reserved = (0, 0)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (ms, next(self._numbers), action))

    def reserve(self, minute: int, wanted: int, allowed: int) -> int:
        """As db/shared_weight.py does, whose own tests are in tests/db."""
        known, reserved = self._reserved
        if known == minute + 1:
            return 0
        reserved = reserved if known == minute else 0
        granted = max(0, min(wanted, allowed - reserved))
        self._reserved = (minute, reserved + granted)
        return granted

    def sleep(self, seconds: float) -> None:
        raise MustWait(seconds)

    def start_run(self, workers: int, requests: int) -> None:
        budget = WeightBudget(LIMIT, SHARE, lambda: self.now_ms, lambda: self.now_ms / 1000, self.sleep)
        budget.share(self.reserve)
        for _ in range(workers):
            self._request(budget, requests)

    def _request(self, budget: WeightBudget, left: int) -> None:
        if not left:
            return
        try:
            minute = budget.acquire(2)
        except MustWait as wait:
            self.at(self.now_ms + round(wait.seconds * 1000) + 1, lambda: self._request(budget, left))
            return

        def arrive() -> None:
            there = self.now_ms // MINUTE_MS
            self.counted[there] += 2
            used = self.counted[there]
            self.at(self.now_ms + self.random.randint(1, 100), lambda: answer(used))

        def answer(used: int) -> None:
            budget.correct(minute, used)
            self._request(budget, left - 1)

        self.at(self.now_ms + self.random.randint(1, SLOWEST_MS), arrive)

    def play(self) -> None:
        while self._events:
            self.now_ms, _, action = heapq.heappop(self._events)
            action()


@pytest.mark.parametrize("number", range(8))
def test_many_runs_together_never_use_more_than_their_share(seed: int, number: int) -> None:
    traffic = Traffic(100 * seed + number)
    for _ in range(MINUTES * 6):  # always several, with a few requests or many
        workers, requests = traffic.random.randint(1, 4), traffic.random.choice([1, 3, 40])
        start_ms = BEGIN_MS + traffic.random.randrange(MINUTES * MINUTE_MS)
        traffic.at(start_ms, lambda workers=workers, requests=requests: traffic.start_run(workers, requests))
    traffic.play()
    assert sum(traffic.counted.values()) > LIMIT * SHARE * 3  # there was more to do than one minute allows
    assert max(traffic.counted.values()) <= LIMIT * SHARE, sorted(traffic.counted.values())[-5:]
