"""Keeps a complete, exact copy of Binance candles in PostgreSQL or TimescaleDB.

    python ohlcv_data_fetcher.py [COMMAND] [options]

The only entrypoint: parses the command line, reads the settings, runs one command, returns one exit code.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import uuid
from typing import TYPE_CHECKING, NoReturn

from core.errors import FetcherError, Interrupted, shortened
from core.exit_codes import EXIT_FAULT

if TYPE_CHECKING:
    from config.settings import Settings

EXIT_CODES = """\
exit codes: 0 all done; 1 unexpected fault; 2 usage or configuration; 3 finished, but some series
failed or gaps remain; 4 another run holds the lock; 5 the exchange cannot be used (banned,
geo-blocked, unreachable); 6 the database cannot be used; 130/143 stopped by Ctrl-C/SIGTERM"""


def _keep_memory_low() -> None:
    """Choose the allocator of Arrow's columns that gives back what is freed, before Arrow is loaded.

    Measured over a year of 1m by archives: a peak of 175 MiB instead of 290, at the same speed. Not built for Windows.
    """
    if sys.platform != "win32":
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
        os.environ.setdefault("JE_ARROW_MALLOC_CONF", "narenas:1")


def main(argv: list[str]) -> int:
    """Run one command and return the exit code."""
    arguments = parse_arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # symbols may be non-ASCII, an old console's encoding may not
            stream.reconfigure(errors="backslashreplace")
    _keep_memory_low()
    # Imported late: `--help` answers without loading the database driver and the rest.
    from commands.interrupt import install_handlers
    from commands.run_log import hide
    from config.settings import load_settings

    secrets: tuple[str, ...] = ()
    try:
        install_handlers()
        settings = load_settings(os.environ)
        secrets = settings.secrets
        return run_command(arguments, settings)
    except FetcherError as error:
        report(arguments, hide(str(error), secrets), error.exit_code)
        if isinstance(error, Interrupted):
            # Downloads in flight would be waited for; nothing of theirs is committed.
            sys.stdout.flush()
            os._exit(error.exit_code)
        return error.exit_code
    except Exception as error:
        logging.getLogger(__name__).exception("unexpected fault")
        report(
            arguments, hide(f"unexpected fault, please report it: {type(error).__name__}: {error}", secrets), EXIT_FAULT
        )
        return EXIT_FAULT


def run_command(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the command that `arguments` names."""
    run_id = uuid.uuid4().hex[:8]
    if arguments.command == "status":
        from commands.status import run_status

        return run_status(arguments, settings)
    if arguments.command == "check":
        from commands.check import run_check

        return run_check(arguments, settings, run_id)
    if arguments.command == "verify":
        from commands.verify import run_verify_command

        return run_verify_command(arguments, settings, run_id)
    if arguments.command == "demo":
        from commands.demo import run_demo

        return run_demo(arguments, settings, run_id)
    from commands.backfill import run_backfill

    return run_backfill(arguments, settings, run_id)


def report(arguments: argparse.Namespace, message: str, exit_code: int) -> None:
    """Say why the run ended: on stderr, and with --json as the one document on stdout."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    if arguments.json:
        print(json.dumps({"error": message, "exit_code": exit_code}))  # noqa: T201


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with 2, without repeating a word of any length."""
        super().error(shortened(message))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the parsed command line; argparse itself ends wrong usage with exit code 2."""
    return build_parser().parse_args(_with_default_command(argv))


_COMMANDS = ("backfill", "check", "verify", "status", "demo")


def _with_default_command(argv: list[str]) -> list[str]:
    if argv and (argv[0] in _COMMANDS or argv[0] in ("-h", "--help") or not argv[0].startswith("-")):
        return argv
    return ["backfill", *argv]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="ohlcv_data_fetcher.py",
        description="Keeps a complete, exact copy of Binance candles in PostgreSQL or TimescaleDB.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="backfill when none is given")
    common = _Parser(add_help=False, allow_abbrev=False)
    common.add_argument("--json", action="store_true", help="one JSON document on stdout, logs on stderr")
    verbosity = common.add_mutually_exclusive_group()
    verbosity.add_argument("--verbose", action="store_true", help="one line for every committed chunk")
    verbosity.add_argument("--quiet", action="store_true", help="warnings and errors only")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[common],
            help=text,
            description=text,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    _add_backfill_options(add("backfill", "fetch every wanted series up to the last closed candle (the default)"))
    _add_check_options(
        add("check", "report what is missing, absent at the exchange or damaged; reads only without --heal")
    )
    _add_verify_options(add("verify", "hold stored candles against the exchange, digit for digit"))
    status = add("status", "show each series, its table, rows, first and last candle, lag; reads only")
    status.add_argument("--symbols", nargs="+", metavar="S", help="only these series")
    demo = add("demo", "run a backfill offline, against a local replay exchange, into a database of its own")
    demo.add_argument("--recordings", metavar="DIR", help="serve recorded archives instead of a generated market")
    return parser


def _add_range_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--symbols", nargs="+", metavar="S", help="only these series")
    parser.add_argument("--start", metavar="D", help="ISO date or time, UTC")
    parser.add_argument("--end", metavar="D", help="ISO date or time, UTC, exclusive")


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    _add_range_options(parser)
    parser.add_argument("--heal", action="store_true", help="first fetch what is missing, and only that")


def _add_verify_options(parser: argparse.ArgumentParser) -> None:
    _add_range_options(parser)
    share = parser.add_mutually_exclusive_group()
    share.add_argument("--subset", metavar="n/t", help="part n of t: 1/30 to 30/30 on as many days cover everything")
    share.add_argument("--percent", metavar="P", help="so many percent of the candles, those longest unverified first")
    parser.add_argument(
        "--against",
        choices=("auto", "archive", "rest", "1m"),
        default="auto",
        help="auto: their archive's checksum, else the cheapest of daily archive and REST; 1m: the stored 1m candles",
    )
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--repair", action="store_true", help="write the exchange's values, keep the old ones")
    change.add_argument("--undo", metavar="RUN", help="put back what the --repair of this run changed")


def _add_backfill_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--symbols",
        nargs="+",
        metavar="S",
        help="series instead of symbols.yml: BTCUSDT, BTCUSDT/1h, um:BTCUSDT/5m, '*USDT/1d'",
    )
    parser.add_argument("--interval", metavar="I", help="interval of series that do not say theirs")
    parser.add_argument("--start", metavar="D", help="ISO date or time, UTC (default: listing)")
    parser.add_argument("--end", metavar="D", help="ISO date or time, UTC, exclusive (default: last closed candle)")
    parser.add_argument(
        "--source", choices=("auto", "archive", "rest"), default="auto", help="where candles may come from"
    )
    parser.add_argument("--heal-gaps", action="store_true", help="afterwards look for holes in what is stored, refetch")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, touch nothing")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
