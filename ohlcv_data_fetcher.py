"""Keeps a complete, exact copy of Binance candles in PostgreSQL or TimescaleDB.

    python ohlcv_data_fetcher.py [COMMAND] [options]

The only entrypoint: parses the command line, reads the settings, runs one command, returns one exit code.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn, TextIO

from core.errors import FetcherError
from core.exit_codes import EXIT_FAULT, EXIT_OK

if TYPE_CHECKING:
    from commands.command import Request
    from commands.command_line import CommandLine
    from commands.context import CommandContext
    from commands.run_log import LogOptions

EndProcess = Callable[[int, str], None]
"""Ends the process with an exit code and a message, from whatever thread."""


def main(
    argv: Sequence[str],
    environ: Mapping[str, str] = os.environ,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    end_process: EndProcess | None = None,
) -> int:
    """Run one command and return the exit code. Can be called any number of times and leaves nothing behind.

    Signals are heard in the main thread only. `end_process` is called when a signal has come and the database
    has held the main thread for nine seconds since.
    """
    # Imported late, here and below: `--help` answers without loading what a run needs.
    from commands.command_line import parse_command_line

    out, err = stdout or sys.stdout, stderr or sys.stderr
    secrets: list[str] = []
    try:
        line = parse_command_line(argv)
        if isinstance(line, str):
            out.write(line)
            return EXIT_OK
        return _run(line, _make_context(environ, out, err, secrets), end_process)
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough of it
        return _NOBODY_READS
    except FetcherError as error:
        message, exit_code = str(error), error.exit_code
    except Exception as error:
        message = f"unexpected fault, please report it: {type(error).__name__}: {error}"
        exit_code = EXIT_FAULT
    from commands.context import make_console
    from commands.run_log import redact
    from commands.screen import Tone, print_line

    message = redact(message, secrets)
    print_line(make_console(err, _has_color(environ)), f"error: {message}", Tone.WRONG)
    if "--json" in argv:
        out.write(json.dumps({"error": message, "exit_code": exit_code}) + "\n")
    return exit_code


def _make_context(environ: Mapping[str, str], out: TextIO, err: TextIO, secrets: list[str]) -> CommandContext:
    """Read the settings; what of them must never be printed is added to `secrets` at once."""
    from commands.clock import local_now_ms
    from commands.context import CommandContext, make_console
    from commands.interrupt import Interruption
    from config.settings import load_settings

    settings = load_settings(environ)
    secrets += settings.secrets
    has_color = _has_color(environ)
    consoles = make_console(out, has_color), make_console(err, has_color)
    return CommandContext(settings, uuid.uuid4().hex[:8], local_now_ms, Interruption(), *consoles)


def _has_color(environ: Mapping[str, str]) -> bool:
    return not environ.get("NO_COLOR")  # no-color.org: set and not empty


def _run(line: CommandLine, context: CommandContext, end_process: EndProcess | None) -> int:
    from commands.interrupt import stopped_by_signals
    from commands.run_log import logging_to

    with ExitStack() as stack:
        stack.callback(context.interruption.stop)  # whatever ended the run, no thread of it goes on waiting
        if threading.current_thread() is threading.main_thread():
            stack.enter_context(stopped_by_signals(context.interruption, end_process))
        request = line.command.read_request(line.arguments, context.settings)
        stack.enter_context(logging_to(_log_options(request, context), context.stderr))
        try:
            return line.command.run(request, context)
        except FetcherError:
            raise
        except Exception:
            logging.getLogger(__name__).exception("unexpected fault")
            raise


def _log_options(request: Request, context: CommandContext) -> LogOptions:
    """Return what is logged where.

    The screen shows warnings only where a person sees the result there, or where nothing is changed.
    """
    from commands.run_log import LogOptions

    settings, output = context.settings, request.output
    folder = request.log_dir(settings)
    level = settings.log_level
    is_told_elsewhere = output.is_quiet or folder is None or (context.stderr.is_terminal and not output.json)
    if output.is_verbose:
        level = "DEBUG"
    elif is_told_elsewhere and level in ("DEBUG", "INFO"):
        level = "WARNING"
    file_level = "DEBUG" if "DEBUG" in (level, settings.log_level) else "INFO"
    return LogOptions(context.run_id, level, settings.secrets, folder, file_level)


def _keep_memory_low() -> None:
    """Tell the allocator of Arrow's columns to give back at once what is freed, before Arrow is loaded.

    It is mimalloc, which Arrow's wheels have for every system. Measured over a year of 1m by archives: a peak of
    155 MiB instead of 215, at the same speed.
    """
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
    os.environ.setdefault("MIMALLOC_ARENA_EAGER_COMMIT", "0")


def _end_process(exit_code: int, message: str) -> None:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    os._exit(exit_code)


def _run_as_process() -> NoReturn:
    """Run the command line of this process, and end it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # symbols may be non-ASCII, an old console's encoding may not
            stream.reconfigure(errors="backslashreplace")
    _keep_memory_low()
    exit_code = main(sys.argv[1:], end_process=_end_process)
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except BrokenPipeError:
        exit_code = _NOBODY_READS
    # Not sys.exit, which would wait for threads that download or wait; nothing of theirs is committed any more.
    os._exit(exit_code)


_NOBODY_READS = 128 + 13  # as if ended by SIGPIPE, which is what shells expect

if __name__ == "__main__":
    _run_as_process()
