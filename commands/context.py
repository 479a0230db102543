"""What every command is handed: settings, clock, screen, and the way to be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console

from commands.interrupt import Interruption
from config.settings import Settings


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What a command works with. A command keeps nothing else, so it can be called many times in one process."""

    settings: Settings
    run_id: str  # stands in the log, in the ledger and in the summary
    now_ms: Callable[[], int]  # this machine's clock; never decides whether a candle has closed
    interruption: Interruption
    stdout: Console
    stderr: Console


def make_console(stream: TextIO, has_color: bool) -> Console:
    """Return the console that writes to `stream`; without colour and control characters where it is no terminal."""
    return Console(
        file=stream,
        force_terminal=stream.isatty(),
        no_color=not has_color,
        markup=False,
        emoji=False,
        highlight=False,
    )
