"""Other tools that read live frames, each in a process of its own with a sender of its own."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from common import PROJECT
from stream_live import Sender

OTHER_TOOLS = ("websockets", "cryptofeed", "python_binance")
STREAMS = 400
_START_S = 30.0


class OtherTool:
    """One of other_tools/, subscribed to everything."""

    def __init__(self, name: str, python: Path) -> None:
        self.sender = Sender(minutes=100)
        script = PROJECT / "benchmarks" / "other_tools" / f"{name}_stream.py"
        command = [str(python), str(script), self.sender.urls["spot"]]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ends_s = time.monotonic() + _START_S
        while sum(self.sender.ask("connections")["streams"]) < STREAMS:  # type: ignore[call-overload]
            if time.monotonic() > ends_s or self._process.poll() is not None:
                raise SystemExit(f"{name} does not subscribe")
            time.sleep(0.1)

    def begin(self) -> None:
        """Count anew."""
        self._say("begin")

    def end(self, sent: int) -> dict[str, object]:
        """Give it time to handle what was sent, and return what it has counted: a tool may lose frames."""
        for _ in range(20):
            time.sleep(0.25)
            self._say("end")
            assert self._process.stdout is not None  # noqa: S101
            found: dict[str, object] = json.loads(self._process.stdout.readline())
            if int(str(found["handled"])) >= sent:
                break
        return found

    def stop(self) -> None:
        """End it and its sender."""
        self._process.kill()
        self._process.wait()
        self.sender.stop()

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
