"""The budget of request weight of one IP address, shared by all threads and, by reservations, by several runs.

Binance counts weight per IP address in UTC clock minutes (docs/binance.md, Weight and bans). Rate-limit libraries have
sliding windows or buckets, which cannot be corrected by the exchange's own count; hence this class.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from fetcher.http import Sleep

_MINUTE_MS = 60_000
# The next minute begins by the exchange's clock, which is known only to within the latency of one request.
_TURN_MARGIN_MS = 500
# A request travels: one that is sent so shortly before the end of a minute may be counted in the next one.
_TRAVEL_MS = 1_000
# Weight is reserved in parts of a fiftieth of the budget, at most 100: few reservations, and little unused weight.
_PARTS, _LARGEST_PART = 50, 100
_MOST_PLAUSIBLE = 100  # times the budget; a higher count of the exchange is ignored

Reserve = Callable[[int, int, int], int]
"""(minute since the epoch, weight wanted, weight allowed to all runs) -> weight granted to this run."""
KeepLimit = Callable[[int], None]
"""Keeps the published limit for later runs."""


class WeightBudget:
    """How much weight may still be used in this minute. Thread-safe.

    `now_ms` is the exchange's clock, which decides the minute. A pause is measured by the monotonic clock,
    because the exchange's clock jumps when it is set for the first time.
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
        self._limit = limit_per_minute
        self._minute = 0
        self._used = 0  # by all programs at this IP address, as far as known from the exchange
        self._own = 0  # by this run
        self._late = 0  # of that, what was sent at the end of the minute
        self._reserved = 0
        self._reserve: Reserve | None = None
        self._keep_limit: KeepLimit | None = None
        self._paused_until_s = 0.0
        self.total_used = 0  # since the start, for the progress display

    @property
    def allowed_per_minute(self) -> float:
        """The weight per minute that this program may use: its share of the limit."""
        return self._limit * self._share

    def set_limit(self, limit_per_minute: int) -> None:
        """Set the limit that exchangeInfo publishes; one that differs from what was known is kept for later runs."""
        with self._lock:
            is_new, self._limit = limit_per_minute != self._limit, limit_per_minute
            keep = self._keep_limit
        if is_new and keep is not None:
            keep(limit_per_minute)

    def share(self, reserve: Reserve, keep_limit: KeepLimit | None = None) -> None:
        """Use only the weight that `reserve` grants from now on; `keep_limit` is called with limits published later."""
        with self._lock:
            self._reserve = reserve
            self._keep_limit = keep_limit

    def acquire(self, weight: int, *, reserved: bool = True) -> int:
        """Wait until `weight` fits into the budget, count it, and return the minute it counts in (since the epoch).

        With `reserved=False` the weight is reserved only together with the next request of the same minute. This is for
        the request for the exchange's time: until it is answered the minute is known only by this machine's clock, and
        reserving a wrong minute would make other runs wait or lose their reservations. Raises what `reserve` raises.
        """
        while True:
            with self._lock:
                wait_ms = self._wait_ms(weight, reserved)
                if wait_ms <= 0:
                    self._used += weight
                    self._own += weight
                    self.total_used += weight
                    if (self._minute + 1) * _MINUTE_MS - self._now_ms() < _TRAVEL_MS:
                        self._late += weight
                    return self._minute
            self._sleep(wait_ms / 1000)

    def _wait_ms(self, weight: int, reserved: bool) -> int:
        now_ms = self._now_ms()
        minute = now_ms // _MINUTE_MS
        if minute != self._minute:
            late = self._late if minute == self._minute + 1 else 0  # counts in both, wherever the exchange counts it
            self._minute, self._used, self._own, self._reserved, self._late = minute, late, late, 0, 0
        paused_s = self._paused_until_s - self._monotonic_s()
        if paused_s > 0:
            return math.ceil(paused_s * 1000)
        # A request heavier than the whole share is sent when nothing else is; otherwise it would wait for ever.
        fits = self._used + weight <= self.allowed_per_minute or self._used == 0
        if fits and (not reserved or self._is_reserved(weight)):
            return 0
        return (minute + 1) * _MINUTE_MS + _TURN_MARGIN_MS - now_ms

    def _is_reserved(self, weight: int) -> bool:
        lacking = self._own + weight - self._reserved
        if self._reserve is not None and lacking > 0:
            allowed = int(self.allowed_per_minute)
            part = min(allowed // _PARTS, _LARGEST_PART)
            self._reserved += self._reserve(self._minute, max(lacking, part), allowed)
        return self._reserve is None or self._own + weight <= self._reserved

    def correct(self, minute: int, used_by_exchange: int) -> None:
        """Use the exchange's count of used weight, from the header of an answer to a request of `minute`.

        A count for a minute that is over is ignored.
        """
        with self._lock:
            # A count that is impossibly high is ignored: it would use up the whole minute.
            if minute == self._minute and used_by_exchange <= _MOST_PLAUSIBLE * self.allowed_per_minute:
                self._used = max(self._used, used_by_exchange)

    def pause(self, seconds: float) -> None:
        """Send no request for `seconds` (Retry-After)."""
        with self._lock:
            self._paused_until_s = max(self._paused_until_s, self._monotonic_s() + seconds)
