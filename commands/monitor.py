"""`monitor`: what the live streams are doing, again and again. Reads the database only, so it runs anywhere."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

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
    print_report,
    rows_table,
    time_text,
)
from config.settings import Settings
from core.errors import ConfigurationError, Interrupted
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.wanted import Wanted
from logic.documents import monitored_document
from logic.monitored import Monitored, MonitoredSession, MonitoredStream, read_monitored

_COLUMNS = (
    Column("stream"),
    Column("state"),
    Column("lag", is_number=True),
    Column("last candle", rank=1),
    Column("last price", is_number=True, rank=2),
    Column("a second", is_number=True, rank=1),
    Column("p95 ms", is_number=True, rank=3),
    Column("cuts", is_number=True, rank=2),
    Column("heals", is_number=True, rank=3),
)
_SHORTEST_S = 0.2


@dataclass(frozen=True, slots=True)
class MonitorRequest:
    """What to show, and how often."""

    series: Wanted | None = None  # None: all that is streamed
    interval_s: float = 1.0
    is_once: bool = False
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return None: nothing is changed and no trace left."""
        return None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_symbols_option(parser)
    parser.add_argument("--interval", metavar="N", default="1", help="seconds from one look to the next")
    parser.add_argument("--once", action="store_true", help="look once; 0: all live, 3: something is not")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> MonitorRequest:
    """Return the checked request. Raises ConfigurationError."""
    try:
        interval_s = float(arguments.interval)
    except ValueError:
        interval_s = 0.0
    if not _SHORTEST_S <= interval_s <= 3600:
        raise ConfigurationError(f"--interval: expected seconds from {_SHORTEST_S} to 3600, not {arguments.interval!r}")
    series = read_stored_series(arguments, settings)
    return MonitorRequest(series, interval_s, arguments.once, read_output(arguments))


def run(request: MonitorRequest, context: CommandContext) -> int:
    """Show what is streamed until told to end, or once; return the exit code."""
    with ExitStack() as opened:
        database = opened.enter_context(reading(context))

        def look() -> Monitored:
            return Monitored() if database is None else read_monitored(database, request.series)

        found = look()
        if request.is_once:
            _tell(found, request, context, is_line=False)
            return EXIT_OK if found.is_well else EXIT_INCOMPLETE
        try:
            if context.stdout.is_terminal and not request.output.json:
                live = opened.enter_context(Live(console=context.stdout, auto_refresh=False))
                while True:
                    live.update(_shown(found, context), refresh=True)
                    context.interruption.sleep(request.interval_s)
                    found = look()
            while True:
                _tell(found, request, context, is_line=True)
                context.interruption.sleep(request.interval_s)
                found = look()
        except Interrupted:
            return EXIT_OK


def _tell(found: Monitored, request: MonitorRequest, context: CommandContext, is_line: bool) -> None:
    if request.output.json:
        print_json(context.stdout, monitored_document(found), is_line)
        return
    print_report(context.stdout, _report(found), request.output)


def _shown(found: Monitored, context: CommandContext) -> Group:
    """Return the live table: what is wrong first, so that it is seen where not all rows fit."""
    report = _report(found)
    parts: list[Any] = [Text(time.strftime("%H:%M:%S ", time.gmtime(context.now_ms() / 1000)) + report.headline)]
    parts += [Text(text, style=Tone.WRONG.value) for text in report.needs]
    parts += [Text(text) for text in report.notes]
    if report.rows:
        parts.append(
            rows_table(report.columns, sorted(report.rows, key=lambda row: not row.needs), context.stdout.width)
        )
    return Group(*parts)


def _report(found: Monitored) -> Report:
    streams = [stream for one in found.alive for stream in one.streams]
    needs = []
    if not found.alive:
        troubles = [one.trouble for one in found.sessions if one.trouble is not None]
        needs = troubles or ["no stream is running, and none has this week"]
    notes = [text for one in found.alive for text in _session_lines(one)]
    headline = f"{count_text(len(streams), 'stream')} live" if found.is_well else count_text(len(streams), "stream")
    return Report(headline, _COLUMNS, [_row(one) for one in streams], needs, notes)


def _row(one: MonitoredStream) -> Row:
    row, trouble = one.row, one.trouble
    cells = [
        str(row.key),
        row.state.value,
        "-" if one.lag_ms is None else f"{one.lag_ms / 1000:.0f} s",
        time_text(row.last_closed_ms),
        row.last_price or "-",
        f"{row.per_second:.1f}",
        "-" if row.latency_p95_ms is None else f"{row.latency_p95_ms:.0f}",
        str(row.reconnects),
        str(row.heals),
    ]
    return Row(cells, Tone.GOOD if trouble is None else Tone.ATTENTION, () if trouble is None else (trouble,))


def _session_lines(one: MonitoredSession) -> Iterator[str]:
    figures: Mapping[str, Any] = one.row.statistics
    counts = figures.get("counts", {})
    lost = sum(counts.get("unusable_frames", {}).values())
    yield (
        f"{one.row.host}, process {one.row.pid}, since {time_text(one.row.started_ms)}: "
        f"{figures.get('waiting', 0):,} candles wait, {figures.get('healing', 0):,} series heal, "
        f"{counts.get('conflicts', 0):,} conflicts, {counts.get('dropped', 0):,} dropped, {lost:,} frames unusable"
    )
    if (commit := figures.get("to_commit_ms", {}).get("p95")) is not None:
        yield f"a closed candle is committed within {commit:,.0f} ms (95 of 100)"


COMMAND = Command(add_options, read_request, run)
