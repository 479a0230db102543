"""`server`: starts or stops the embedded PostgreSQL by hand; a run starts it by itself and leaves it running."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from commands.command import Command
from commands.context import CommandContext
from commands.options import OutputOptions, add_output_options, read_output
from commands.screen import print_json, print_line
from config.settings import Settings
from core.exit_codes import EXIT_OK
from logic.opening import start_embedded, stop_embedded


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """What to do with the server of which data folder."""

    starts: bool
    folder: Path
    programs: Path | None = None  # another PostgreSQL's programs, for data that it made
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return None: no run leaves a trace here."""
        return None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="its data (default: EMBEDDED_PG_DIR)")
    parser.add_argument("--programs", metavar="P", help="start it with the PostgreSQL programs in this folder")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> ServerRequest:
    """Return the checked request; a folder is relative to the current one."""
    return ServerRequest(
        arguments.action == "start",
        Path(arguments.folder).absolute() if arguments.folder else settings.embedded_pg_dir,
        Path(arguments.programs).absolute() if arguments.programs else None,
        read_output(arguments),
    )


def run(request: ServerRequest, context: CommandContext) -> int:
    """Start or stop the server; return the exit code."""
    if request.starts:
        told = f"running; to look inside: {start_embedded(request.folder, request.programs)}"
    else:
        told = "stopped" if stop_embedded(request.folder) else "was not running"
    if request.output.json:
        print_json(context.stdout, {"folder": str(request.folder), "is_running": request.starts})
    elif not request.output.is_quiet:
        print_line(context.stdout, f"embedded PostgreSQL in {request.folder}: {told}")
    return EXIT_OK


COMMAND = Command(add_options, read_request, run)
