"""`backfill --dry-run`: the plan and what it will cost; touches nothing."""

from __future__ import annotations

from collections.abc import Sequence

from commands.connections import reading
from commands.context import CommandContext
from commands.exchange_access import make_exchange
from commands.options import OutputOptions
from commands.screen import Column, Report, Row, Tone, count_text, print_json, print_report
from commands.wanted import WantedRequest, resolve_wanted
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.plan import NOTHING
from core.sources import AllowedSources
from logic.documents import BYTES_PER_CANDLE, plan_document
from logic.planning.dry_run import PlannedSeries, plan_backfill
from logic.planning.series_plan import FetchPolicy
from logic.planning.wanted_series import load_known

_COLUMNS = (
    Column("series"),
    Column("range"),
    Column("monthly", is_number=True, rank=4, is_dull_when_zero=True),
    Column("daily", is_number=True, rank=4, is_dull_when_zero=True),
    Column("rest", is_number=True, rank=4, is_dull_when_zero=True),
    Column("requests", is_number=True, rank=2),
    Column("weight", is_number=True, rank=3, is_dull_when_zero=True),
    Column("candles", is_number=True),
    Column("MB to download", is_number=True, rank=1),
)


def run_dry(request: WantedRequest, sources: AllowedSources, output: OutputOptions, context: CommandContext) -> int:
    """Print the plan of a backfill and return the exit code. Reads from exchange and database, writes nowhere."""
    exchange = make_exchange(context)
    with reading(context) as database:
        wanted = resolve_wanted(request, context.settings, database, exchange, leaves_traces=False)
        known = {} if database is None else load_known(database, [one.series for one in wanted.series])
        planned = plan_backfill(wanted.series, exchange, FetchPolicy(sources, context.settings.chunk_days), known)
    total = sum((one.estimate for one in planned if one.estimate is not None), NOTHING)
    seconds = total.seconds(exchange.weight_per_minute(), context.settings.fetch_workers)
    if output.json:
        print_json(context.stdout, plan_document(planned, seconds))
    else:
        print_report(context.stdout, _report(planned, seconds), output)
    return EXIT_INCOMPLETE if wanted.unusable or any(one.error for one in planned) else EXIT_OK


def _report(planned: Sequence[PlannedSeries], seconds: float) -> Report:
    total = sum((one.estimate for one in planned if one.estimate is not None), NOTHING)
    headline = (
        f"the plan of {count_text(len(planned), 'series', 'series')}: at most {count_text(total.rows, 'candle')}, "
        f"roughly {seconds:,.0f} s"
    )
    cost = (
        f"{count_text(sum(total.chunks.values()), 'chunk')}, {count_text(total.requests, 'request')}, "
        f"request weight {total.weight:,}, {total.bytes / 1e6:,.1f} MB to download, "
        f"some {total.rows * BYTES_PER_CANDLE / 1e6:,.1f} MB to store"
    )
    notes = (f"dry run, nothing was fetched or stored: {cost}",)
    return Report(headline, _COLUMNS, [_row(one) for one in planned], notes=notes)


def _row(one: PlannedSeries) -> Row:
    cost = one.estimate or NOTHING
    span = one.plan.span if one.plan is not None else None
    sources = [str(cost.chunks.get(source, 0)) for source in ("archive-monthly", "archive-daily", "rest")]
    figures = [f"{cost.requests:,}", f"{cost.weight:,}", f"{cost.rows:,}", f"{cost.bytes / 1e6:,.1f}"]
    shown = "cannot be planned" if one.error else str(span or "nothing yet")
    needs = () if one.error is None else (one.error,)
    return Row([str(one.series), shown, *sources, *figures], Tone.WRONG if one.error else Tone.PLAIN, needs)
