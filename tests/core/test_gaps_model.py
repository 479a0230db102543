"""Gaps after anything in any order, against a model of sets of slots."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gap_samples import (
    BEGIN,
    DAILY,
    HEALED,
    HOURS,
    MISSING,
    NOT_AT_EXCHANGE,
    OLD,
    REST,
    hours,
    minutes,
)
from hypothesis import given
from hypothesis import strategies as st

from core.gaps import (
    Answer,
    Gap,
    Hole,
    Reason,
    apply_answers,
    postponed,
    reopened,
    with_reason,
)
from core.ranges import Span, merge
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time

SLOTS = 36  # from noon on: three days
RECHECKS = [0, 1, 29, 30, 31, 60, 24 * 60, 8 * 24 * 60]
ASKED = [(), (REST,), (REST, DAILY), (DAILY,), (REST,)]


@dataclass(frozen=True)
class Step:
    """One thing that happens to a series: a pause, then a recheck or a change of mind."""

    pause: int  # minutes
    rechecked: tuple[tuple[int, int], ...]  # first slot and number of slots
    lacking: tuple[tuple[int, int], ...]
    cuts: frozenset[int]  # where one hole ends and the next begins
    asked: tuple[tuple[Source, ...], ...]
    is_wide: bool  # answers are about a run of holes, not about each
    checksum: str
    all_known: bool  # every open gap is passed, not only those that are touched
    then: str

    @property
    def scope(self) -> list[Span]:
        return merge(hours(start, start + count) for start, count in self.rechecked)


blocks = st.sampled_from([(0, 6), (6, 6), (9, 9), (12, 1), (20, 8), (24, 12)])
ranges = st.tuples(st.integers(0, SLOTS - 6), st.integers(1, 6))
steps = st.builds(
    Step,
    pause=st.sampled_from(RECHECKS),
    rechecked=st.lists(blocks | ranges | st.just((0, SLOTS)), max_size=2).map(tuple),
    lacking=st.lists(blocks | blocks | ranges, max_size=3).map(tuple),
    cuts=st.frozensets(st.integers(0, SLOTS), max_size=3),
    asked=st.lists(st.sampled_from(ASKED), min_size=1, max_size=4).map(tuple),
    is_wide=st.booleans(),
    checksum=st.sampled_from(["aa" * 32, "aa" * 32, "bb" * 32]),
    all_known=st.booleans(),
    then=st.sampled_from(["", "", "", "reopened", "reason", "postponed"]),
)
start_times = st.sampled_from([parse_time("2024-01-17T00:00"), parse_time("2024-01-18T23:00"), OLD])


def numbers(spans: Iterable[Span]) -> set[int]:
    return {
        slot
        for span in spans
        for slot in range((span.start_ms - BEGIN) // MS_PER_HOUR, (span.end_ms - BEGIN) // MS_PER_HOUR)
    }


def runs_of(slots: Iterable[int], cuts: frozenset[int] = frozenset()) -> list[Span]:
    runs: list[list[int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][-1] == slot - 1 and slot not in cuts:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return [hours(run[0], run[-1] + 1) for run in runs]


def by_day(span: Span) -> list[Span]:
    midnights = frozenset((12, 36))
    return runs_of(numbers([span]), midnights)


@dataclass
class World:
    """The gap ledger of one series beside a model of it that knows slots and nothing else."""

    now_ms: int
    gaps: list[Gap] = field(default_factory=list)
    open_slots: set[int] = field(default_factory=set)
    # (source is REST, when) for every answer about a slot since it is open
    answers: dict[int, list[tuple[bool, int]]] = field(default_factory=dict)
    last_id: int = 0

    def holes(self, step: Step) -> list[Hole]:
        lacking = {slot for start, count in step.lacking for slot in range(start, start + count)}
        holes = []
        for number, piece in enumerate(runs_of(lacking, step.cuts)):
            [run] = [span for span in runs_of(lacking) if span.intersect(piece)]
            about = run if step.is_wide else piece
            answers: list[Answer] = []
            for source in step.asked[number % len(step.asked)]:
                spans = [about] if source is REST else by_day(about)
                answers += [
                    Answer(source, one, self.now_ms, self.now_ms, checksum=None if source is REST else step.checksum)
                    for one in spans
                ]
            holes.append(Hole(piece, tuple(answers)))
        return holes

    def take(self, step: Step) -> None:
        """Do one step, and hold what comes of it against the model."""
        self.now_ms += minutes(step.pause)
        holes, scope = self.holes(step), step.scope
        touched = numbers([*scope, *(one.span for one in holes)])
        known = [gap for gap in self.gaps if step.all_known or numbers([gap.span]) & touched]
        after = apply_answers(known, scope, holes, HOURS, self.now_ms, "run")
        lacking = numbers(one.span for one in holes)

        healed = [gap for gap in after if gap.status is HEALED]
        was_known = numbers(gap.span for gap in known)
        assert numbers(gap.span for gap in healed) == (was_known & numbers(scope)) - lacking
        self._nothing_is_lost(known, after)
        self._ids_are_single(known, after)

        self.open_slots = (self.open_slots - numbers(scope)) | lacking
        self._note_answers(holes)
        self._not_at_exchange_is_proven(known, after)
        not_there = [gap for gap in after if gap.status is NOT_AT_EXCHANGE]
        for left, right in itertools.pairwise(sorted(not_there, key=lambda gap: gap.span)):
            assert left.span.end_ms < right.span.start_ms or left.reason != right.reason

        untouched = [gap for gap in self.gaps if gap not in known]
        self.gaps = [self._then(step, self._saved(gap)) for gap in after if gap.status is not HEALED] + untouched
        assert Counter(slot for gap in self.gaps for slot in numbers([gap.span])) == Counter(self.open_slots)
        assert all(gap.next_recheck_ms is not None or gap.rechecks >= 3 for gap in self.gaps)

    def _nothing_is_lost(self, known: Sequence[Gap], after: Sequence[Gap]) -> None:
        for gap in known:
            for slot in numbers([gap.span]):
                [heir] = [one for one in after if slot in numbers([one.span])]
                assert set(gap.history) <= set(heir.history)
                assert heir.found_ms <= gap.found_ms
                old = {(a.source, a.span, a.checksum) for a in gap.answers}
                assert old <= {(a.source, a.span, a.checksum) for a in heir.answers}
        for gap in after:
            assert any(event.text == "found" for event in gap.history)
            assert [event.at_ms for event in gap.history] == sorted(event.at_ms for event in gap.history)

    def _ids_are_single(self, known: Sequence[Gap], after: Sequence[Gap]) -> None:
        ids = [gap.id for gap in after if gap.id is not None]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {gap.id for gap in known}
        for gap in known:
            if gap.id not in ids:  # its row became part of a neighbour's
                assert any(one.status is NOT_AT_EXCHANGE and one.span.intersect(gap.span) for one in after)

    def _note_answers(self, holes: Sequence[Hole]) -> None:
        self.answers = {slot: self.answers.get(slot, []) for slot in self.open_slots}
        for one in holes:
            for said in one.answers:
                for slot in numbers([said.span]):
                    self.answers[slot].append((said.source is REST, said.last_ms))

    def _not_at_exchange_is_proven(self, known: Sequence[Gap], after: Sequence[Gap]) -> None:
        was_not_there = numbers(gap.span for gap in known if gap.status is NOT_AT_EXCHANGE)
        for slot in numbers(gap.span for gap in after if gap.status is NOT_AT_EXCHANGE) - was_not_there:
            assert self._is_proven(slot)

    def _is_proven(self, slot: int) -> bool:
        """Whether what was answered about one slot suffices."""
        rest, archive = ([ms for by_rest, ms in self.answers[slot] if by_rest is wanted] for wanted in (True, False))
        if rest and archive:
            return True
        opens_ms = BEGIN + slot * MS_PER_HOUR
        archive_is_out = self.now_ms >= (opens_ms // MS_PER_DAY + 2) * MS_PER_DAY
        return archive_is_out and any(times and max(times) - min(times) >= minutes(30) for times in (rest, archive))

    def _saved(self, gap: Gap) -> Gap:
        if gap.id is not None:
            return gap
        self.last_id += 1
        return replace(gap, id=self.last_id)

    def _then(self, step: Step, gap: Gap) -> Gap:
        if step.then == "reopened" and gap.status is NOT_AT_EXCHANGE:
            for slot in numbers([gap.span]):
                self.answers[slot] = []
            return reopened(gap, self.now_ms, "why")
        if step.then == "reason" and gap.status is NOT_AT_EXCHANGE:
            return with_reason(gap, Reason.HALT if gap.span.start_ms % 2 else Reason.UNKNOWN, "note", self.now_ms)
        return postponed(gap, self.now_ms) if step.then == "postponed" and gap.status is MISSING else gap


@given(start_times, st.lists(steps, max_size=8))
def test_any_rechecks_in_any_order_leave_what_a_model_of_slots_says(now_ms: int, some_steps: list[Step]) -> None:
    world = World(now_ms)
    for step in some_steps:
        world.take(step)
