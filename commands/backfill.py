"""`backfill`: every wanted series up to the last closed candle. The default command, what cron runs."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

from rich.console import Console

from commands.clock import local_now_ms
from commands.database import open_database, shared_budget
from commands.display import ProgressDisplay
from commands.dry_run import run_dry
from commands.interrupt import sleep
from commands.output import print_json
from commands.run_log import set_up_logging
from commands.summary import print_summary, summary_document
from commands.wanted import read_wanted, resolve_wanted
from config.settings import Settings
from core.sources import AllowedSources
from db.migrate import migrate
from db.timescale import use_timescale_if_there
from fetcher.binance.exchange import Exchange, ExchangeAddresses
from logic.backfill.ohlcv_handler import BackfillOptions, Observer, run_ohlcv_backfill


def run_backfill(arguments: argparse.Namespace, settings: Settings, run_id: str) -> int:
    """Run the backfill, or print its plan with --dry-run; return the exit code."""
    wanted, is_whole_file = read_wanted(arguments, settings)
    on_terminal = sys.stderr.isatty() and not arguments.json and not arguments.quiet
    console = Console(stderr=True) if on_terminal else None
    set_up_logging(
        run_id,
        log_level(arguments, settings),
        settings.secrets,
        None if arguments.dry_run else settings.log_dir,
        console,
    )
    exchange = Exchange(exchange_addresses(settings), sleep, local_now_ms)
    if arguments.dry_run:
        return run_dry(arguments, settings, wanted, exchange)
    database = open_database(settings)
    try:
        migrate(database)
        timescale = use_timescale_if_there(database)
        series = resolve_wanted(wanted, arguments, settings, database, exchange)
        exchange.archives.remove_leftovers()
        options = BackfillOptions(
            run_id=run_id,
            choice=AllowedSources(arguments.source),
            chunk_days=settings.chunk_days,
            workers=settings.fetch_workers,
            heal_gaps=arguments.heal_gaps,
            replaces_catalog=is_whole_file,
            timescale=timescale,
            compress_after_days=settings.compress_after_days,
            state_dir=settings.state_dir,
        )
        display = ProgressDisplay(console, exchange.weight_used) if console is not None else nullcontext(Observer())
        with display as observer, shared_budget(settings, exchange):
            summary = run_ohlcv_backfill(database, exchange, series, options, observer, local_now_ms)
    finally:
        database.close()
    if arguments.json:
        print_json(summary_document(summary))
    else:
        print_summary(summary, quiet=arguments.quiet)
    return summary.exit_code


def log_level(arguments: argparse.Namespace, settings: Settings) -> str:
    """Return the level of log lines that --verbose, --quiet and LOG_LEVEL ask for."""
    return "DEBUG" if arguments.verbose else "WARNING" if arguments.quiet else settings.log_level


def exchange_addresses(settings: Settings) -> ExchangeAddresses:
    """Return where the exchange is and how hard it may be asked, as the settings say."""
    return ExchangeAddresses(
        api_urls=settings.api_urls,
        archive_url=settings.archive_url,
        archive_list_url=settings.archive_list_url,
        weight_share=settings.weight_share,
        page_limit=settings.default_limit,
        workers=settings.fetch_workers,
        state_dir=settings.state_dir,
    )
