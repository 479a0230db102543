"""Holds requests back while their address pool is banned, paused or out of weight budget."""

from __future__ import annotations

from fetcher.ban_file import BanFile
from fetcher.http import Sleep
from fetcher.weight_budget import WeightBudget


class Gate:
    """Bans, pauses and weight budget of one address pool (`spot`, `futures`). Thread-safe."""

    def __init__(self, pool: str, budget: WeightBudget, bans: BanFile, sleep: Sleep) -> None:
        self._pool = pool
        self._budget = budget
        self._bans = bans
        self._sleep = sleep

    def wait(self, weight: int, *, reserved: bool) -> int:
        """Wait until a request may be sent, count its weight and return the minute it counts in. Raises ExchangeBanned.

        `reserved` is explained at WeightBudget.acquire.
        """
        while True:
            self._bans.refuse_while_banned(self._pool)
            minute = self._budget.acquire(weight, reserved=reserved)
            self._bans.refuse_while_banned(self._pool)  # another thread may have been banned while this one waited
            if (pause_ms := self._bans.pause_left_ms(self._pool)) == 0:
                return minute
            self._sleep(pause_ms / 1000)  # another run has recorded a pause; the weight now belongs to a later minute

    def correct(self, minute: int, used_by_exchange: int) -> None:
        """Use the exchange's own count of the weight used in `minute`."""
        self._budget.correct(minute, used_by_exchange)

    def set_limit(self, limit_per_minute: int) -> None:
        """Set the weight limit per minute that the exchange publishes."""
        self._budget.set_limit(limit_per_minute)

    def pause(self, seconds: float) -> None:
        """Send nothing for `seconds` (Retry-After), in this run and in others on this machine."""
        self._budget.pause(seconds)
        self._bans.record_pause(self._pool, int(seconds * 1000))

    def ban(self, for_ms: int, exchange_now_ms: int | None) -> int:
        """Send nothing for `for_ms`, in this run and in later ones; return until when (epoch ms).

        `exchange_now_ms` is the date of the exchange's answer, if it had one.
        """
        return self._bans.record(self._pool, for_ms, exchange_now_ms)
