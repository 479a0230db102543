"""Fetch all candles of a span page by page; holes need confirmation. Pure; see core/asking.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.asking import Asking, Question
from core.candles import CandleBatch, coalesce, merge_batches, slots_off_grid
from core.compare import compare
from core.errors import SeriesError, UnusableAnswer
from core.exchange_rules import SeriesRules
from core.quorum import credible
from core.ranges import Span, inside, subtract

_MAX_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class PagedCandles:
    """All candles of a span, ascending."""

    batch: CandleBatch
    late: int  # candles that a page lacked and a repeated request returned


def candles_of(rules: SeriesRules, span: Span) -> Asking[PagedCandles]:
    """Return every candle of `span` that the exchange has.

    A short or empty page does not count as the end of the data: slots without a candle are requested again, and a
    repeated answer counts only when `core.quorum.credible` accepts it. A row off the grid counts only when a repeated
    answer has the same. A row that cannot be a candle is an answer, see `CandleBatch.unusable`. Raises SeriesError
    when answers keep changing.
    """
    batch = first = CandleBatch.concat((yield [_question(rules, window) for window in rules.pages(span)]))
    confirmed = CandleBatch.empty()
    for _ in range(_MAX_ROUNDS):
        if doubted := slots_off_grid(batch, rules.interval, confirmed):
            batch = yield from _settled(rules, span, batch, doubted)
            confirmed = batch.at(batch.off_grid(rules.interval))
        again = []
        for window in _windows_over(rules, _holes(rules, batch, span), span):
            again.append((yield from _ask_again(rules, window, batch)))
        merged = merge_batches(batch, CandleBatch.concat(again), rules.interval)
        if merged.rows == batch.rows:
            return _counted(merged, first)
        batch = merged
    if not _holes(rules, batch, span) and not slots_off_grid(batch, rules.interval, confirmed):
        return _counted(batch, first)
    raise SeriesError(f"the exchange's answers for {span} keep changing; nothing of it was stored")


def _counted(batch: CandleBatch, first: CandleBatch) -> PagedCandles:
    late = 0 if batch is first else len(set(batch.open_times()) - set(first.open_times()))
    return PagedCandles(batch, late)


def _holes(rules: SeriesRules, batch: CandleBatch, span: Span) -> list[Span]:
    """Return the slots about which nothing is known yet."""
    answered = [rules.interval.slot_of(one.open_ms) for one in batch.unusable]
    return subtract(batch.missing(rules.interval, span), answered)


def _settled(rules: SeriesRules, span: Span, batch: CandleBatch, doubted: Sequence[Span]) -> Asking[CandleBatch]:
    """Return `batch` with what two answers in a row agree on in the slots `doubted`.

    The repeated requests have other windows and limits, so that no cache can give the first answer again. Raises
    UnusableAnswer when no two answers agree.
    """
    sure = batch.outside(doubted)
    parts = [sure]
    for whole in _windows_over(rules, doubted, span):
        for window in _halves(rules, whole):
            slots = inside(doubted, [window])
            if slots:
                parts.append((yield from _agreed(rules, window, slots, batch)))
    joined = CandleBatch.concat(parts)
    return CandleBatch(joined.columns.sort_by("open_time"), joined.unusable)


def _agreed(rules: SeriesRules, window: Span, slots: Sequence[Span], batch: CandleBatch) -> Asking[CandleBatch]:
    """Return what the exchange has in `slots`, all in `window`, once an answer equals the one before it."""
    known_times = batch.outside(slots).within(window).open_times()
    question = _question(rules, window)
    question = replace(question, rows=min(question.rows + 1, rules.page_rows))
    before = batch.inside(slots)
    for _ in range(_MAX_ROUNDS):
        found = (yield from credible(question, known_times)).inside(slots)
        if not compare(found, before):
            return found
        before = found
    raise UnusableAnswer(f"the exchange's answers for {window} have rows off the grid and keep changing")


def _halves(rules: SeriesRules, window: Span) -> list[Span]:
    first, end = rules.interval.index(window.start_ms), rules.interval.index(window.end_ms)
    middle_ms = rules.interval.open_of((first + end) // 2)
    if not window.start_ms < middle_ms < window.end_ms:
        return [window]
    return [Span(window.start_ms, middle_ms), Span(middle_ms, window.end_ms)]


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
