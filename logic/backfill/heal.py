"""Fetches the missing candles of checked series with a backfill that is limited to the checked ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from core.ranges import subtract
from core.wanted import WantedSeries
from db.connection import Database
from fetcher.source import ExchangeSource
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import RunSummary
from logic.backfill.run import BackfillOptions, Observer
from logic.gaps.series_check import SeriesCheck


def heal(
    database: Database,
    exchange: ExchangeSource,
    checks: Sequence[SeriesCheck],
    options: BackfillOptions,
    observer: Observer,
    now_ms: Callable[[], int],
) -> list[RunSummary]:
    """Fetch the missing candles in the ranges of `checks` and return the summaries of the backfills.

    Most series have one range. A series that was fetched ad hoc before its wanted range has two, with nothing wanted
    between them, which takes two backfills. Raises DatabaseUnavailable and Interrupted.
    """
    summaries = []
    # What an earlier contract under the same ticker had can no longer be fetched.
    fetchable = [subtract(check.spans, check.earlier_listing) for check in checks]
    for spans in zip_longest(*fetchable):
        wanted = [
            WantedSeries(check.row.series, span.start_ms, span.end_ms)
            for check, span in zip(checks, spans, strict=True)
            if span is not None
        ]
        summaries.append(run_ohlcv_backfill(database, exchange, wanted, options, observer, now_ms))
    return summaries
