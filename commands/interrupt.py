"""Ctrl-C and SIGTERM: no wait outlives them, what is committed stays."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from core.errors import Interrupted

_stop = threading.Event()


def install_handlers() -> None:
    """Turn SIGINT and SIGTERM into Interrupted in the main thread, with the usual 128 + signal as exit code."""

    def handle(number: int, _frame: FrameType | None) -> None:
        _stop.set()
        name = signal.Signals(number).name
        raise Interrupted(f"stopped by {name}; what was committed stays, the next run goes on from there", 128 + number)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def sleep(seconds: float) -> None:
    """Sleep, but not beyond an interruption. Raises Interrupted."""
    if _stop.wait(seconds):
        raise Interrupted("stopped while waiting", 130)
