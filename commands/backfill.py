"""`backfill`: every wanted series up to the last closed candle. The default command, what cron runs."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import nullcontext

from rich.console import Console

from commands.clock import local_now_ms
from commands.database import database_exists, open_database
from commands.display import ProgressDisplay, print_table
from commands.interrupt import sleep
from commands.output import print_json, time_text
from commands.run_log import set_up_logging
from commands.wanted import read_wanted, resolve_wanted
from config.settings import Settings
from core.errors import EXIT_INCOMPLETE, EXIT_OK
from core.plan import NOTHING, SourceChoice
from core.wanted import Wanted
from db.catalog import load_catalog
from db.ledger import load_totals
from db.migrate import is_migrated, migrate
from db.timescale import use_timescale_if_there
from logic.dry_run import Known, PlannedSeries, plan_backfill
from logic.exchange import Exchange, ExchangeAddresses
from logic.ohlcv_handler import BackfillOptions, Observer, run_ohlcv_backfill
from logic.results import RunSummary

_log = logging.getLogger(__name__)


def run_backfill(arguments: argparse.Namespace, settings: Settings, run_id: str) -> int:
    """Run the backfill, or print its plan with --dry-run; return the exit code."""
    wanted, is_whole_file = read_wanted(arguments, settings)
    on_terminal = sys.stderr.isatty() and not arguments.json and not arguments.quiet
    console = Console(stderr=True) if on_terminal else None
    set_up_logging(
        run_id, _level(arguments, settings), settings.secrets, None if arguments.dry_run else settings.log_dir, console
    )
    exchange = Exchange(_addresses(settings), sleep, local_now_ms)
    if arguments.dry_run:
        return _dry_run(arguments, settings, wanted, exchange)
    database = open_database(settings)
    try:
        migrate(database)
        timescale = use_timescale_if_there(database)
        series = resolve_wanted(wanted, arguments, settings, database, exchange)
        exchange.archives.remove_leftovers()
        options = BackfillOptions(
            run_id=run_id,
            choice=SourceChoice(arguments.source),
            chunk_days=settings.chunk_days,
            workers=settings.fetch_workers,
            heal_gaps=arguments.heal_gaps,
            authoritative=is_whole_file,
            timescale=timescale,
            compress_after_days=settings.compress_after_days,
            state_dir=settings.state_dir,
        )
        display = ProgressDisplay(console, exchange.weight_used) if console is not None else nullcontext(Observer())
        with display as observer:
            summary = run_ohlcv_backfill(database, exchange, series, options, observer, local_now_ms)
    finally:
        database.close()
    if arguments.json:
        print_json(summary_document(summary))
    else:
        print_summary(summary, quiet=arguments.quiet)
    return summary.exit_code


def _level(arguments: argparse.Namespace, settings: Settings) -> str:
    return "DEBUG" if arguments.verbose else "WARNING" if arguments.quiet else settings.log_level


def _addresses(settings: Settings) -> ExchangeAddresses:
    return ExchangeAddresses(
        api_urls=settings.api_urls,
        archive_url=settings.archive_url,
        archive_list_url=settings.archive_list_url,
        weight_share=settings.weight_share,
        page_limit=settings.default_limit,
        workers=settings.fetch_workers,
        state_dir=settings.state_dir,
    )


def summary_document(summary: RunSummary) -> dict[str, object]:
    """Return the machine-readable summary (`--json`)."""
    return {
        "run_id": summary.run_id,
        "exit_code": summary.exit_code,
        "seconds": round(summary.seconds, 3),
        "request_weight_used": summary.weight_used,
        "unusable_markets": summary.unusable_markets,
        "series": [
            {
                "market": result.series.market.value,
                "symbol": result.series.symbol,
                "interval": result.series.interval.code,
                "table": result.series.table_name,
                "outcome": result.outcome,
                "inserted": result.saved.inserted,
                "already_there": result.saved.equal,
                "conflicts": result.saved.conflicts,
                "rows_by_source": result.rows_by_source,
                "chunks": result.chunks,
                "covered_until": time_text(result.covered_until_ms),
                "gaps": [{"start": time_text(g.start_ms), "end": time_text(g.end_ms)} for g in result.open_gaps],
                "healed": result.healed,
                "confirmed_absent": result.confirmed_absent,
                "error": result.error,
            }
            for result in summary.results
        ],
    }


def print_summary(summary: RunSummary, quiet: bool) -> None:
    """Print the summary: a table in a terminal, plain lines elsewhere; with `quiet` only what went wrong."""
    shown = [result for result in summary.results if not quiet or result.outcome != "ok"]
    rows = [
        [
            str(result.series),
            result.outcome,
            f"{result.saved.inserted:,}",
            f"{result.saved.equal:,}",
            f"{result.saved.conflicts:,}",
            str(len(result.open_gaps)),
            "" if result.healed is None else f"{result.healed:,}/{result.confirmed_absent:,}",
            time_text(result.covered_until_ms) or "-",
            result.error or "",
        ]
        for result in shown
    ]
    columns = ["series", "outcome", "inserted", "there", "conflicts", "gaps", "healed/absent", "covered to", "error"]
    if sys.stdout.isatty() and rows:
        print_table("", columns, rows, numbers=columns[2:7])
    else:
        for row in rows:
            facts = [f"{name} {value}" for name, value in zip(columns[2:], row[2:], strict=True) if value]
            print(f"{row[0]}: {row[1]}, {', '.join(facts)}")
    for market, why in summary.unusable_markets.items():
        print(f"market {market} cannot be used: {why}")
    if not quiet:
        inserted = sum(result.saved.inserted for result in summary.results)
        rate = inserted / summary.seconds if summary.seconds else 0
        print(
            f"{len(summary.results)} series, {inserted:,} candles inserted in {summary.seconds:.1f} s "
            f"({rate:,.0f}/s), request weight {summary.weight_used:,}, exit {summary.exit_code}"
        )


def _dry_run(arguments: argparse.Namespace, settings: Settings, wanted: Wanted | None, exchange: Exchange) -> int:
    database = open_database(settings) if database_exists(settings) else None
    try:
        series = resolve_wanted(wanted, arguments, settings, database, exchange)
        known = {}
        if database is not None:
            with database.transaction("read what is covered") as cursor:
                if is_migrated(cursor):
                    totals = load_totals(cursor)
                    known = {
                        row.series: Known(row.listing_ms, totals[row.id].covered if row.id in totals else ())
                        for row in load_catalog(cursor)
                    }
        planned = plan_backfill(series, exchange, SourceChoice(arguments.source), settings.chunk_days, known)
    finally:
        if database is not None:
            database.close()
    _print_plan(planned, arguments.json, exchange, settings)
    return EXIT_INCOMPLETE if any(one.error for one in planned) else EXIT_OK


_BYTES_PER_CANDLE = 130  # measured on plain PostgreSQL, index included


def _print_plan(planned: list[PlannedSeries], as_json: bool, exchange: Exchange, settings: Settings) -> None:
    total = sum((one.estimate for one in planned if one.estimate is not None), NOTHING)
    seconds = total.seconds(exchange.weight_per_minute(), settings.fetch_workers)
    if as_json:
        print_json(
            {
                "dry_run": True,
                "series": [_plan_document(one) for one in planned],
                "chunks": total.chunks,
                "requests": total.requests,
                "request_weight": total.weight,
                "expected_rows": total.rows,
                "download_bytes": total.bytes,
                "stored_bytes": total.rows * _BYTES_PER_CANDLE,
                "seconds": round(seconds, 1),
            }
        )
        return
    columns = ["series", "range", "monthly", "daily", "rest", "requests", "weight", "candles", "download MB", "error"]
    rows = []
    for one in planned:
        cost = one.estimate or NOTHING
        wanted_span = one.plan.span if one.plan is not None else None
        sources = [str(cost.chunks.get(source, 0)) for source in ("archive-monthly", "archive-daily", "rest")]
        figures = [f"{cost.requests:,}", f"{cost.weight:,}", f"{cost.rows:,}", f"{cost.bytes / 1e6:,.1f}"]
        rows.append([str(one.series), str(wanted_span or "nothing yet"), *sources, *figures, one.error or ""])
    print_table("dry run: nothing is fetched or stored", columns, rows, numbers=columns[2:9])
    print(
        f"{sum(total.chunks.values()):,} chunks, {total.requests:,} requests, request weight {total.weight:,}, "
        f"at most {total.rows:,} candles, {total.bytes / 1e6:,.1f} MB to download, "
        f"some {total.rows * _BYTES_PER_CANDLE / 1e6:,.1f} MB to store, roughly {seconds:,.0f} s"
    )


def _plan_document(one: PlannedSeries) -> dict[str, object]:
    cost = one.estimate or NOTHING
    span = one.plan.span if one.plan is not None else None
    return {
        "market": one.series.market.value,
        "symbol": one.series.symbol,
        "interval": one.series.interval.code,
        "start": time_text(span.start_ms) if span is not None else None,
        "end": time_text(span.end_ms) if span is not None else None,
        "chunks": cost.chunks,
        "requests": cost.requests,
        "request_weight": cost.weight,
        "expected_rows": cost.rows,
        "download_bytes": cost.bytes,
        "error": one.error,
    }
