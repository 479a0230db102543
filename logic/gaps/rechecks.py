"""Looks at known gaps again: asks the exchange for them, saves what comes, and judges what stays."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.archives import NO_ARCHIVES, Period, day_of, month_of
from core.candles import coalesce
from core.closing import closed_part_of_file
from core.errors import ArchiveUnavailable
from core.exchange_rules import SeriesRules, guess_index
from core.fetched import FetchedSpan
from core.gaps import RECHECK_MS, Answer, Gap, GapStatus, Hole, apply_answers, postponed
from core.plan import FetchOptions, make_plan
from core.ranges import Span, merge, subtract
from core.series import Series
from db.gaps import load_open_gaps, save_gaps
from db.healing import save_healed
from db.ledger import load_entries
from db.operations import SaveResult
from logic.fetching.chunk_fetch import fetch_chunk
from logic.gaps.reasons import explain
from logic.series_session import SeriesSession

_log = logging.getLogger(__name__)

_MAX_FILES = 3  # archive files that are read as evidence for one gap


@dataclass(frozen=True, slots=True)
class RecheckResult:
    """What became of the gaps that were looked at. Counts are candles (grid slots)."""

    saved: SaveResult
    not_at_exchange: int  # newly confirmed to be not at the exchange
    unexplained: int  # neither there nor explained


@dataclass(frozen=True, slots=True)
class GapRecheck:
    """One series in a run, and how its candles may be fetched."""

    session: SeriesSession
    options: FetchOptions

    @property
    def series(self) -> Series:
        """The series whose gaps are asked about."""
        return self.session.series

    def wants(self, gap: Gap) -> bool:
        """Whether there is something to do for the gap: a recheck that is due, or a reason to be found."""
        return self.is_due(gap) or (gap.status is GapStatus.NOT_AT_EXCHANGE and gap.reason is None)

    def is_due(self, gap: Gap) -> bool:
        """Whether the gap's schedule asks for a recheck, or REST can be asked that never was."""
        never_asked = gap.status is GapStatus.MISSING and gap.last_rest_ms() is None and self.options.allowed.rest
        return never_asked or gap.is_due(self.session.exchange_now_ms())

    def can_answer(self, gap: Gap) -> bool:
        """Whether asking now can bring something: a first answer, or a second one late enough to count."""
        if gap.status is GapStatus.NOT_AT_EXCHANGE and not self.is_due(gap):
            return False
        if not self.options.allowed.rest:
            return not gap.answers  # a second reading of the files is `_ask_archives`
        last_ms = gap.last_rest_ms()
        return last_ms is None or self.session.exchange_now_ms() - last_ms >= RECHECK_MS


def recheck_gaps(recheck: GapRecheck, gaps: Sequence[Gap]) -> RecheckResult:
    """Ask for the slots of `gaps` (open ones of one series), by the cheapest source, and keep what is learned.

    Raises SeriesError and ExchangeUnavailable; what was saved and judged by then stays.
    """
    spans = [gap.span for gap in gaps]
    saved = _ask(recheck, [gap for gap in gaps if recheck.can_answer(gap)])
    for gap in _reload(recheck, spans):
        if gap.status is GapStatus.MISSING:
            saved += _ask_archives(recheck, gap)
    after = _reload(recheck, spans)
    explained = [explain(recheck.session, recheck.options, gap) for gap in after]
    now_ms = recheck.session.exchange_now_ms()
    final = [postponed(gap, now_ms) if gap.status is GapStatus.MISSING else gap for gap in explained]
    _save(recheck, after, final)
    was_absent = merge(gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE)
    newly = subtract([gap.span for gap in final if gap.status is GapStatus.NOT_AT_EXCHANGE], was_absent)
    missing = [gap.span for gap in final if gap.status is GapStatus.MISSING]
    interval = recheck.series.interval
    return RecheckResult(saved, interval.count_in(newly), interval.count_in(missing))


def _reload(recheck: GapRecheck, spans: Sequence[Span]) -> list[Gap]:
    """Return the open gaps inside `spans` as the database has them now."""
    if not spans:
        return []
    with recheck.session.database.transaction(f"read the gaps of {recheck.series}") as tx:
        reach = Span(min(span.start_ms for span in spans), max(span.end_ms for span in spans))
        found = load_open_gaps(tx, recheck.session.series_id, reach)
    return [gap for gap in found if any(gap.span.intersect(span) for span in spans)]


def _save(recheck: GapRecheck, before: Sequence[Gap], after: Sequence[Gap]) -> None:
    if list(before) != list(after):
        with recheck.session.database.transaction(f"keep the gaps of {recheck.series}") as tx:
            save_gaps(tx, recheck.session.series_id, before, after)


def _ask(recheck: GapRecheck, gaps: Sequence[Gap]) -> SaveResult:
    """Fetch the slots of `gaps` through the same path as a backfill, save what comes, note what does not."""
    if not gaps:
        return SaveResult()
    saved = SaveResult()
    holes: list[Hole] = []
    for spans, came_late in _groups(recheck, gaps):
        fetched, lacking = _fetch(recheck, spans)
        saved += _save_inside(recheck, spans, fetched, came_late)
        holes += lacking
    _note_answers(recheck, holes)
    return saved


def _groups(recheck: GapRecheck, gaps: Sequence[Gap]) -> Iterator[tuple[list[Span], bool]]:
    """Yield the spans that are saved together, and whether what comes there came late; each inside one ledger entry.

    The entry's hash tells when all that was lost from the table is back, so that comes first.
    """
    lost = merge(gap.span for gap in gaps if gap.was_committed)
    late = merge(gap.span for gap in gaps if not gap.was_committed)
    reach = Span(min(gap.span.start_ms for gap in gaps), max(gap.span.end_ms for gap in gaps))
    with recheck.session.database.transaction(f"read the ledger of {recheck.series}") as tx:
        entries = load_entries(tx, recheck.session.series_id, recheck.series.table_name, reach)
    for entry in entries:
        for wanted, came_late in ((lost, False), (late, True)):
            spans = [part for span in wanted if (part := span.intersect(entry.span)) is not None]
            if spans:
                yield spans, came_late


def _fetch(recheck: GapRecheck, spans: Sequence[Span]) -> tuple[list[FetchedSpan], list[Hole]]:
    """Return what the cheapest source has in `spans`, and the slots that it lacks."""
    options, exchange = recheck.options, recheck.session.exchange
    reach = Span(spans[0].start_ms, spans[-1].end_ms)
    # Guessing file names costs a request where one is wrong; a listing would cost one always.
    now_ms = recheck.session.exchange_now_ms()
    published = guess_index(options.rules, reach, now_ms) if options.allowed.archives else NO_ARCHIVES
    # Gaps near each other fit into one page.
    wanted = coalesce(spans, recheck.series.interval, options.rules.page_rows)
    chunks = make_plan(options, wanted, published).chunks
    found = [fetch_chunk(options, chunk, published, exchange) for chunk in chunks]
    holes = [hole for one in found for hole in one.holes]
    inside = [(part, hole) for hole in holes for span in spans if (part := hole.span.intersect(span)) is not None]
    return [span for one in found for span in one.spans], [Hole(part, hole.answers) for part, hole in inside]


def _save_inside(
    recheck: GapRecheck, spans: Sequence[Span], fetched: Sequence[FetchedSpan], came_late: bool
) -> SaveResult:
    """Save the part of `fetched` that lies inside `spans` (what is between gaps is there already), and heal the gaps.

    One transaction: a gap is healed by candles that a source gave, never by rows that merely are there.
    """
    session = recheck.session
    parts = [one.within(part) for one in fetched for span in spans if (part := one.span.intersect(span)) is not None]
    lacking = [hole for part in parts for hole in part.batch.missing(session.series.interval, part.span)]
    come = subtract([part.span for part in parts], lacking)
    by = ", ".join(sorted({part.source.value for part in parts if part.batch.rows}))
    with session.database.transaction(f"save the healed candles of {session.series}") as tx:
        saved = save_healed(tx, session.commit, parts, came_late)
        if come:
            known = load_open_gaps(tx, session.series_id, Span(come[0].start_ms, come[-1].end_ms))
            touched = [gap for gap in known if any(gap.span.intersect(span) for span in come)]
            now_ms = session.exchange_now_ms()
            healed = apply_answers(touched, come, [], session.rules, now_ms, f"{by}, run {session.run_id}")
            save_gaps(tx, session.series_id, touched, healed)
    return saved


def _note_answers(recheck: GapRecheck, holes: Sequence[Hole]) -> None:
    """Add what was answered about holes to the gaps that are still there."""
    if not holes:
        return
    before = _reload(recheck, [hole.span for hole in holes])
    _save(
        recheck, before, apply_answers(before, [], holes, recheck.options.rules, recheck.session.exchange_now_ms(), "")
    )


def _ask_archives(recheck: GapRecheck, gap: Gap) -> SaveResult:
    """Read the archive files of a gap's days that were not read yet: the second source that a judgement needs."""
    saved = SaveResult()
    session, allowed = recheck.session, recheck.options.allowed
    now_ms = session.exchange_now_ms()
    if not allowed.archives or (gap.last_rest_ms() is None and allowed.rest):
        return saved
    # With nothing but archives, a file that is read again and still lacks it is the second answer.
    asked = gap.archives_asked(since_ms=0 if allowed.rest else now_ms - RECHECK_MS + 1)
    holes: list[Hole] = []
    for period in _periods(recheck.options.rules, gap, now_ms):
        part = closed_part_of_file(session.series.interval, period.span)
        part = part.intersect(gap.span) if part is not None else None
        if part is None or not subtract([part], asked):
            continue
        try:
            batch, checksum = session.exchange.archives.fetch(session.series, period)
        except ArchiveUnavailable as error:
            _log.debug("%s: no evidence about gap %s: %s", session.series, gap.span, error)
            continue
        found = FetchedSpan(part, batch.within(part), period.source, checksum)
        saved += _save_inside(recheck, [gap.span], [found], came_late=not gap.was_committed)
        holes += [
            Hole(span, (Answer(period.source, span, now_ms, now_ms, checksum=checksum),))
            for span in batch.missing(session.series.interval, part)
        ]
    _note_answers(recheck, holes)
    return saved


def _periods(rules: SeriesRules, gap: Gap, now_ms: int) -> list[Period]:
    """Return the archive files that hold the gap and can be out: days, or months where days are many or none."""
    last_open_ms = rules.interval.add(gap.span.end_ms, -1)
    for period_at in (day_of, month_of):
        if period_at is day_of and not rules.has_daily_archives:
            continue
        periods = [period_at(gap.span.start_ms)]
        while periods[-1].span.end_ms <= last_open_ms and len(periods) <= _MAX_FILES:
            periods.append(period_at(periods[-1].span.end_ms))
        if len(periods) <= _MAX_FILES:
            return [one for one in periods if rules.archive_possible_ms(one) <= now_ms]
    return []
