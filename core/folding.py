"""When small ledger spans that stand side by side become one, so that cron jobs keep the ledger small. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from core.ranges import Span

FOLDED_ROWS = 1_440
"""A folded span has at most this number of candles: a day of 1m. Its hash is computed again over all of them."""

MOST_SPANS = 32
"""So many spans are folded even when together they are still small."""


def spans_to_fold(newest_first: Sequence[tuple[Span, int]]) -> int:
    """Return how many of the newest spans of one source, given with their candles, are to be folded into one; or 0.

    They are folded when a further run like the last one would not fit in any more, or when they are many: an hourly job
    of 1m leaves one span a day, and one that runs every five minutes too, by way of spans of 160 candles.
    """
    together, count = 0, 0
    for place, (span, rows) in enumerate(newest_first):
        is_adjacent = place == 0 or span.end_ms == newest_first[place - 1][0].start_ms
        if not is_adjacent or together + rows > FOLDED_ROWS:
            break
        together, count = together + rows, count + 1
    if count < 2:
        return 0
    is_full = together > FOLDED_ROWS - newest_first[0][1]
    return count if is_full or count >= MOST_SPANS else 0
