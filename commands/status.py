"""`status`: each series with its rows, newest candle, lag and covered range. Reads only."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from commands.command import Command
from commands.connections import reading
from commands.context import CommandContext
from commands.options import (
    OutputOptions,
    add_output_options,
    add_symbols_option,
    read_output,
    read_stored_series,
)
from commands.screen import (
    Column,
    Report,
    Row,
    Tone,
    count_text,
    print_json,
    print_line,
    print_report,
    share_text,
    time_text,
    unaudited_text,
)
from config.settings import Settings
from core.exit_codes import EXIT_OK
from core.ranges import Span
from core.wanted import Wanted
from logic.documents import stored_document
from logic.monitored import Monitored, read_monitored
from logic.stored import StoredSeries, read_stored

_COLUMNS = (
    Column("series"),
    Column("status"),
    Column("candles", is_number=True),
    Column("first candle", rank=2),
    Column("last candle", rank=1),
    Column("lag", is_number=True),
    Column("holes", is_number=True, rank=1, is_dull_when_zero=True),
    Column("unverified for", is_number=True, rank=3),
    Column("witnessed", is_number=True, rank=2),
    Column("active", rank=4),
)


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """What to show."""

    series: Wanted | None = None  # None: all that is stored
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return None: nothing is changed and no trace left."""
        return None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_symbols_option(parser)
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> StatusRequest:
    """Return the checked request. Raises ConfigurationError."""
    return StatusRequest(read_stored_series(arguments, settings), read_output(arguments))


def run(request: StatusRequest, context: CommandContext) -> int:
    """Print what is stored; return the exit code."""
    with reading(context) as database:
        stored = [] if database is None else read_stored(database, request.series)
        streams = Monitored() if database is None else read_monitored(database, None)
    now_ms = context.now_ms()
    if request.output.json:
        print_json(context.stdout, stored_document(stored, streams))
    elif stored:
        print_report(context.stdout, _report(stored, streams, now_ms, request.output), request.output)
    elif not request.output.is_quiet:
        print_line(context.stdout, "nothing stored yet: run python ohlcv_data_fetcher.py backfill")
    return EXIT_OK


def _report(stored: Sequence[StoredSeries], streams: Monitored, now_ms: int, output: OutputOptions) -> Report:
    candles = sum(one.rows for one in stored)
    headline = f"{count_text(len(stored), 'series', 'series')}, {count_text(candles, 'candle')}"
    lags = [lag for one in stored if one.row.active and (lag := one.lag_ms) is not None]
    if lags:
        headline += f", the longest lag is {_duration(max(lags))}"
    if provisional := sum(one.provisional.candles for one in stored):
        headline += f", {count_text(provisional, 'candle')} not audited yet"
    if streams.live:
        headline += f", {count_text(streams.live, 'stream')} live"
    rows = []
    for one in stored:
        needs = tuple(_needs(one))
        details = list(_details(one)) if output.is_verbose else []
        rows.append(Row(_cells(one, now_ms), Tone.ATTENTION if needs else Tone.PLAIN, needs, details))
    return Report(headline, _COLUMNS, rows, streams.died)


def _needs(one: StoredSeries) -> Iterator[str]:
    lag_ms = one.lag_ms
    if one.row.active and not one.rows and not one.row.listing.is_pending:
        yield "nothing of it is stored; a backfill fetches it, or says why it cannot"
    elif lag_ms is not None and one.is_stale:
        yield f"stands still, {_duration(lag_ms)} behind; a backfill brings it up to date, or says why it cannot"
    if one.is_audit_overdue:
        yield unaudited_text(one.provisional)
    if one.witness.contradicted:
        candles = count_text(one.witness.contradicted, "candle")
        yield f"two other sources contradict {candles}; verify --against longer --repair writes what they say"


def _cells(one: StoredSeries, now_ms: int) -> list[str]:
    lag_ms, age = one.lag_ms, one.verification
    return [
        str(one.row.series),
        _shown_status(one),
        f"{one.rows:,}",
        time_text(one.first_ms),
        time_text(one.last_ms),
        "-" if lag_ms is None else _duration(lag_ms),
        str(max(0, len(one.covered) - 1)),
        "-" if age is None else _duration(max(0, now_ms - age.oldest_ms)),
        share_text(one.witness.witnessed, one.rows),
        "yes" if one.row.active else "no",
    ]


def _details(one: StoredSeries) -> Iterator[str]:
    covered = str(Span(one.covered[0].start_ms, one.covered[-1].end_ms)) if one.covered else "nothing"
    status = one.row.listing.status or "not known yet"
    yield f"table {one.row.series.table_name}, covered {covered}, status at the exchange {status}"
    if one.verification is not None:
        age = one.verification
        yield f"{age.never_verified:,} of {count_text(age.entries, 'ledger span')} never verified"
    if one.provisional.candles and not one.is_audit_overdue:
        yield unaudited_text(one.provisional)
    yield from one.row.listing.notes


def _shown_status(one: StoredSeries) -> str:
    listing = one.row.listing
    if listing.end_ms is None:
        return (listing.status or "-").lower()
    ended = "delisted" if listing.dormant_checked_ms is None else "dormant since"
    return f"{ended} {time_text(listing.end_ms)[:10]}"


def _duration(ms: int) -> str:
    minutes, days = ms // 60_000, ms // 86_400_000
    if days >= 2:
        return f"{days} d"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


COMMAND = Command(add_options, read_request, run)
