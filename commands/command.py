"""What a command consists of. Adding one is a file with a `COMMAND` in it and a line in commands/table.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from commands.context import CommandContext
    from commands.options import OutputOptions
    from config.settings import Settings


class Request(Protocol):
    """One call of a command: checked values, no text of the command line."""

    @property
    def output(self) -> OutputOptions:
        """How the result is told."""

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file; None for a request that changes nothing and leaves no trace."""


R = TypeVar("R", bound=Request)


@dataclass(frozen=True, slots=True)
class Command(Generic[R]):
    """A command of the program."""

    add_options: Callable[[argparse.ArgumentParser], None]
    read_request: Callable[[argparse.Namespace, Settings], R]  # raises ConfigurationError; touches nothing
    run: Callable[[R, CommandContext], int]  # returns the exit code


AnyCommand = Command[Any]
