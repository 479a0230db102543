"""The states of a gap: missing, then healed or not at the exchange, with the evidence. Pure decisions.

A gap is a run of grid slots without a candle inside what was fetched. It counts as not at the exchange only after two
equal answers of one source at least half an hour apart, or when a REST answer and a checksum-verified archive both
lack it (docs/gaps.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from core.closing import ARCHIVES_UNSETTLED_MS
from core.exchange_rules import PublishingRules, SeriesRules, settled_ms
from core.intervals import Interval
from core.ranges import Span, inside, merge, subtract
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_MINUTE, format_ms, iso_ms

RECHECK_MS = 30 * MS_PER_MINUTE
"""Two equal answers of the same source count as two only when they are at least this far apart."""

_RECHECKS_AFTER_MS = (MS_PER_DAY, 7 * MS_PER_DAY, 30 * MS_PER_DAY)
# The longest known halt lasted 33.5 hours (spot, February 2018). A longer hole inside a series means that the symbol
# was delisted and listed again, perhaps as another asset.
_LONGEST_HALT_MS = 3 * MS_PER_DAY


class GapStatus(StrEnum):
    """The status of a gap."""

    MISSING = "missing"  # found, not yet explained
    NOT_AT_EXCHANGE = "not_at_exchange"  # the exchange itself has no candle
    HEALED = "healed"  # the candles are stored now


class Reason(StrEnum):
    """Why the exchange has no candle."""

    HALT = "halt"  # nothing was traded
    RECORD_LOST = "record-lost"  # a longer candle counts trades that the shorter ones lack
    RELISTED = "relisted"  # longer than any halt: delisted and listed again, perhaps as another asset
    NOT_IN_ARCHIVES = "not-in-archives"  # the archives have later files but none of it, and REST cannot be asked
    UNUSABLE = "unusable"  # the exchange has a row there that cannot be a candle; the evidence holds it
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """`source` answered `times` times, from `first_ms` to `last_ms` (epoch ms), that it has no candle in `span`.

    With `unusable` it gave a row there that cannot be a candle. Raises ValueError for a source whose silence is no
    evidence.
    """

    source: Source
    span: Span
    first_ms: int
    last_ms: int
    times: int = 1
    checksum: str | None = None  # sha256 of the archive file
    unusable: str | None = None  # the row, as the exchange sent it

    def __post_init__(self) -> None:
        if not self.source.gives_answers:
            raise ValueError(f"the silence of source {self.source} is no evidence")

    @property
    def is_of_listing(self) -> bool:
        """Whether it is the archives' listing that says so: there are later files, but none of the span."""
        return self.source.is_archive and self.checksum is None and self.unusable is None

    def document(self) -> dict[str, object]:
        """Return the answer as JSON for the database and for reports."""
        document: dict[str, object] = {
            "source": self.source.value,
            "answer": "no candle" if self.unusable is None else "unusable candle",
            "start": iso_ms(self.span.start_ms),
            "end": iso_ms(self.span.end_ms),
            "first_asked": iso_ms(self.first_ms),
            "last_asked": iso_ms(self.last_ms),
            "times": self.times,
            "archive_checksum": self.checksum,
        }
        return document if self.unusable is None else {**document, "row": self.unusable}


@dataclass(frozen=True, slots=True)
class Hole:
    """Grid slots without a candle, with the answers about them from this fetch."""

    span: Span
    answers: tuple[Answer, ...] = ()

    @property
    def is_unusable(self) -> bool:
        """Whether the source has a row there that cannot be a candle; such a hole is one slot."""
        return any(answer.unusable is not None for answer in self.answers)


class EventKind(StrEnum):
    """What happened to a gap."""

    FOUND = "found"
    SPLIT = "split"  # only a part of it was healed
    MERGED = "merged"
    HEALED = "healed"
    NOT_AT_EXCHANGE = "not_at_exchange"
    REOPENED = "reopened"
    REASON = "reason"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a gap; the text is for people."""

    at_ms: int
    kind: EventKind
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """One gap with its evidence and history. Times are epoch ms, the span is half-open."""

    span: Span
    found_ms: int
    since_ms: int  # when it got its present status
    status: GapStatus = GapStatus.MISSING
    answers: tuple[Answer, ...] = ()
    history: tuple[Event, ...] = ()
    next_recheck_ms: int | None = None  # None: healed, or rechecked by the next verify only
    rechecks: int = 0  # since it is not at the exchange
    reason: Reason | None = None
    reason_note: str | None = None
    was_committed: bool = False  # its candles were committed and are gone; else the source never had them
    id: int | None = None  # of its row in the database; None when it has no row yet

    def is_due(self, now_ms: int) -> bool:
        """Whether a recheck is due. A new gap is due at once, even when the clock of `now_ms` lags a little."""
        is_new = self.status is GapStatus.MISSING and self.next_recheck_ms == self.since_ms
        return is_new or (self.next_recheck_ms is not None and self.next_recheck_ms <= now_ms)

    def last_rest_ms(self) -> int | None:
        """Return when REST last answered about the whole gap (epoch ms), or None."""
        return max((a.last_ms for a in _covering(self, Source.REST)), default=None)

    def archives_asked(self, since_ms: int = 0) -> list[Span]:
        """Return the parts of the gap that a verified archive, read at `since_ms` or later, has no candle of."""
        asked = (a.span.intersect(self.span) for a in self.answers if a.source.is_archive and a.last_ms >= since_ms)
        return merge(span for span in asked if span is not None)


def new_gap(span: Span, now_ms: int, was_committed: bool = False) -> Gap:
    """Return a gap that was just found; its recheck is due at once."""
    found = Event(
        now_ms, EventKind.FOUND, "found: candles that had been committed are gone" if was_committed else "found"
    )
    return Gap(span, now_ms, now_ms, history=(found,), next_recheck_ms=now_ms, was_committed=was_committed)


def is_proven(gap: Gap, rules: SeriesRules, now_ms: int) -> bool:
    """Whether the evidence suffices: REST and archives both lack it, or one of them twice, `RECHECK_MS` apart.

    A row that cannot be a candle is evidence by itself: it was asked for until the answers agreed. That the archives
    have no file of it is evidence only once no file was ever seen to come so late.
    """
    if any(answer.unusable is not None for answer in gap.answers):
        return True
    by_rest = _covering(gap, Source.REST)
    by_archive = [a.span for a in gap.answers if a.source.is_archive and not a.is_of_listing]
    if by_rest and not subtract([gap.span], by_archive):
        return True
    if now_ms < settled_ms(rules, gap.span):
        return False
    if by_rest and max(a.last_ms for a in by_rest) - min(a.first_ms for a in by_rest) >= RECHECK_MS:
        return True
    is_late = now_ms >= gap.span.end_ms + ARCHIVES_UNSETTLED_MS
    believed = (a for a in gap.answers if a.source.is_archive and (is_late or not a.is_of_listing))
    return not subtract([gap.span], (a.span for a in believed if a.last_ms - a.first_ms >= RECHECK_MS))


def is_too_young(gap: Gap, rules: PublishingRules, now_ms: int) -> bool:
    """Whether nobody can prove yet that the exchange lacks the gap: all who were asked do, but its archive is not due.

    So it is with every halt of today. Candles that had been committed are another matter: it is we who lack them.
    """
    if gap.status is not GapStatus.MISSING or gap.was_committed or subtract([gap.span], (a.span for a in gap.answers)):
        return False
    late_ms = gap.span.end_ms + ARCHIVES_UNSETTLED_MS if is_in_no_archive(gap) else 0
    return now_ms < max(settled_ms(rules, gap.span), late_ms)


def is_in_no_archive(gap: Gap) -> bool:
    """Whether the archives' listing alone says of some of it that there is no candle."""
    return gap.last_rest_ms() is None and any(answer.is_of_listing for answer in gap.answers)


def apply_answers(
    known: Iterable[Gap], scope: Sequence[Span], holes: Sequence[Hole], rules: SeriesRules, now_ms: int, by: str
) -> list[Gap]:
    """Return the gaps after a fetch found exactly `holes` in `scope`; `known` are the open gaps that touch `scope`.

    Parts that are no longer holes become healed, new holes become missing gaps, answers are added as evidence, and a
    gap with enough evidence becomes not at the exchange. Parts of gaps outside `scope` stay as they are. A slot with
    a row that cannot be a candle is a gap of its own. `by` is what brought the candles, for the history.
    """
    joined = _join(holes)
    unusable = [hole.span for hole in joined if hole.is_unusable]
    gaps: list[Gap] = []
    taken: list[Span] = []
    for gap in known:
        taken.append(gap.span)
        still = merge([*subtract([gap.span], scope), *inside([hole.span for hole in joined], [gap.span])])
        gaps += _cut(gap, _apart(still, unusable), now_ms, by)
    fresh = subtract([hole.span for hole in joined], taken)
    gaps += [new_gap(span, now_ms) for span in _apart(fresh, unusable)]
    answered = [_with_answers(gap, _answers_about(gap, joined), rules, now_ms) for gap in gaps]
    return _merge_explained(answered, now_ms)


def postponed(gap: Gap, now_ms: int) -> Gap:
    """Return a missing gap, rechecked but still unexplained, due when the next answer can count as a second one."""
    return replace(gap, next_recheck_ms=max((a.last_ms for a in gap.answers), default=now_ms) + RECHECK_MS)


def reopened(gap: Gap, now_ms: int, why: str) -> Gap:
    """Return a gap that was not at the exchange as missing again, due at once: the exchange has candles after all."""
    event = Event(now_ms, EventKind.REOPENED, f"missing again: {why}")
    return replace(
        gap,
        status=GapStatus.MISSING,
        since_ms=now_ms,
        answers=(),
        history=(*gap.history, event),
        next_recheck_ms=now_ms,
        rechecks=0,
        reason=None,
        reason_note=None,
    )


def with_reason(gap: Gap, reason: Reason, note: str, now_ms: int) -> Gap:
    """Return the gap, which is not at the exchange, with the reason why."""
    event = Event(now_ms, EventKind.REASON, f"reason: {reason}, {note}")
    return replace(gap, reason=reason, reason_note=note, history=(*gap.history, event))


def is_longer_than_any_halt(gap: Gap, interval: Interval) -> bool:
    """Whether the gap is too long for an outage: more than three days, and more than three candles."""
    is_long = gap.span.end_ms - gap.span.start_ms > _LONGEST_HALT_MS
    return is_long and interval.count(gap.span.start_ms, gap.span.end_ms) > 3


def _apart(spans: Sequence[Span], slots: Sequence[Span]) -> list[Span]:
    """Return `spans` in order, cut so that each of `slots` in them is a span of its own."""
    return sorted([*inside(slots, spans), *subtract(spans, slots)])


def _covering(gap: Gap, source: Source) -> list[Answer]:
    return [a for a in gap.answers if a.source is source and a.span.intersect(gap.span) == gap.span]


def _cut(gap: Gap, still: Sequence[Span], now_ms: int, by: str) -> list[Gap]:
    """Return `gap` in parts: `still` with its old status, the rest healed. The first part keeps the database row."""
    if list(still) == [gap.span]:
        return [gap]
    healed = subtract([gap.span], still)
    parts = sorted([*((span, False) for span in still), *((span, True) for span in healed)])
    pieces: list[Gap] = []
    for span, is_healed in parts:
        events = list(gap.history)
        # A gap that is healed in small steps records the split once, or its history would grow with every step.
        if len(parts) > 1 and not (events and events[-1].kind is EventKind.SPLIT):
            events.append(Event(now_ms, EventKind.SPLIT, f"split from {gap.span}"))
        piece = replace(gap, span=span, id=gap.id if not pieces else None, history=tuple(events))
        pieces.append(_healed(piece, now_ms, by) if is_healed else piece)
    return pieces


def _healed(gap: Gap, now_ms: int, by: str) -> Gap:
    event = Event(now_ms, EventKind.HEALED, f"healed: {by}")
    return replace(
        gap, status=GapStatus.HEALED, since_ms=now_ms, next_recheck_ms=None, history=(*gap.history, event), rechecks=0
    )


def _answers_about(gap: Gap, holes: Sequence[Hole]) -> list[Answer]:
    if gap.status is GapStatus.HEALED:
        return []
    return [a for hole in holes if hole.span.intersect(gap.span) for a in hole.answers if a.span.intersect(gap.span)]


def _with_answers(gap: Gap, fresh: Sequence[Answer], rules: SeriesRules, now_ms: int) -> Gap:
    if not fresh:
        return gap
    answers = list(gap.answers)
    for answer in dict.fromkeys(fresh):  # one answer can cover several holes
        for i, old in enumerate(answers):
            if replace(answer, first_ms=old.first_ms, last_ms=old.last_ms, times=old.times) == old:
                answers[i] = replace(old, last_ms=max(old.last_ms, answer.first_ms), times=old.times + answer.times)
                break
        else:
            # A recheck can take long: the distance of two is from the end of one to the start of the next.
            answers.append(replace(answer, first_ms=answer.last_ms))
    gap = replace(gap, answers=tuple(answers))
    if any(answer.unusable is not None for answer in fresh) and gap.reason is not Reason.UNUSABLE:
        gap = with_reason(gap, Reason.UNUSABLE, "the exchange's row there cannot be a candle; see the evidence", now_ms)
    if gap.status is GapStatus.MISSING:
        if not is_proven(gap, rules, now_ms):
            return gap
        event = Event(now_ms, EventKind.NOT_AT_EXCHANGE, f"not at the exchange: {_describe_answers(gap)}")
        gap = replace(gap, status=GapStatus.NOT_AT_EXCHANGE, since_ms=now_ms, rechecks=0, history=(*gap.history, event))
        return replace(gap, next_recheck_ms=now_ms + _RECHECKS_AFTER_MS[0])
    if gap.next_recheck_ms is not None and not gap.is_due(now_ms):
        return gap  # not a scheduled recheck: the schedule stays
    if subtract([gap.span], (answer.span for answer in fresh)):
        return gap  # the answers cover only a part
    rechecks = gap.rechecks + 1
    after_ms = _RECHECKS_AFTER_MS[rechecks] if rechecks < len(_RECHECKS_AFTER_MS) else None
    return replace(gap, rechecks=rechecks, next_recheck_ms=None if after_ms is None else now_ms + after_ms)


def _describe_answers(gap: Gap) -> str:
    return ", ".join(
        f"{a.source} has {'none' if a.unusable is None else 'none that can be'}"
        f" ({a.times}x, last {format_ms(a.last_ms // 1000 * 1000)})"
        for a in gap.answers
    )


def _join(holes: Sequence[Hole]) -> list[Hole]:
    """Return `holes` with adjacent ones joined: one fetch reads a range in several pages and files.

    When both holes have a REST answer, these become one answer over the whole. Archive answers stay as they are, one
    for each file.
    """
    joined: list[Hole] = []
    for hole in sorted(holes, key=lambda one: one.span):
        is_apart = hole.is_unusable or (bool(joined) and joined[-1].is_unusable)
        if joined and joined[-1].span.end_ms == hole.span.start_ms and not is_apart:
            joined[-1] = _join_two(joined[-1], hole)
        else:
            joined.append(hole)
    return joined


def _join_two(left: Hole, right: Hole) -> Hole:
    span = Span(left.span.start_ms, right.span.end_ms)
    answers = [*left.answers, *right.answers]
    rest = [a for a in answers if a.source is Source.REST]
    if {a.span for a in rest} >= {left.span, right.span}:
        others = [a for a in answers if a.source.is_archive]
        whole = Answer(Source.REST, span, min(a.first_ms for a in rest), max(a.last_ms for a in rest))
        return Hole(span, (whole, *others))
    return Hole(span, tuple(answers))


def _merge_explained(gaps: Sequence[Gap], now_ms: int) -> list[Gap]:
    """Return the gaps in order; adjacent ones that are not at the exchange for the same reason are merged."""
    merged: list[Gap] = []
    for gap in sorted(gaps, key=lambda one: one.span):
        before = merged[-1] if merged else None
        if (
            before is not None
            and before.span.end_ms == gap.span.start_ms
            and before.status is gap.status is GapStatus.NOT_AT_EXCHANGE
            and (before.reason, before.was_committed) == (gap.reason, gap.was_committed)
            and gap.reason is not Reason.UNUSABLE  # each has a row of its own
        ):
            merged[-1] = _merge_two(before, gap, now_ms)
        else:
            merged.append(gap)
    return merged


def _merge_two(left: Gap, right: Gap, now_ms: int) -> Gap:
    events = sorted(dict.fromkeys((*left.history, *right.history)), key=lambda event: event.at_ms)
    rechecks_ms = [ms for ms in (left.next_recheck_ms, right.next_recheck_ms) if ms is not None]
    return replace(
        left,
        span=Span(left.span.start_ms, right.span.end_ms),
        found_ms=min(left.found_ms, right.found_ms),
        since_ms=max(left.since_ms, right.since_ms),
        answers=tuple(dict.fromkeys((*left.answers, *right.answers))),
        history=(*events, Event(now_ms, EventKind.MERGED, f"merged from {left.span} and {right.span}")),
        next_recheck_ms=min(rechecks_ms, default=None),
        rechecks=min(left.rechecks, right.rechecks),
        id=left.id if left.id is not None else right.id,
    )
