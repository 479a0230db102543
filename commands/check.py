"""`check`: is everything there that the exchange has? Reads only; with --heal fetches what is missing first."""

from __future__ import annotations

import argparse
from itertools import zip_longest

from commands.backfill import exchange_addresses, log_level
from commands.check_report import check_document, print_checks
from commands.clock import local_now_ms
from commands.database import database_exists, open_database, shared_budget
from commands.interrupt import sleep
from commands.output import print_json
from commands.run_log import set_up_logging
from commands.stored import choose_series, open_for_reading
from commands.summary import print_summary, summary_document
from commands.wanted import TimeRange, read_time_range
from config.settings import Settings
from core.exit_codes import EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_LOCKED, EXIT_OK
from core.sources import AllowedSources
from core.wanted import WantedSeries
from db.connection import Database, read_one_moment
from db.migrate import migrate
from db.timescale import use_timescale_if_there
from fetcher.binance.exchange import Exchange
from logic.backfill.ohlcv_handler import BackfillOptions, Observer, run_ohlcv_backfill
from logic.backfill.results import RunSummary
from logic.gaps.series_check import SeriesCheck, check_series


def run_check(arguments: argparse.Namespace, settings: Settings, run_id: str) -> int:
    """Print the report; return 0 when all that is not absent is there, else 3 (with --heal also 1, 4 and 5)."""
    times = read_time_range(arguments)
    healed: list[RunSummary] = []
    if arguments.heal and database_exists(settings):
        set_up_logging(run_id, log_level(arguments, settings), settings.secrets, settings.log_dir, None)
        database: Database | None = open_database(settings)
    else:
        database = open_for_reading(arguments, settings)
    checks: list[SeriesCheck] = []
    if database is not None:
        try:
            if arguments.heal:
                migrate(database)
                healed = _heal(arguments, settings, database, times, run_id)
            checks = _check_all(arguments, settings, database, times)
        finally:
            database.close()
    exit_code = EXIT_OK if all(check.is_complete for check in checks) else EXIT_INCOMPLETE
    for worse in (EXIT_LOCKED, EXIT_EXCHANGE, EXIT_FAULT):  # in the order of a backfill's, the worst last
        if any(summary.exit_code == worse for summary in healed):
            exit_code = worse
    if arguments.json:
        document = check_document(checks)
        print_json({**document, "healed": [summary_document(one) for one in healed]} if arguments.heal else document)
        return exit_code
    for summary in healed:
        print_summary(summary, quiet=arguments.quiet)
    if not checks and not arguments.quiet:
        print("nothing stored yet: run python ohlcv_data_fetcher.py backfill")
    shown = [check for check in checks if not (arguments.quiet and check.is_complete)]
    print_checks(shown, local_now_ms())
    return exit_code


def _check_all(
    arguments: argparse.Namespace, settings: Settings, database: Database, times: TimeRange
) -> list[SeriesCheck]:
    with database.transaction("read the catalog") as tx:
        rows = choose_series(tx, arguments.symbols, settings.default_interval)
    checks = []
    for row in rows:
        with database.transaction(f"check {row.series}") as tx:
            read_one_moment(tx)
            checks.append(check_series(tx, row, times.start_ms, times.end_ms, local_now_ms()))
    return checks


def _heal(
    arguments: argparse.Namespace, settings: Settings, database: Database, times: TimeRange, run_id: str
) -> list[RunSummary]:
    """Fetch what the checked ranges lack, by the path of a backfill that is bounded to them."""
    before = _check_all(arguments, settings, database, times)
    exchange = Exchange(exchange_addresses(settings), sleep, local_now_ms)
    exchange.archives.remove_leftovers()
    options = BackfillOptions(
        run_id=run_id,
        choice=AllowedSources.AUTO,
        chunk_days=settings.chunk_days,
        workers=settings.fetch_workers,
        heal_gaps=True,
        replaces_catalog=False,
        timescale=use_timescale_if_there(database),
        compress_after_days=settings.compress_after_days,
        state_dir=settings.state_dir,
    )
    summaries = []
    with shared_budget(settings, exchange):
        # Most series have one range; one fetched ad hoc before its wanted range has two, and nothing is wanted between.
        for spans in zip_longest(*(check.spans for check in before)):
            wanted = [
                WantedSeries(check.row.series, span.start_ms, span.end_ms)
                for check, span in zip(before, spans, strict=True)
                if span is not None
            ]
            summaries.append(run_ohlcv_backfill(database, exchange, wanted, options, Observer(), local_now_ms))
    return summaries
