"""This machine's clock, for stamps in logs and ledger. Never decides whether a candle has closed."""

from __future__ import annotations

import time


def local_now_ms() -> int:
    """Return epoch ms."""
    return time.time_ns() // 1_000_000
