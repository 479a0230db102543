"""When a stored candle may be taken out because the exchange has none there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.candles import CandleBatch
from core.compare import Difference, Kind
from core.gaps import RECHECK_MS, Answer, Gap, GapStatus, Hole, is_in_no_archive
from core.intervals import Interval
from core.ranges import Span, inside, merge, subtract
from core.sources import Source


def unproven_slots(
    interval: Interval, differences: Sequence[Difference], reference: CandleBatch, proven: Sequence[Span]
) -> list[Span]:
    """Return the slots with a stored candle where `reference` has none and `proven` does not say that there is none.

    Where the reference has a candle in the slot, the stored one is another, and answers do not decide it alone.
    """
    extra = merge(interval.slot_of(one.time_ms) for one in differences if one.kind is Kind.EXTRA)
    kept = merge(interval.slot_of(time_ms) for time_ms in reference.inside(extra).open_times())
    return subtract(extra, [*kept, *proven])


def credible_empty_answers(holes: Sequence[Hole], by_rest: CandleBatch) -> list[Answer]:
    """Return the answers of REST that stored candles may be held against when they come again half an hour later.

    Those in front of which the same REST answers, `by_rest`, have a candle: a history that begins later says nothing of
    what was before.
    """
    begins_ms = min(by_rest.open_times(), default=None)
    if begins_ms is None:
        return []
    return [
        answer
        for hole in holes
        if hole.span.start_ms > begins_ms
        for answer in hole.answers
        if answer.source is Source.REST and answer.unusable is None
    ]


def empty_twice(answers: Sequence[Answer], earlier: Sequence[Answer]) -> list[Span]:
    """Return where `answers` and `earlier` ones, at least half an hour before them, both have no candle."""
    return merge(
        span
        for one in answers
        for other in earlier
        if one.first_ms - other.first_ms >= RECHECK_MS and (span := one.span.intersect(other.span)) is not None
    )


def kept_answers(answers: Sequence[Answer], earlier: Sequence[Answer]) -> list[Answer]:
    """Return what to keep for the next verification: of each slot that is empty now the earliest answer in a row."""
    still = merge(one.span for one in answers)
    kept = [replace(one, span=span) for one in earlier for span in inside([one.span], still)]
    known = [one.span for one in kept]
    return [*kept, *(replace(one, span=span) for one in answers for span in subtract([one.span], known))]


def proven_empty(holes: Sequence[Hole], gaps: Sequence[Gap], now_ms: int) -> list[Span]:
    """Return where the exchange is proven to have no candle; `holes` are those of the answers at `now_ms`.

    By a verified archive that lacks it, by a gap that is explained, or by an answer of REST that a known gap has from
    at least half an hour before. Some empty answers of REST within seconds prove nothing, nor does an archive file that
    there is not.
    """
    answers = [answer for hole in holes for answer in hole.answers if answer.unusable is None]
    seen = [gap for gap in gaps if not is_in_no_archive(gap)]
    earlier = [answer for gap in seen for answer in gap.answers if answer.unusable is None and not answer.is_of_listing]
    explained = [gap.span for gap in seen if gap.status is GapStatus.NOT_AT_EXCHANGE]
    return merge(
        [
            *(answer.span for answer in answers if answer.source.is_archive),
            *(answer.span for answer in earlier if now_ms - answer.first_ms >= RECHECK_MS),
            *explained,
        ]
    )
