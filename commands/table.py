"""All commands, in the order of --help: a line each, and where to find the rest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commands.command import AnyCommand

COMMANDS = {
    "backfill": "fetch every wanted series up to the last closed candle (the default)",
    "stream": "fetch, then store candles live, the moment they close, until told to end",
    "check": "report what is missing, not at the exchange or damaged; reads only without --heal",
    "verify": "hold stored candles against the exchange, digit for digit",
    "status": "show each series, its candles, the newest of them, lag; reads only",
    "monitor": "show what live streams are doing, again and again; reads only",
    "server": "start or stop the embedded PostgreSQL by hand",
    "demo": "run a backfill offline, against a local replay exchange, into a database of its own",
}
"""Each command's name, which is that of its file, and what it does."""
DEFAULT_COMMAND = "backfill"


def load_command(name: str) -> AnyCommand:
    """Import one command: `--help` and `status` need not load what a backfill needs."""
    command: AnyCommand = import_module(f"commands.{name}").COMMAND
    return command
