"""The end of a run: one JSON document, or a table or lines for people."""

from __future__ import annotations

import sys

from commands.output import time_text
from commands.tables import print_table
from logic.backfill.results import RunSummary


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
                "not_at_exchange": result.not_at_exchange,
                "unexplained": result.unexplained,
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
            f"{result.healed:,}",
            f"{result.not_at_exchange:,}",
            f"{result.unexplained:,}",
            time_text(result.covered_until_ms) or "-",
            result.error or "",
        ]
        for result in shown
    ]
    columns = ["series", "outcome", "inserted", "there", "conflicts", "healed", "not_at_exchange", "unexplained"]
    columns += ["covered to", "error"]
    if sys.stdout.isatty() and rows:
        print_table("", columns, rows, numbers=columns[2:8])
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
