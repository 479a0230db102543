"""`status`: each series with its table, rows, first and last candle, lag and covered range. Reads only."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from commands.clock import local_now_ms
from commands.output import print_json, time_text
from commands.stored import StoredSeries, load_stored, open_for_reading
from commands.tables import print_table
from config.settings import Settings
from core.exit_codes import EXIT_OK

_COLUMNS = (
    "series",
    "table",
    "active",
    "status",
    "rows",
    "first candle",
    "last candle",
    "lag",
    "covered",
    "holes",
    "unverified for",
    "note",
)


def run_status(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the status table, or with --json one document; return the exit code."""
    stored: list[StoredSeries] = []
    database = open_for_reading(arguments, settings)
    if database is not None:
        try:
            with database.transaction("read what is stored") as tx:
                stored = load_stored(tx, arguments.symbols, settings.default_interval)
        finally:
            database.close()
    now_ms = local_now_ms()
    lines = [_line(one, now_ms) for one in stored]
    if arguments.json:
        print_json({"series": [line.document for line in lines]})
    elif not lines:
        print("nothing stored yet: run python ohlcv_data_fetcher.py backfill")
    else:
        print_table("", _COLUMNS, [line.cells for line in lines], numbers=("rows", "lag", "holes"))
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class _Line:
    document: dict[str, object]
    cells: list[str]


def _line(one: StoredSeries, now_ms: int) -> _Line:
    row = one.row
    lag_ms = None
    if one.last_ms is not None and row.delisting_ms is None:
        interval = row.series.interval
        lag_ms = max(0, now_ms - interval.add(interval.floor(one.last_ms), 1))
    start_ms = one.covered[0].start_ms if one.covered else None
    end_ms = one.covered[-1].end_ms if one.covered else None
    document: dict[str, object] = {
        "market": row.series.market.value,
        "symbol": row.series.symbol,
        "interval": row.series.interval.code,
        "table": row.series.table_name,
        "active": row.active,
        "status": row.status,
        "listing": time_text(row.listing_ms),
        "delisting": time_text(row.delisting_ms),
        "silence_asked": time_text(row.silence_asked_ms),
        "rows": one.rows,
        "first_candle": time_text(one.first_ms),
        "last_candle": time_text(one.last_ms),
        "lag_seconds": None if lag_ms is None else lag_ms // 1000,
        "covered_from": time_text(start_ms),
        "covered_until": time_text(end_ms),
        "holes_in_coverage": max(0, len(one.covered) - 1),
        "chunks": 0 if one.verification is None else one.verification.entries,
        "chunks_never_verified": 0 if one.verification is None else one.verification.never_verified,
        "oldest_unverified_since": None if one.verification is None else time_text(one.verification.oldest_ms),
        "note": row.note,
    }
    cells = [
        str(row.series),
        row.series.table_name,
        "yes" if row.active else "no",
        _shown_status(one),
        f"{one.rows:,}",
        time_text(one.first_ms) or "-",
        time_text(one.last_ms) or "-",
        "-" if lag_ms is None else _duration(lag_ms),
        "-" if start_ms is None else f"{time_text(start_ms)} .. {time_text(end_ms)}",
        str(max(0, len(one.covered) - 1)),
        "-" if one.verification is None else _duration(max(0, now_ms - one.verification.oldest_ms)),
        row.note or "",
    ]
    return _Line(document, cells)


def _shown_status(one: StoredSeries) -> str:
    row = one.row
    if row.delisting_ms is None:
        return row.status or "-"
    ended = "delisted" if row.silence_asked_ms is None else "silent since"
    return f"{ended} {time_text(row.delisting_ms)} ({row.status})"


def _duration(ms: int) -> str:
    minutes, days = ms // 60_000, ms // 86_400_000
    if days >= 2:
        return f"{days} d"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
