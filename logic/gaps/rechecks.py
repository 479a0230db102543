"""Rechecks known gaps: fetches them again, saves candles that came, and updates the gaps that stay."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.archives import NO_ARCHIVES, Period, day_of, month_of
from core.candles import coalesce
from core.closing import closed_part_of_file
from core.errors import ArchiveUnavailable
from core.exchange_rules import SeriesRules, guess_index
from core.fetched import FetchedSpan, ReadFile
from core.gaps import RECHECK_MS, Answer, Gap, GapStatus, Hole, Reason, apply_answers, postponed
from core.plan import FetchOptions, make_plan
from core.ranges import Span, inside, merge, span_or_none, subtract
from core.series import Series
from core.sources import Source
from db.gaps import load_open_gaps, save_gaps
from db.healing import save_healed
from db.ledger import load_entries
from db.operations import SaveResult
from logic.fetching.chunk_fetch import fetch_chunk
from logic.gaps.reasons import explain
from logic.planning.absent_files import absent_spans, files_of
from logic.series_session import SeriesSession

_log = logging.getLogger(__name__)

_MAX_FILES = 3  # archive files that are read as evidence for one gap, where REST can tell as well
_MAX_FILES_ALONE = 40  # in one run, where it cannot


@dataclass(frozen=True, slots=True)
class RecheckResult:
    """The result of rechecked gaps. Counts are candles (grid slots)."""

    saved: SaveResult
    not_at_exchange: int  # newly confirmed to be not at the exchange
    unexplained: int  # still missing


@dataclass(frozen=True, slots=True)
class GapRecheck:
    """Decides which gaps of one series to recheck, and how."""

    session: SeriesSession
    options: FetchOptions

    @property
    def series(self) -> Series:
        """The series whose gaps are rechecked."""
        return self.session.series

    def wants(self, gap: Gap) -> bool:
        """Whether the gap needs work: its recheck is due, or it has no reason yet."""
        return self.is_due(gap) or (gap.status is GapStatus.NOT_AT_EXCHANGE and gap.reason is None)

    def is_due(self, gap: Gap) -> bool:
        """Whether a recheck is due: by the gap's schedule, or because REST is allowed and was never asked."""
        for_rest = gap.status is GapStatus.MISSING or gap.reason is Reason.NOT_IN_ARCHIVES
        never_asked = for_rest and gap.last_rest_ms() is None and self.options.allowed.rest
        return never_asked or gap.is_due(self.session.exchange_now_ms())

    def can_answer(self, gap: Gap) -> bool:
        """Whether fetching now can help: it gives a first answer, or a second one that is late enough to count."""
        if gap.status is GapStatus.NOT_AT_EXCHANGE and not self.is_due(gap):
            return False
        if not self.options.allowed.rest:
            return not gap.answers  # `_ask_archives` reads the files a second time
        last_ms = gap.last_rest_ms()
        return last_ms is None or self.session.exchange_now_ms() - last_ms >= RECHECK_MS


def recheck_gaps(recheck: GapRecheck, gaps: Sequence[Gap]) -> RecheckResult:
    """Fetch the slots of `gaps` (not healed, of one series) from the cheapest source; save candles and evidence.

    Raises SeriesError and ExchangeUnavailable; what was saved before stays.
    """
    spans = [gap.span for gap in gaps]
    saved = _ask(recheck, [gap for gap in gaps if recheck.can_answer(gap)])
    for gap in _reload(recheck, spans):
        if gap.status is GapStatus.MISSING or (not recheck.options.allowed.rest and recheck.is_due(gap)):
            saved += _ask_archives(recheck, gap)
    after = _reload(recheck, spans)
    explained = [explain(recheck.session, recheck.options, gap) for gap in after]
    now_ms = recheck.session.exchange_now_ms()
    final = [postponed(gap, now_ms) if gap.status is GapStatus.MISSING else gap for gap in explained]
    _save(recheck, after, final)
    not_there_before = merge(gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE)
    newly = subtract([gap.span for gap in final if gap.status is GapStatus.NOT_AT_EXCHANGE], not_there_before)
    missing = [gap.span for gap in final if gap.status is GapStatus.MISSING]
    interval = recheck.series.interval
    return RecheckResult(saved, interval.count_in(newly), interval.count_in(missing))


def _reload(recheck: GapRecheck, spans: Sequence[Span]) -> list[Gap]:
    """Return the gaps that overlap `spans` and are not healed, as they are in the database now."""
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
    """Fetch the slots of `gaps` in the same way as a backfill; save candles, record holes as evidence."""
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
    """Yield spans to save together, all inside one ledger entry, and whether their candles were never committed.

    Candles that were committed come first: the entry's hash then shows whether all of them are back.
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
    """Return what the cheapest sources have in `spans`, and the slots that they lack."""
    options, exchange = recheck.options, recheck.session.exchange
    reach = Span(spans[0].start_ms, spans[-1].end_ms)
    # A wrongly guessed file name costs one request; reading the listing would always cost one.
    now_ms = recheck.session.exchange_now_ms()
    published = guess_index(options.rules, reach, now_ms) if options.allowed.archives else NO_ARCHIVES
    # Gaps that fit into one page are fetched together.
    wanted = coalesce(spans, recheck.series.interval, options.rules.page_rows)
    chunks = make_plan(options, wanted, published).chunks
    found = [fetch_chunk(options, chunk, published, exchange) for chunk in chunks]
    holes = [hole for one in found for hole in one.holes]
    inside = [(part, hole) for hole in holes for span in spans if (part := hole.span.intersect(span)) is not None]
    return [span for one in found for span in one.spans], [Hole(part, hole.answers) for part, hole in inside]


def _save_inside(
    recheck: GapRecheck, spans: Sequence[Span], fetched: Sequence[FetchedSpan], came_late: bool
) -> SaveResult:
    """Save the part of `fetched` inside `spans` (candles between the gaps are stored already), and heal the gaps.

    Both in one transaction: only candles from a source heal a gap, not rows that happen to be in the table.
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
    """Add the answers about `holes` as evidence to the gaps that are not healed."""
    if not holes:
        return
    before = _reload(recheck, [hole.span for hole in holes])
    _save(
        recheck, before, apply_answers(before, [], holes, recheck.options.rules, recheck.session.exchange_now_ms(), "")
    )


def _ask_archives(recheck: GapRecheck, gap: Gap) -> SaveResult:
    """Read the archive files of the gap that were not read yet, as the second source that the evidence needs."""
    saved = SaveResult()
    session, allowed = recheck.session, recheck.options.allowed
    now_ms = session.exchange_now_ms()
    if not allowed.archives or (gap.last_rest_ms() is None and allowed.rest):
        return saved
    # When only archives are allowed, reading the same file again later gives the second answer.
    asked = gap.archives_asked(since_ms=0 if allowed.rest else now_ms - RECHECK_MS + 1)
    files, holes = _files(recheck, gap, now_ms)
    for period in files:
        part = closed_part_of_file(session.series.interval, period.span)
        # A candle that opens in the file before runs into this one: the part of it here is no slot.
        part = span_or_none(session.series.interval.ceil(part.start_ms), part.end_ms) if part is not None else None
        part = part.intersect(gap.span) if part is not None else None
        if part is None or not subtract([part], asked):
            continue
        try:
            batch, checksum = session.exchange.archives.fetch(session.series, period)
        except ArchiveUnavailable as error:
            _log.debug("%s: no evidence about gap %s: %s", session.series, gap.span, error)
            continue
        file = ReadFile.of(session.rules, period, batch, checksum)
        found = FetchedSpan(part, file.batch.within(part), period.source, checksum)
        saved += _save_inside(recheck, [gap.span], [found], came_late=not gap.was_committed)
        holes += file.holes(session.series.interval, part, now_ms)
    _note_answers(recheck, holes)
    return saved


def _files(recheck: GapRecheck, gap: Gap, now_ms: int) -> tuple[list[Period], list[Hole]]:
    """Return the files to read as evidence, and what the listing shows to be in no file.

    Where REST may be asked, a few files are guessed. Where it may not, the listing tells them: a hole of any length
    is read through, some files in each run.
    """
    session, rules = recheck.session, recheck.options.rules
    if recheck.options.allowed.rest:
        return _periods(rules, gap, now_ms), []
    try:
        listed = session.exchange.archives.list_published(session.series, Span(gap.span.start_ms, now_ms))
    except ArchiveUnavailable as error:
        _log.debug("%s: no evidence about gap %s: %s", session.series, gap.span, error)
        return [], []
    files, without = files_of(rules, gap.span, listed)
    absent = absent_spans(rules, merge(without), listed)
    if small := _periods(rules, gap, now_ms):  # the days of a month that is out are there too, and need not be listed
        files = [file for file in small if subtract(inside([gap.span], [file.span]), absent)]
    read = gap.archives_asked(since_ms=now_ms - RECHECK_MS + 1)
    unread = [file for file in files if subtract(inside([gap.span], [file.span]), read)]
    source = Source.ARCHIVE_DAILY if rules.has_daily_archives else Source.ARCHIVE_MONTHLY
    return unread[:_MAX_FILES_ALONE], [Hole(span, (Answer(source, span, now_ms, now_ms),)) for span in absent]


def _periods(rules: SeriesRules, gap: Gap, now_ms: int) -> list[Period]:
    """Return the files that cover the gap and may be published: daily ones, or monthly ones if too many."""
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
