"""Finds the first and the last candle of an unlisted symbol, which is in the archives only."""

from __future__ import annotations

from core.archives import Period
from core.errors import ArchiveUnavailable, SeriesError
from core.ranges import Span
from core.series import Series
from fetcher.source import ExchangeSource

BEFORE_ALL_MS = 1_483_228_800_000
"""2017-01-01, before the exchange existed: where a search for the first archive begins."""


def find_archived_span(series: Series, exchange: ExchangeSource, known_first_ms: int | None) -> Span | None:
    """Return the span from the first candle of the first archive file to the end of the last candle of the last file.

    None when the archives hold no file of the series. `known_first_ms` (the first candle's open time)
    saves the download of the first file. Raises ArchiveUnavailable when the listing cannot be read,
    SeriesError when one of the two files cannot be used.
    """
    everything = Span(BEFORE_ALL_MS, exchange.now_ms(series.market))
    files = exchange.archives.list_published(series, everything).periods
    if not files:
        return None
    # When a daily and a monthly file begin or end together, the daily one is smaller.
    first = min(files, key=lambda file: (file.span.start_ms, file.span.end_ms))
    last = max(files, key=lambda file: (file.span.end_ms, file.span.start_ms))
    first_ms = _open_times(series, first, exchange)[0] if known_first_ms is None else known_first_ms
    last_ms = _open_times(series, last, exchange)[-1]
    return Span(first_ms, series.interval.add(series.interval.floor(last_ms), 1))


def _open_times(series: Series, file: Period, exchange: ExchangeSource) -> list[int]:
    """Return the open times of a file's candles, at least one."""
    try:
        batch, _ = exchange.archives.fetch(series, file)
    except ArchiveUnavailable as error:
        raise SeriesError(
            f"{series}: the exchange no longer lists the symbol, and the archive of {file.text}, which says where its "
            f"candles begin or end, cannot be used: {error}; run again later, or with --source archive"
        ) from error
    if batch.rows == 0:
        raise SeriesError(f"{series}: the archive of {file.text} holds no candle; run with --source archive")
    return batch.open_times()
