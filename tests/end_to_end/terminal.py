"""Runs the program in a terminal of a chosen width, as a person does, and reads what stands there."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from forked_program import CAN_FORK, fork_and_wait
from program import Program

BAR = set("━╸╺")
"""What a progress bar is drawn with."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3|9)[0-7](?:;\d+)*m|\x1b\[(?:\d+;)*38;")


@dataclass(frozen=True)
class Shown:
    """What a terminal was sent, and the exit code."""

    code: int
    raw: str

    @property
    def lines(self) -> list[str]:
        """The lines without control sequences, each state of a progress bar among them."""
        return [line.rstrip() for line in re.split(r"\r?\n|\r", _CONTROL.sub("", self.raw))]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def settled(self) -> list[str]:
        """The lines that are left when the bar is gone, from the first that is not empty."""
        kept = [line for line in self.lines if not BAR & set(line)]
        return list(itertools.dropwhile(lambda line: not line, kept))

    @property
    def has_color(self) -> bool:
        return _COLOR.search(self.raw) is not None


def run_in_terminal(program: Program, *arguments: str, columns: int = 80, **environment: str) -> Shown:
    """Run a command with stdout and stderr on one terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    unset = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    inherited = {name: value for name, value in program.full_environment().items() if name not in unset}
    environment = {**inherited, "TERM": "xterm-256color", **environment}
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(_run_on, theirs, program, arguments, environment)
        sent = bytearray()
        with contextlib.suppress(OSError):  # the last of the other side has gone
            while part := os.read(ours, 65_536):
                sent += part
        os.close(ours)
        return Shown(running.result(), sent.decode("utf-8", "replace"))


def _run_on(terminal: int, program: Program, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program with its output on `terminal`, close that and return the exit code."""
    try:
        if CAN_FORK:
            tty = Path(os.ttyname(terminal))
            return fork_and_wait(arguments, environment, program.folder, (tty, tty), 120)
        command = program.command(*arguments)
        on = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        return subprocess.run(command, env=environment, cwd=program.folder, check=False, **on).returncode
    finally:
        os.close(terminal)
