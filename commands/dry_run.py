"""`backfill --dry-run`: the plan and what it will cost; touches nothing."""

from __future__ import annotations

import argparse

from commands.database import database_exists, open_database
from commands.output import print_json, time_text
from commands.tables import print_table
from commands.wanted import resolve_wanted
from config.settings import Settings
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.plan import NOTHING
from core.sources import AllowedSources
from core.wanted import Wanted
from db.catalog import load_catalog
from db.ledger import load_totals
from db.migrate import is_migrated
from fetcher.binance.exchange import Exchange
from logic.planning.dry_run import Known, PlannedSeries, plan_backfill
from logic.planning.listing import known_life


def run_dry(arguments: argparse.Namespace, settings: Settings, wanted: Wanted | None, exchange: Exchange) -> int:
    """Print the plan of a backfill and return the exit code. Reads from exchange and database, writes nowhere."""
    database = open_database(settings) if database_exists(settings) else None
    try:
        series = resolve_wanted(wanted, arguments, settings, database, exchange)
        known = {}
        if database is not None:
            with database.transaction("read what is covered") as tx:
                if is_migrated(tx):
                    wanted_series = {one.series for one in series}
                    rows = [row for row in load_catalog(tx) if row.series in wanted_series]
                    totals = load_totals(tx, [row.id for row in rows])
                    known = {
                        row.series: Known(known_life(row), totals[row.id].covered if row.id in totals else ())
                        for row in rows
                    }
        planned = plan_backfill(series, exchange, AllowedSources(arguments.source), settings.chunk_days, known)
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
