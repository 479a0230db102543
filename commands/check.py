"""`check`: is everything there that the exchange has? Reads only; with --heal fetches what is missing first."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

from commands.backfill import print_summary
from commands.check_report import check_report
from commands.command import Command
from commands.connections import database_address, reading, writing
from commands.context import CommandContext
from commands.exchange_access import asking, backfill_options
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
from config.settings import Settings
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK, worst
from core.ranges import TimeRange
from core.wanted import Wanted
from logic.backfill.heal import heal
from logic.backfill.results import RunSummary
from logic.documents import check_document, summary_document
from logic.gaps.check_run import check_each
from logic.gaps.series_check import SeriesCheck
from logic.opening import Database, database_exists
from logic.series_locks import Patience
from logic.stored import read_catalog


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What to check."""

    series: Wanted | None = None  # None: all that is stored
    times: TimeRange = field(default_factory=TimeRange)
    heal: bool = False  # first fetch what is missing
    gaps: bool = False  # list every gap with its reason and evidence
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file; without `heal` nothing is changed and no trace left."""
        return settings.log_dir if self.heal else None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_symbols_option(parser)
    add_range_options(parser)
    parser.add_argument("--heal", action="store_true", help="first fetch what is missing, and only that")
    parser.add_argument("--gaps", action="store_true", help="list every gap with its reason and evidence")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> CheckRequest:
    """Return the checked request. Raises ConfigurationError."""
    return CheckRequest(
        read_stored_series(arguments, settings),
        read_time_range(arguments),
        arguments.heal,
        arguments.gaps,
        read_output(arguments),
    )


def run(request: CheckRequest, context: CommandContext) -> int:
    """Print the report; return 0 when all that the exchange has is there, else 3 (with --heal also 1, 4 and 5)."""
    healed: list[RunSummary] = []
    checks: list[SeriesCheck] = []
    if request.heal and database_exists(database_address(context.settings)):
        with writing(context) as database:
            healed = _heal(request, context, database)
            checks = _check_all(request, context, database)
    else:
        with reading(context) as found:
            checks = [] if found is None else _check_all(request, context, found)
    if request.output.json:
        runs = {"heal_runs": [summary_document(one) for one in healed]} if request.heal else {}
        print_json(context.stdout, check_document(checks) | runs)
    else:
        _print(request, context, healed, checks)
    return _exit_code(healed, checks)


def _exit_code(healed: list[RunSummary], checks: list[SeriesCheck]) -> int:
    # Whether what is missing came is told by the checks that follow, so an incomplete heal alone says nothing more.
    of_runs = [code for summary in healed for code in summary.exit_codes if code != EXIT_INCOMPLETE]
    return worst([*of_runs, *(EXIT_OK if check.is_complete else EXIT_INCOMPLETE for check in checks)])


def _print(request: CheckRequest, context: CommandContext, healed: list[RunSummary], checks: list[SeriesCheck]) -> None:
    if checks:
        print_report(context.stdout, check_report(checks, request.gaps, request.output), request.output)
    elif not request.output.is_quiet:
        print_line(context.stdout, "nothing stored yet: run python ohlcv_data_fetcher.py backfill")
    for summary in healed:
        if not request.output.is_quiet:
            print_line(context.stdout, "what --heal did:")
        print_summary(context, summary, request.output)


def _check_all(request: CheckRequest, context: CommandContext, database: Database) -> list[SeriesCheck]:
    rows = read_catalog(database, request.series)
    checks = []
    with progress_bar(context, request.output) as bar:
        bar.start(len(rows), "check")
        for check in check_each(database, rows, request.times):
            bar.advance(1, f"check {check.row.series}")
            checks.append(check)
    return checks


def _heal(request: CheckRequest, context: CommandContext, database: Database) -> list[RunSummary]:
    before = _check_all(request, context, database)
    options = replace(backfill_options(context, database), patience=Patience(context.interruption.sleep))
    with asking(context) as exchange, progress_bar(context, request.output, exchange.weight_used) as bar:
        return heal(database, exchange, before, options, bar, context.now_ms)


COMMAND = Command(add_options, read_request, run)
