"""All commands, in the order of --help."""

from __future__ import annotations

from commands import backfill, check, demo, status, verify
from commands.command import AnyCommand

COMMANDS: dict[str, AnyCommand] = {
    one.name: one for one in (backfill.COMMAND, check.COMMAND, verify.COMMAND, status.COMMAND, demo.COMMAND)
}
DEFAULT_COMMAND = "backfill"
