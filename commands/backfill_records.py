"""`backfill --types`: trades and funding rates of the past into their tables."""

from __future__ import annotations

from collections.abc import Sequence

from commands.connections import writing
from commands.context import CommandContext
from commands.exchange_access import asking, backfill_options
from commands.options import OutputOptions
from commands.screen import Tone, count_text, print_json, print_line
from commands.wanted import WantedRequest, resolve_wanted
from core.sources import AllowedSources
from core.stream_kinds import StreamKind
from logic.live.market_history import HistoryResult, exit_code_of, fetch_market_history, history_document
from logic.opening import prepare_market_tables


def run_records(
    wanted: WantedRequest,
    kinds: Sequence[StreamKind],
    allowed: AllowedSources,
    output: OutputOptions,
    context: CommandContext,
) -> int:
    """Fetch `kinds` of the wanted instruments; return the exit code."""
    with writing(context) as database, asking(context) as exchange:
        series = resolve_wanted(wanted, context.settings, database, exchange).series
        options = backfill_options(context, database)
        prepare_market_tables(database, options.timescale, options.compress_after_days)
        results = fetch_market_history(database, exchange, series, kinds, allowed, context.now_ms)
    if output.json:
        print_json(context.stdout, history_document(results))
    else:
        for result in results:
            _print(context, result, output)
    return exit_code_of(results)


def _print(context: CommandContext, result: HistoryResult, output: OutputOptions) -> None:
    what = f"{result.instrument} {result.kind}"
    if not output.is_quiet:
        there = f", {count_text(result.days_there, 'day was', 'days were')} whole already" if result.days_there else ""
        told = f"{what}: {result.stored.inserted:,} stored, {result.stored.equal:,} already there{there}"
        print_line(context.stdout, told, Tone.PLAIN if result.exit_code else Tone.GOOD)
    if result.stored.conflicts:
        told = f"{what}: {result.stored.conflicts:,} differ from stored ones of the same key, which stayed"
        print_line(context.stdout, told, Tone.ATTENTION)
    for part, why in result.missing.items():
        print_line(context.stdout, f"{what}, {part}: {why}", Tone.ATTENTION)
