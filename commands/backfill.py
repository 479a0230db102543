"""`backfill`: every wanted series up to the last closed candle. The default command, what cron runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from commands.backfill_records import run_records
from commands.command import Command
from commands.connections import writing
from commands.context import CommandContext
from commands.dry_run import run_dry
from commands.exchange_access import asking, backfill_options
from commands.options import OutputOptions, add_output_options, add_range_options, read_kinds, read_output
from commands.progress import progress_bar
from commands.screen import Column, Report, Row, Tone, count_text, print_json, print_report, time_text
from commands.wanted import WantedRequest, read_wanted, resolve_wanted
from config.settings import Settings
from core.errors import ConfigurationError
from core.series import brief_list
from core.sources import AllowedSources
from core.stream_kinds import StreamKind
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import RunSummary, SeriesResult
from logic.backfill.series_gaps import young_gaps_text
from logic.documents import summary_document
from logic.live.audit import audit_left_behind
from logic.live.market_history import PAST_KINDS
from logic.series_locks import left_to_another_run


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What to fetch, from where."""

    wanted: WantedRequest
    sources: AllowedSources = AllowedSources.AUTO
    heal_gaps: bool = False  # look for holes in what is stored and fetch them too
    dry_run: bool = False  # only tell the plan
    output: OutputOptions = field(default_factory=OutputOptions)
    kinds: tuple[StreamKind, ...] | None = None  # instead of candles

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file; a dry run leaves no trace."""
        return None if self.dry_run else settings.log_dir


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    series = "series instead of symbols.yml: BTCUSDT, BTCUSDT/1h, um:BTCUSDT/5m, '*USDT/1d'"
    parser.add_argument("--symbols", nargs="+", metavar="S", help=series)
    parser.add_argument("--interval", metavar="I", help="interval of series that do not say theirs")
    add_range_options(parser, " (default: listing)", " (default: last closed candle)")
    parser.add_argument(
        "--source", choices=[one.value for one in AllowedSources], default="auto", help="where candles may come from"
    )
    parser.add_argument("--heal-gaps", action="store_true", help="afterwards look for holes in what is stored, refetch")
    parser.add_argument("--types", metavar="T,T", help=f"instead of candles: {', '.join(PAST_KINDS)}")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, touch nothing")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> BackfillRequest:
    """Return the checked request; reads symbols.yml. Raises ConfigurationError."""
    kinds = read_kinds(arguments.types)
    if kinds is not None and (arguments.dry_run or not set(kinds) <= set(PAST_KINDS)):
        raise ConfigurationError(
            f"--types: backfill fetches {' and '.join(PAST_KINDS)} of the past, without --dry-run; candles are what it "
            "fetches without --types, and other kinds come by streams only"
        )
    return BackfillRequest(
        read_wanted(arguments, settings),
        AllowedSources(arguments.source),
        arguments.heal_gaps,
        arguments.dry_run,
        read_output(arguments),
        kinds,
    )


def run(request: BackfillRequest, context: CommandContext) -> int:
    """Run the backfill, or tell its plan with `dry_run`; return the exit code."""
    if request.dry_run:
        return run_dry(request.wanted, request.sources, request.output, context)
    if request.kinds is not None:
        return run_records(request.wanted, request.kinds, request.sources, request.output, context)
    with writing(context) as database:
        replaces_catalog = request.wanted.is_whole_list
        options = backfill_options(context, database, request.sources, request.heal_gaps, replaces_catalog)
        with asking(context) as exchange:
            wanted = resolve_wanted(request.wanted, context.settings, database, exchange)
            with progress_bar(context, request.output, exchange.weight_used) as bar:
                summary = run_ohlcv_backfill(database, exchange, wanted.series, options, bar, context.now_ms)
            if request.sources.rest:
                audit_left_behind(database, exchange, context.run_id, context.now_ms)
        summary.unusable_rows = wanted.unusable
    if request.output.json:
        print_json(context.stdout, summary_document(summary))
    else:
        print_summary(context, summary, request.output)
    return summary.exit_code


_COLUMNS = (
    Column("series"),
    Column("outcome"),
    Column("inserted", is_number=True),
    Column("there", is_number=True, rank=3, is_dull_when_zero=True),
    Column("conflicts", is_number=True, is_dull_when_zero=True),
    Column("healed", is_number=True, rank=2, is_dull_when_zero=True),
    Column("not at exchange", is_number=True, rank=2, is_dull_when_zero=True),
    Column("unexplained", is_number=True, is_dull_when_zero=True),
    Column("covered to", rank=1),
)
_TONES = {"ok": Tone.GOOD, "failed": Tone.WRONG, "incomplete": Tone.ATTENTION, "locked": Tone.ATTENTION}


def print_summary(context: CommandContext, summary: RunSummary, output: OutputOptions) -> None:
    """Print what a backfill did."""
    inserted = sum(result.saved.inserted for result in summary.results)
    rate = inserted / summary.seconds if summary.seconds else 0
    free = sum(not result.locked for result in summary.results)
    done = (
        f"{count_text(free, 'series', 'series')}, {count_text(inserted, 'candle')} inserted in "
        f"{summary.seconds:.1f} s ({rate:,.0f}/s), request weight {summary.weight_used:,}"
    )
    needs = [f"market {market} cannot be used: {why}" for market, why in summary.unusable_markets.items()]
    needs += [f"public.symbols, {why}; mend or remove the row" for why in summary.unusable_rows]
    needs += young_gaps_text(summary.results)
    rows = [_row(result, output) for result in summary.results]
    is_well = not needs and not any(row.needs for row in rows)
    notes = [] if is_well or output.is_quiet else [f"{done}, exit code {summary.exit_code}"]
    if locked := [result.series for result in summary.results if result.locked]:
        notes.append(f"{left_to_another_run(locked)}, or to the next one")
    young = [result for result in summary.results if result.too_young and not result.newly_young]
    if young:
        candles = sum(result.series.interval.count_in(result.too_young) for result in young)
        told = count_text(candles, "candle")
        notes.append(
            f"{told} of {brief_list([result.series for result in young])} too young to be proven not to be at the "
            "exchange; asked for again until the archive is out"
        )
    print_report(context.stdout, Report(done, _COLUMNS, rows, needs, notes), output)


def _row(result: SeriesResult, output: OutputOptions) -> Row:
    saved = result.saved
    counts = (saved.inserted, saved.equal, saved.conflicts, result.healed, result.not_at_exchange, result.unexplained)
    cells = [str(result.series), result.outcome, *(f"{n:,}" for n in counts), time_text(result.covered_until_ms)]
    sources = [f"{count:,} from {source}" for source, count in result.rows_by_source.items() if count]
    details = (f"candles: {', '.join(sources)}",) if sources and output.is_verbose else ()
    return Row(cells, _TONES[result.outcome], tuple(_needs(result)), details)


def _needs(result: SeriesResult) -> Iterator[str]:
    if result.error is not None:
        yield result.error
    if result.saved.conflicts:
        told = count_text(result.saved.conflicts, "stored candle differs", "stored candles differ")
        yield f"{told} from what was fetched and stayed; run verify to see which is right"
    if result.contradicted:
        candles = count_text(result.contradicted, "stored candle")
        yield f"two other sources contradict {candles}; verify --against longer --repair writes what they say"
    if result.open_gaps:
        yield (
            f"{count_text(result.unexplained, 'candle')} missing from {time_text(result.open_gaps[0].start_ms)} on, "
            "not explained yet; later runs ask again, check --gaps tells when"
        )


COMMAND = Command(add_options, read_request, run)
