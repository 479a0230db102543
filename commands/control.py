"""`stream --control`: tells the stream that runs what to do."""

from __future__ import annotations

from dataclasses import dataclass

from commands.connections import reading
from commands.context import CommandContext
from commands.options import OutputOptions
from commands.screen import Tone, print_json, print_line
from core.exit_codes import EXIT_LOCKED, EXIT_OK
from core.instrument import Market
from logic.live.control import ask_for_reconnect
from logic.monitored import read_monitored


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """New connections."""

    market: Market | None = None  # None: of all markets


def control_stream(request: ControlRequest, output: OutputOptions, context: CommandContext) -> int:
    """Have running streams make new connections; return the exit code: 4 when none has replied."""
    with reading(context) as database:
        is_there = database is not None and bool(read_monitored(database, None).alive)
        obeyed = ask_for_reconnect(database, request.market) if database is not None and is_there else []
    exit_code = EXIT_OK if obeyed else EXIT_LOCKED
    if output.json:
        streams = [{"host": one.host, "pid": one.pid} for one in obeyed]
        print_json(context.stdout, {"exit_code": exit_code, "reconnecting": streams})
    elif not obeyed:
        print_line(context.stdout, "no stream is running, or none has replied within ten seconds", Tone.ATTENTION)
    elif not output.is_quiet:
        for one in obeyed:
            print_line(context.stdout, f"{one.host}, process {one.pid}: makes new connections", Tone.GOOD)
    return exit_code
