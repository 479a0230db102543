"""Request weights: counted per host and clock minute, refused above the limit, then banned (docs/binance.md)."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from core.instrument import Market
from core.times import MS_PER_MINUTE, MS_PER_SECOND
from demo.clock import ReplayClock
from demo.reply import Reply, error_body

BAN_MS = 2 * MS_PER_MINUTE
"""The shortest ban that is published."""

_FUNDING_WINDOW_MS = 5 * MS_PER_MINUTE

USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"


@dataclass(frozen=True, slots=True)
class WeightLimits:
    """Request weight per minute; USD-M and COIN-M share one budget."""

    spot: int = 6000
    futures: int = 2400
    # Requests that were on their way when the first 429 came are not banned at once.
    refusals_before_ban: int = 5

    def of(self, market: Market) -> int:
        """Return the limit that holds for `market`."""
        return self.spot if market is Market.SPOT else self.futures


@dataclass(slots=True)
class _Minute:
    """What one budget has seen."""

    minute: int = -1
    used: int = 0
    refusals: int = 0
    banned_until_ms: int = 0


class WeightCounter:
    """Counts every request by the replay clock. Thread-safe."""

    def __init__(self, clock: ReplayClock, limits: WeightLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._budgets = {"spot": _Minute(), "futures": _Minute()}

    def charge(self, market: Market, weight: int) -> tuple[int, Reply | None]:
        """Count `weight` and return the weight used in this minute and, where it is too much, the refusal.

        Refused requests count as well. 429 asks to wait for the next minute; after
        `refusals_before_ban` of them in one minute comes 418, a ban of two minutes.
        """
        now_ms = self._clock.now_ms()
        limit = self._limits.of(market)
        with self._lock:
            budget = self._budgets["spot" if market is Market.SPOT else "futures"]
            if now_ms // MS_PER_MINUTE != budget.minute:
                budget.minute, budget.used, budget.refusals = now_ms // MS_PER_MINUTE, 0, 0
            budget.used += weight
            if now_ms < budget.banned_until_ms:
                return budget.used, _banned(now_ms, budget.banned_until_ms, weight)
            if budget.used <= limit:
                return budget.used, None
            budget.refusals += 1
            if budget.refusals <= self._limits.refusals_before_ban:
                return budget.used, _too_much(now_ms, limit, weight)
            budget.banned_until_ms = now_ms + BAN_MS
            return budget.used, _banned(now_ms, budget.banned_until_ms, weight)


class FundingCalls:
    """USD-M fundingRate and fundingInfo: calls of an address in five minutes of the clock. Thread-safe."""

    most = 500

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window, self._calls = -1, 0

    def refusal(self, now_ms: int) -> Reply | None:
        """Count a call and return the refusal where it is one too many."""
        with self._lock:
            window = now_ms // _FUNDING_WINDOW_MS
            self._window, self._calls = window, 1 + (self._calls if window == self._window else 0)
            if self._calls <= self.most:
                return None
        wait_ms = _FUNDING_WINDOW_MS - now_ms % _FUNDING_WINDOW_MS
        message = f"Too many requests; current limit is {self.most} requests per 5 MINUTE."
        return Reply(429, error_body(-1003, message), headers=_retry_after(wait_ms))


def _too_much(now_ms: int, limit: int, weight: int) -> Reply:
    message = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    wait_ms = MS_PER_MINUTE - now_ms % MS_PER_MINUTE
    return Reply(429, error_body(-1003, message), headers=_retry_after(wait_ms), weight=weight)


def _banned(now_ms: int, until_ms: int, weight: int) -> Reply:
    message = (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    return Reply(418, error_body(-1003, message), headers=_retry_after(until_ms - now_ms), weight=weight)


def _retry_after(wait_ms: int) -> dict[str, str]:
    return {"Retry-After": str(-(-wait_ms // MS_PER_SECOND))}
