"""Fetch all candles of a span page by page; holes need confirmation. Pure; see core/asking.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.asking import Asking, Question
from core.candles import CandleBatch, coalesce, merge_batches
from core.errors import SeriesError
from core.exchange_rules import SeriesRules
from core.quorum import credible
from core.ranges import Span

_MAX_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class PagedCandles:
    """All candles of a span, ascending."""

    batch: CandleBatch
    late: int  # candles that a page lacked and a repeated request returned


def candles_of(rules: SeriesRules, span: Span) -> Asking[PagedCandles]:
    """Return every candle of `span` that the exchange has.

    A short or empty page does not count as the end of the data: slots without a candle are requested again, and a
    repeated answer counts only when `core.quorum.credible` accepts it. Raises SeriesError when answers keep changing.
    """
    answers = yield [_question(rules, window) for window in rules.pages(span)]
    batch = CandleBatch.concat(answers)
    at_once = batch.rows
    for _ in range(_MAX_ROUNDS):
        holes = batch.missing(rules.interval, span)
        if not holes:
            return PagedCandles(batch, batch.rows - at_once)
        again = []
        for window in _windows_over(rules, holes, span):
            again.append((yield from _ask_again(rules, window, batch)))
        merged = merge_batches(batch, CandleBatch.concat(again), rules.interval)
        if merged.rows == batch.rows:
            return PagedCandles(batch, batch.rows - at_once)
        batch = merged
    if not batch.missing(rules.interval, span):
        return PagedCandles(batch, batch.rows - at_once)
    raise SeriesError(f"the exchange's answers for {span} keep changing; nothing of it was stored")


def _question(rules: SeriesRules, window: Span) -> Question:
    slots = max(1, rules.interval.count(rules.interval.floor(window.start_ms), window.end_ms))
    return Question(window, min(rules.page_rows, slots))


def _windows_over(rules: SeriesRules, holes: Sequence[Span], span: Span) -> list[Span]:
    """Return the windows to request again, wider by one slot on each side so that they include known candles.

    Holes that fit into one page are requested together.
    """
    interval = rules.interval
    stretches = coalesce(holes, interval, rules.page_rows)
    widened = [Span(interval.add(s.start_ms, -1), interval.add(s.end_ms, 1)) for s in stretches]
    inside = [part for stretch in widened if (part := stretch.intersect(span)) is not None]
    return [window for stretch in inside for window in rules.pages(stretch)]


def _ask_again(rules: SeriesRules, window: Span, known: CandleBatch) -> Asking[CandleBatch]:
    """Return a credible answer for a window that seems to have holes.

    A truncated answer has the candles before a hole and none after it. So a hole at the window's end, with no known
    candle after it, is also requested by itself.
    """
    known_times = set(known.within(window).open_times())
    found = yield from credible(_question(rules, window), known_times)
    last_hole = found.missing(rules.interval, window)[-1:]
    if known_times and last_hole and last_hole[0].end_ms >= window.end_ms:
        alone = yield from credible(_question(rules, last_hole[0]), ())
        found = merge_batches(found, alone, rules.interval)
    return found
