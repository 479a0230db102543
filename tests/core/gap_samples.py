"""Gaps of one hourly series, and short ways to ask about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from core.binance.rules import BinanceRules
from core.gaps import (
    Answer,
    Gap,
    GapStatus,
    Hole,
    apply_answers,
)
from core.ranges import Span
from core.series import parse_series
from core.sources import Source
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time

HOURS = BinanceRules(parse_series("BTCUSDT/1h"), 1000)
REST, DAILY, MONTHLY = Source.REST, Source.ARCHIVE_DAILY, Source.ARCHIVE_MONTHLY
MISSING, NOT_AT_EXCHANGE, HEALED = GapStatus.MISSING, GapStatus.NOT_AT_EXCHANGE, GapStatus.HEALED
BEGIN = parse_time("2024-01-15T12:00")
YOUNG = parse_time("2024-01-16T06:00")  # the day's archive may still come
OLD = parse_time("2024-03-01")
SHA = "ab" * 32


def hours(start: int, end: int) -> Span:
    return Span(BEGIN + start * MS_PER_HOUR, BEGIN + end * MS_PER_HOUR)


def minutes(count: float) -> int:
    return int(count * MS_PER_MINUTE)


def answer(source: Source, span: Span, at_ms: int, checksum: str | None = None) -> Answer:
    return Answer(source, span, at_ms, at_ms, checksum=SHA if checksum is None and source is not REST else checksum)


def hole(span: Span, at_ms: int, *sources: Source) -> Hole:
    return Hole(span, tuple(answer(source, span, at_ms) for source in sources))


def recheck(known: Iterable[Gap], holes: Sequence[Hole], now_ms: int, scope: Sequence[Span] = ()) -> list[Gap]:
    return apply_answers(known, scope, holes, HOURS, now_ms, "rest, run 1")


def asked(span: Span, now_ms: int, *sources: Source) -> Gap:
    """Return the gap that `span` is after one recheck."""
    [gap] = recheck([], [hole(span, now_ms, *sources)], now_ms)
    return gap


def gap_not_at_exchange(span: Span, now_ms: int = OLD, id_: int | None = None) -> Gap:
    gap = replace(asked(span, now_ms, REST, DAILY), id=id_)
    assert gap.status is NOT_AT_EXCHANGE
    return gap


def texts(gap: Gap) -> list[str]:
    return [event.text for event in gap.history]


def outcome(gaps: Iterable[Gap]) -> list[tuple[Span, GapStatus]]:
    return [(gap.span, gap.status) for gap in gaps]
