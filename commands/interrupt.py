"""Ctrl-C and SIGTERM: no wait outlives them, what is committed stays."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from core.errors import Interrupted

_STEP_S = 1.0
_STEPS = 9

_stop = threading.Event()
_cancels: list[Callable[[], None]] = []


def install_handlers() -> None:
    """Turn SIGINT and SIGTERM into Interrupted in the main thread, with the usual 128 + signal as exit code."""

    def handle(number: int, _frame: FrameType | None) -> None:
        _stop.set()
        raise Interrupted(_message(number), 128 + number)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    _watch_signals()


def cancel_when_stopped(cancel: Callable[[], None]) -> None:
    """Call `cancel`, from another thread, when a signal has come and the main thread is held by a statement."""
    _cancels.append(cancel)


def sleep(seconds: float) -> None:
    """Sleep, but not beyond an interruption. Raises Interrupted."""
    if _stop.wait(seconds):
        raise Interrupted("stopped while waiting", 130)


def _message(number: int) -> str:
    name = signal.Signals(number).name
    return f"stopped by {name}; what was committed stays, the next run goes on from there"


def _watch_signals() -> None:
    """Hear of signals in a thread of its own.

    Python runs a handler only between two of its own steps, and the main thread takes none while the database
    driver waits for an answer: for a lock that another session holds, or from a server that is gone.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        with writing:  # kept open as long as the thread lives
            while told := reading.recv(1):
                if told[0] in (signal.SIGINT, signal.SIGTERM):
                    _end_soon(told[0])

    threading.Thread(target=watch, name="signals", daemon=True).start()


def _end_soon(number: int) -> None:
    """End what holds the main thread, and after nine seconds the process, if it is not gone by then."""
    for _ in range(_STEPS):
        time.sleep(_STEP_S)  # a statement that is about to end may do so
        if not _stop.is_set():
            for cancel in _cancels:
                cancel()
    print(f"error: {_message(number)} (the database did not answer in time)", file=sys.stderr)
    os._exit(128 + number)
