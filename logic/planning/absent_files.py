"""Which spans the archives' listing shows to be in no file: there are later files, but none of these."""

from __future__ import annotations

from collections.abc import Sequence

from core.archives import ArchiveIndex, Period, day_of, month_of
from core.exchange_rules import SeriesRules
from core.ranges import Span, inside


def absent_spans(rules: SeriesRules, spans: Sequence[Span], listed: ArchiveIndex) -> list[Span]:
    """Return the parts of `spans`, which no listed file holds, that end before the last listed file begins.

    `listed` is the listing as it was read, up to now; guessed names are no evidence.
    """
    last_ms = max((file.span.start_ms for file in listed.periods), default=None)
    if last_ms is None:
        return []
    return inside(spans, [Span(0, max(1, rules.interval.floor(last_ms)))])


def files_of(rules: SeriesRules, span: Span, listed: ArchiveIndex) -> tuple[list[Period], list[Span]]:
    """Return the listed files that hold candles of `span`, in order, and the parts of it that no listed file holds."""
    files: list[Period] = []
    without: list[Span] = []
    last_open_ms = rules.interval.add(span.end_ms, -1)
    cursor_ms = span.start_ms
    while cursor_ms <= last_open_ms:
        month, day = month_of(cursor_ms), day_of(cursor_ms)
        if rules.has_monthly_archives and listed.has(month):
            file, is_listed = month, True
        else:
            file = day if rules.has_daily_archives else month
            is_listed = listed.has(file)
        part = Span(cursor_ms, file.span.end_ms).intersect(span)
        if is_listed:
            files.append(file)
        elif part is not None:
            without.append(part)
        cursor_ms = file.span.end_ms
    return files, without
