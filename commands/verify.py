"""`verify`: stored candles against the exchange, digit for digit; --repair writes its values, --undo goes back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from commands.command import Command
from commands.connections import database_address, writing
from commands.context import CommandContext
from commands.exchange_access import asking
from commands.options import (
    OutputOptions,
    add_output_options,
    add_range_options,
    add_symbols_option,
    read_output,
    read_stored_series,
    read_time_range,
)
from commands.progress import progress_bar
from commands.screen import print_json, print_line, print_report
from commands.verify_report import aggregates_report, undo_report, verification_report
from config.settings import Settings
from core.errors import ConfigurationError
from core.exit_codes import EXIT_LOCKED, EXIT_OK
from core.ranges import TimeRange
from core.sources import AllowedSources
from core.subset import Part, parse_part, parse_percent
from core.wanted import Wanted
from logic.documents import aggregates_document, undo_document, verification_document
from logic.opening import Database, database_exists
from logic.series_locks import Patience
from logic.stored import read_catalog
from logic.verify.aggregate_check import AggregateResult, aggregate_exit_code, check_aggregates
from logic.verify.undo import undo_repair
from logic.verify.verify_run import VerifyOptions, VerifySummary, run_verify

_MINUTES = "1m"
_LONGER = "longer"


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify against what."""

    series: Wanted | None = None  # None: all that is stored
    times: TimeRange = field(default_factory=TimeRange)
    part: Part | None = None  # of the committed spans
    share: Fraction | None = None  # of the candles, those longest unverified first
    against: AllowedSources | None = AllowedSources.AUTO  # None: the stored 1m candles
    only_longer: bool = False  # only against longer candles of another source
    repair: bool = False  # write the exchange's values, keep the old ones
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file."""
        return settings.log_dir


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """The repair to take back."""

    undone_run: str
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file."""
        return settings.log_dir


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_symbols_option(parser)
    add_range_options(parser)
    share = parser.add_mutually_exclusive_group()
    share.add_argument("--subset", metavar="n/t", help="part n of t: 1/30 to 30/30 on as many days cover everything")
    share.add_argument("--percent", metavar="P", help="so many percent of the candles, those longest unverified first")
    parser.add_argument(
        "--against",
        choices=[*(one.value for one in AllowedSources), _LONGER, _MINUTES],
        default="auto",
        help="auto: their archive's checksum, else the cheapest of daily archive and REST, then longer candles; "
        "longer: only longer candles of another source; 1m: the stored 1m candles",
    )
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--repair", action="store_true", help="write the exchange's values, keep the old ones")
    change.add_argument("--undo", metavar="RUN", help="put back what the --repair of this run changed")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> VerifyRequest | UndoRequest:
    """Return the checked request. Raises ConfigurationError."""
    times = read_time_range(arguments)
    part = None if arguments.subset is None else parse_part(arguments.subset)
    share = None if arguments.percent is None else parse_percent(arguments.percent)
    if arguments.against == _MINUTES and (arguments.repair or part is not None or share is not None):
        raise ConfigurationError(
            "--against 1m compares stored candles with each other; it takes neither --repair (that needs the "
            "exchange's word) nor --subset or --percent"
        )
    if arguments.undo is not None:
        if part is not None or share is not None or not times.is_unbounded:
            raise ConfigurationError(
                "--undo takes back all of a repair: leave --subset, --percent, --start and --end out"
            )
        return UndoRequest(arguments.undo, read_output(arguments))
    return VerifyRequest(
        read_stored_series(arguments, settings),
        times,
        part,
        share,
        None if arguments.against == _MINUTES else _sources(arguments.against),
        arguments.against == _LONGER,
        arguments.repair,
        read_output(arguments),
    )


def _sources(against: str) -> AllowedSources:
    return AllowedSources.AUTO if against == _LONGER else AllowedSources(against)


def run(request: VerifyRequest | UndoRequest, context: CommandContext) -> int:
    """Verify, repair or undo, print the report, return the exit code."""
    if isinstance(request, UndoRequest):
        return _undo(request, context)
    if not database_exists(database_address(context.settings)):
        return _finish(request, context, VerifySummary(context.run_id, []))
    with writing(context) as database:
        if request.against is None:
            return _finish_aggregates(request, context, _check_aggregates(request, context, database))
        return _finish(request, context, _verify(request, request.against, context, database))


def _verify(
    request: VerifyRequest, against: AllowedSources, context: CommandContext, database: Database
) -> VerifySummary:
    rows = read_catalog(database, request.series)
    patience = Patience(context.interruption.sleep)
    options = VerifyOptions(
        context.run_id,
        against,
        request.repair,
        request.only_longer,
        request.part,
        request.share,
        request.times,
        patience,
        context.settings.witness,
    )
    with asking(context) as exchange, progress_bar(context, request.output, exchange.weight_used) as bar:
        return run_verify(database, exchange, rows, options, context.now_ms, bar)


def _check_aggregates(request: VerifyRequest, context: CommandContext, database: Database) -> list[AggregateResult]:
    rows = read_catalog(database, request.series)
    results = []
    with progress_bar(context, request.output) as bar:
        bar.start(len(rows), "verify")
        for row in rows:
            results += check_aggregates(database, [row], request.times.start_ms, request.times.end_ms)
            bar.advance(1, f"verify {row.series}")
    return results


def _finish(request: VerifyRequest, context: CommandContext, summary: VerifySummary) -> int:
    if request.output.json:
        print_json(context.stdout, verification_document(summary))
    elif summary.results or summary.unusable_markets:
        print_report(context.stdout, verification_report(summary), request.output)
    elif not request.output.is_quiet:
        print_line(context.stdout, "nothing stored to verify")
    return summary.exit_code


def _finish_aggregates(request: VerifyRequest, context: CommandContext, results: list[AggregateResult]) -> int:
    exit_code = aggregate_exit_code(results)
    if request.output.json:
        print_json(context.stdout, aggregates_document(results, exit_code))
    elif results:
        print_report(context.stdout, aggregates_report(results), request.output)
    elif not request.output.is_quiet:
        print_line(context.stdout, "no series longer than 1m is stored")
    return exit_code


def _undo(request: UndoRequest, context: CommandContext) -> int:
    with writing(context) as database:
        undone = undo_repair(database, request.undone_run, context.run_id, context.now_ms)
    exit_code = EXIT_LOCKED if any(one.is_locked for one in undone) else EXIT_OK
    if request.output.json:
        print_json(context.stdout, undo_document(context.run_id, request.undone_run, undone, exit_code))
    else:
        print_report(context.stdout, undo_report(undone), request.output)
    return exit_code


COMMAND = Command(add_options, read_request, run)
