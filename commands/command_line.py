"""From the words of the command line to a command and its options. Touches nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from commands.command import AnyCommand
from commands.table import COMMANDS, DEFAULT_COMMAND, load_command
from core.errors import ConfigurationError
from core.series import suggest

_PROGRAM = "ohlcv_data_fetcher.py"
_DESCRIPTION = "Keeps a complete, exact copy of Binance candles in PostgreSQL or TimescaleDB."
_EXIT_CODES = """\
exit codes: 0 all done; 1 unexpected fault; 2 usage or configuration; 3 finished, but some series
failed or gaps remain; 4 another run holds the lock; 5 the exchange cannot be used (banned,
geo-blocked, unreachable); 6 the database cannot be used; 130/143 stopped by Ctrl-C/SIGTERM"""


class UsageError(ConfigurationError):
    """The command line is wrong."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command with its options."""

    command: AnyCommand
    arguments: argparse.Namespace


class CommandParser(argparse.ArgumentParser):
    """A parser that neither prints nor ends the process: it raises UsageError."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")

    def suggestion(self, option: str) -> str:
        """Return ` (did you mean --X?)` for a misspelt option, or nothing."""
        known = [name for name in self._option_string_actions if name not in ("-h", "--help")]
        return suggest(option.partition("=")[0], known)


def command_parser(name: str, command: AnyCommand) -> CommandParser:
    """Return the parser of one command."""
    parser = CommandParser(
        prog=f"{_PROGRAM} {name}",
        description=COMMANDS[name],
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,  # argparse would print it itself, to the process's own stdout
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    command.add_options(parser)
    return parser


def help_text() -> str:
    """Return the help on the whole program."""
    listed = "\n".join(f"  {name:<10}{summary}" for name, summary in COMMANDS.items())
    return (
        f"usage: {_PROGRAM} [COMMAND] [options]\n\n{_DESCRIPTION}\n\ncommands ({DEFAULT_COMMAND} when none is given):\n"
        f"{listed}\n\nCOMMAND --help tells the options of a command.\n\n{_EXIT_CODES}\n"
    )


def parse_command_line(argv: Sequence[str]) -> CommandLine | str:
    """Return the command and its parsed options, or the help to print instead.

    Raises UsageError, with a suggestion where a word is near.
    """
    if argv and argv[0] in ("-h", "--help"):
        return help_text()
    named = bool(argv) and not argv[0].startswith("-")
    name = argv[0] if named else DEFAULT_COMMAND
    if name not in COMMANDS:
        near = suggest(name, list(COMMANDS))
        raise UsageError(f"there is no command {name!r}{near}; there are {', '.join(COMMANDS)}")
    command = load_command(name)
    parser = command_parser(name, command)
    arguments, unknown = parser.parse_known_args(list(argv[1:] if named else argv))
    if unknown:
        told = ", ".join(f"{word}{parser.suggestion(word) if word.startswith('--') else ''}" for word in unknown)
        parser.error(f"unrecognized arguments: {told}")
    return parser.format_help() if arguments.help else CommandLine(command, arguments)
