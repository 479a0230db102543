"""The request-weight budget of one address, shared by all threads and, through a reservation, by several runs.

Binance counts weight per IP in UTC clock minutes (docs/binance.md, Weight and bans). Rate-limit libraries offer
sliding windows and buckets that cannot be corrected from the exchange's own count, so this is ours.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from fetcher.http import Sleep

_MINUTE_MS = 60_000
# The exchange's minute turns by its clock, ours follows it to within the latency of one request.
_TURN_MARGIN_MS = 500
# Weight is reserved in such parts: a fiftieth of a minute's budget, so few questions, and little is taken and not used.
_PARTS, _LARGEST_PART = 50, 100
_MOST_PLAUSIBLE = 100

Reserve = Callable[[int, int, int], int]
"""(minute since the epoch, weight wanted, weight allowed to all runs) -> weight granted to this run."""


class WeightBudget:
    """How much weight may still be used in this minute. Thread-safe.

    `now_ms` is the exchange's clock, whose minutes count; a pause is measured by the monotonic clock,
    because the other one jumps when it is first set.
    """

    def __init__(
        self,
        limit_per_minute: int,
        share: float,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self._share = share
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._lock = threading.Lock()
        self._allowed = limit_per_minute * share
        self._minute = 0
        self._used = 0  # by everybody at this address, as far as the exchange has told
        self._own = 0
        self._reserved = 0
        self._reserve: Reserve | None = None
        self._paused_until_s = 0.0
        self.total_used = 0  # since the start, for the progress display

    @property
    def allowed_per_minute(self) -> float:
        """The weight that this program lets itself use in a minute."""
        return self._allowed

    def set_limit(self, limit_per_minute: int) -> None:
        """Take over the limit that exchangeInfo publishes."""
        with self._lock:
            self._allowed = limit_per_minute * self._share

    def share(self, reserve: Reserve) -> None:
        """Use from now on only what `reserve` grants."""
        with self._lock:
            self._reserve = reserve

    def acquire(self, weight: int, *, reserved: bool = True) -> int:
        """Wait until `weight` fits into the budget, count it, and return the minute it was counted in.

        Without `reserved` it is reserved only with the next request of the same minute: for the question for the
        exchange's time, before which the minute is known by this machine's clock alone. A minute that is wrong would
        make other runs wait, or forget what they have reserved. Raises what the reservation raises.
        """
        while True:
            with self._lock:
                wait_ms = self._wait_ms(weight, reserved)
                if wait_ms <= 0:
                    self._used += weight
                    self._own += weight
                    self.total_used += weight
                    return self._minute
            self._sleep(wait_ms / 1000)

    def _wait_ms(self, weight: int, reserved: bool) -> int:
        now_ms = self._now_ms()
        minute = now_ms // _MINUTE_MS
        if minute != self._minute:
            self._minute, self._used, self._own, self._reserved = minute, 0, 0, 0
        paused_s = self._paused_until_s - self._monotonic_s()
        if paused_s > 0:
            return math.ceil(paused_s * 1000)
        # A single request heavier than the whole share goes alone, or it would wait for ever.
        fits = self._used + weight <= self._allowed or self._used == 0
        if fits and (not reserved or self._is_reserved(weight)):
            return 0
        return (minute + 1) * _MINUTE_MS + _TURN_MARGIN_MS - now_ms

    def _is_reserved(self, weight: int) -> bool:
        lacking = self._own + weight - self._reserved
        if self._reserve is not None and lacking > 0:
            allowed = int(self._allowed)
            part = min(allowed // _PARTS, _LARGEST_PART)
            self._reserved += self._reserve(self._minute, max(lacking, part), allowed)
        return self._reserve is None or self._own + weight <= self._reserved

    def correct(self, minute: int, used_by_exchange: int) -> None:
        """Take over the exchange's count from the header of an answer to a request of `minute`.

        A count of a minute that is over says nothing about this one and is left out.
        """
        with self._lock:
            # A count that no address can reach is none, and would make every minute look used up.
            if minute == self._minute and used_by_exchange <= _MOST_PLAUSIBLE * self._allowed:
                self._used = max(self._used, used_by_exchange)

    def pause(self, seconds: float) -> None:
        """Let no request go for `seconds` (Retry-After)."""
        with self._lock:
            self._paused_until_s = max(self._paused_until_s, self._monotonic_s() + seconds)
