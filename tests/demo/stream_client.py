"""A client for tests of the replay exchange's streams, that knows nothing but WebSocket and JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 10.0


class Client:
    """One connection; messages are decoded JSON."""

    def __init__(self, url: str) -> None:
        # No pings of its own: they would count as messages.
        self.socket: ClientConnection = connect(url, compression=None, ping_interval=None, legacy=True)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(self, method: str, *params: Any, request_id: Any = 1) -> Any:
        """Send a request and return its answer; frames that come before it are passed over."""
        self.socket.send(json.dumps({"method": method, "params": list(params), "id": request_id}))
        return self.until(lambda message: "result" in message or "code" in message)

    def read(self, timeout: float = PATIENCE_S) -> Any:
        """Return the next message. Raises TimeoutError."""
        return json.loads(self.socket.recv(timeout=timeout))

    def until(self, is_wanted: Callable[[Any], bool]) -> Any:
        """Return the first message that is wanted. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE_S
        while True:
            message = self.read(end - time.monotonic())
            if is_wanted(message):
                return message

    def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether no message comes for so long."""
        try:
            self.read(seconds)
        except TimeoutError:
            return True
        return False


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until it is so. Fails after a while."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)
