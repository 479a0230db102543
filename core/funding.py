"""When a settled funding rate is asked for. Pure; times are epoch ms."""

from __future__ import annotations

from core.times import MS_PER_HOUR, MS_PER_MINUTE

USUAL_HOURS = 8
"""Between two fundings, where the exchange does not say otherwise."""
_SETTLED_AFTER_MS = MS_PER_MINUTE
AGAIN_MS = 2 * MS_PER_MINUTE
"""After so long is asked again for what should be there."""


def next_ask_ms(newest_ms: int | None, hours: int, now_ms: int) -> int:
    """Return when to ask next: a minute after the funding that follows `newest_ms`, the newest one that is known.

    One that should be there already is asked for again in two minutes: exchanges are late at times. Fundings lie on
    whole multiples of their interval in UTC, a few ms late. None: nothing is known, which a contract with delivery
    has for ever; it is asked about once an interval.
    """
    step_ms = hours * MS_PER_HOUR
    after_ms = now_ms if newest_ms is None else newest_ms
    due_ms = (after_ms // step_ms + 1) * step_ms + _SETTLED_AFTER_MS
    return due_ms if due_ms > now_ms else now_ms + AGAIN_MS
