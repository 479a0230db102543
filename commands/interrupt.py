"""Ctrl-C and SIGTERM: no wait outlives them, what is committed stays."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from core.errors import Interrupted

_STEP_S = 1.0
_STEPS = 9


class Interruption:
    """Whether a run has been told to stop, and what has to be ended then. Thread-safe."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._cancels: list[Callable[[], None]] = []

    @property
    def is_stopped(self) -> bool:
        """Whether the run has been told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Wake every sleeper; it raises Interrupted."""
        self._stop.set()

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond an interruption. Raises Interrupted."""
        if self._stop.wait(seconds):
            raise Interrupted("stopped while waiting", 130)

    @contextmanager
    def cancelling(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While the context lasts, let `cancel_statements` call `cancel`."""
        with self._lock:
            self._cancels.append(cancel)
        try:
            yield
        finally:
            with self._lock:
                self._cancels.remove(cancel)

    def cancel_statements(self) -> None:
        """End what waits for the database, from another thread than the one that waits."""
        with self._lock:
            cancels = list(self._cancels)
        for cancel in cancels:
            cancel()


@contextmanager
def stopped_by_signals(interruption: Interruption, end_process: Callable[[int, str], None] | None) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into Interrupted, with the usual 128 + signal as exit code; undo that at the end.

    To be entered in the main thread. Where that thread is held by the database, what it waits for is cancelled
    after a second; after nine seconds `end_process` is called with exit code and message, if there is one.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        interruption.stop()
        raise Interrupted(_message(number), 128 + number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _heard_in_a_thread(interruption, end_process):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _message(number: int) -> str:
    name = signal.Signals(number).name
    return f"stopped by {name}; what was committed stays, the next run goes on from there"


@contextmanager
def _heard_in_a_thread(interruption: Interruption, end_process: Callable[[int, str], None] | None) -> Iterator[None]:
    """Hear of signals in a thread of its own.

    Python runs a handler only between two of its own steps, and the main thread takes none while the database
    driver waits for an answer: for a lock that another session holds, or from a server that is gone.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    is_over = threading.Event()

    def watch() -> None:
        while told := reading.recv(1):
            if told[0] in (signal.SIGINT, signal.SIGTERM):
                end_soon(told[0])

    def end_soon(number: int) -> None:
        for _ in range(_STEPS):
            if is_over.wait(_STEP_S):  # a statement that is about to end may do so
                return
            if not interruption.is_stopped:
                interruption.cancel_statements()
        if end_process is not None:
            end_process(128 + number, f"{_message(number)} (the database did not answer in time)")

    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        is_over.set()
        writing.close()
        thread.join()
        reading.close()
