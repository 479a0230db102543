"""`check`: coverage of each series from the ledger, and whether the tables still hold it. Reads only."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from commands.display import print_table
from commands.output import print_json, time_text
from commands.stored import StoredSeries, load_stored
from config.settings import Settings
from core.errors import EXIT_INCOMPLETE, EXIT_OK
from core.ranges import Span, subtract


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the ledger says of one series, held against its table. Counts are candles (grid slots)."""

    expected: int  # slots in the covered range
    stored: int  # candles in the table
    absent: int  # slots of which the source, asked, had no candle
    lost: int  # candles recorded in the ledger that the table no longer holds
    uncovered: tuple[Span, ...]  # stretches between covered ones, never fetched

    @property
    def is_complete(self) -> bool:
        """Whether everything between the first and the last covered candle is stored or known absent."""
        return not self.uncovered and self.lost == 0


def coverage_of(one: StoredSeries) -> Coverage:
    """Return the coverage of one stored series."""
    interval = one.row.series.interval
    expected = sum(interval.count(span.start_ms, span.end_ms) for span in one.covered)
    uncovered = subtract([Span(one.covered[0].start_ms, one.covered[-1].end_ms)], one.covered) if one.covered else []
    return Coverage(
        expected=expected,
        stored=one.rows,
        absent=max(0, expected - one.rows_recorded),
        lost=max(0, one.rows_recorded - one.rows),
        uncovered=tuple(uncovered),
    )


def run_check(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the coverage report; return 0 when nothing is missing, else 3."""
    reports = [(one, coverage_of(one)) for one in load_stored(arguments, settings)]
    complete = all(coverage.is_complete for _, coverage in reports)
    if arguments.json:
        print_json({"complete": complete, "series": [_document(one, coverage) for one, coverage in reports]})
    elif not reports:
        print("nothing stored yet: run python ohlcv_data_fetcher.py backfill")
    else:
        _print_reports(reports)
    return EXIT_OK if complete else EXIT_INCOMPLETE


def _document(one: StoredSeries, coverage: Coverage) -> dict[str, object]:
    series = one.row.series
    return {
        "market": series.market.value,
        "symbol": series.symbol,
        "interval": series.interval.code,
        "complete": coverage.is_complete,
        "expected": coverage.expected,
        "stored": coverage.stored,
        "absent_at_the_exchange": coverage.absent,
        "lost_from_the_table": coverage.lost,
        "uncovered": [{"start": time_text(s.start_ms), "end": time_text(s.end_ms)} for s in coverage.uncovered],
    }


def _print_reports(reports: list[tuple[StoredSeries, Coverage]]) -> None:
    columns = ["series", "covered", "expected", "stored", "absent", "lost", "uncovered", "verdict"]
    rows = []
    for one, coverage in reports:
        span = f"{time_text(one.covered[0].start_ms)} .. {time_text(one.covered[-1].end_ms)}" if one.covered else "-"
        counts = [coverage.expected, coverage.stored, coverage.absent, coverage.lost, len(coverage.uncovered)]
        verdict = "complete" if coverage.is_complete else "MISSING"
        rows.append([str(one.row.series), span, *(f"{count:,}" for count in counts), verdict])
    print_table("", columns, rows, numbers=columns[2:7])
    for one, coverage in reports:
        for hole in coverage.uncovered:
            print(f"{one.row.series}: never fetched: {hole}; a backfill fetches it")
        if coverage.lost:
            print(
                f"{one.row.series}: {coverage.lost:,} candles that were committed are gone from "
                f"{one.row.series.table_name}; backfill --heal-gaps brings them back"
            )
