"""Looks at known gaps again: asks the exchange for them, saves what comes, and judges what stays."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.binance.archives import NO_ARCHIVES, Cadence, Period, day_of, guess_index, has_daily_files, month_of
from core.candles import coalesce
from core.errors import ArchiveUnavailable
from core.fetched import FetchedSpan
from core.gaps import RECHECK_MS, Answer, Gap, GapStatus, Hole, apply_answers, postponed
from core.plan import Source, SourceChoice, make_plan
from core.ranges import Span, merge, subtract
from core.series import Series
from core.times import MS_PER_DAY, MS_PER_HOUR
from db.connection import Database
from db.gaps import load_open_gaps, save_gaps
from db.healing import save_healed
from db.ledger import load_entries
from db.operations import SaveResult
from fetcher.binance.exchange import Exchange
from logic.fetching.chunk_fetch import fetch_chunk, finished_part
from logic.gaps.reasons import explain
from logic.planning.series_plan import SeriesPlan

_log = logging.getLogger(__name__)

_MAX_FILES = 3  # archive files that are read as evidence for one gap
# Daily files were seen from 02:50 on the next day (contract section 4); months come days later.
_EARLIEST_OUT_MS = {Cadence.DAILY: 3 * MS_PER_HOUR, Cadence.MONTHLY: MS_PER_DAY}


@dataclass(frozen=True, slots=True)
class RecheckResult:
    """What became of the gaps that were looked at. Counts are candles (grid slots)."""

    saved: SaveResult
    not_at_exchange: int  # newly confirmed to be not at the exchange
    unexplained: int  # neither there nor explained


@dataclass(frozen=True, slots=True)
class GapRecheck:
    """One series and where to ask about its gaps."""

    database: Database
    exchange: Exchange
    plan: SeriesPlan
    series_id: int
    run_id: str
    now_ms: int  # this machine's clock, for the ledger

    @property
    def series(self) -> Series:
        """The series whose gaps are looked at."""
        return self.plan.wanted.series

    def exchange_now_ms(self) -> int:
        """Return the exchange's clock, by which answers are dated."""
        return self.exchange.now_ms(self.series.market)

    def wants(self, gap: Gap) -> bool:
        """Whether there is something to do for the gap: a look that is due, or a reason to be found."""
        return self.is_due(gap) or (gap.status is GapStatus.NOT_AT_EXCHANGE and gap.reason is None)

    def is_due(self, gap: Gap) -> bool:
        """Whether the gap's schedule asks for a recheck, or REST can be asked that never was."""
        only_archives = self.plan.rules.choice is SourceChoice.ARCHIVE
        never_asked = gap.status is GapStatus.MISSING and gap.last_rest_ms() is None and not only_archives
        return never_asked or gap.is_due(self.exchange_now_ms())


def recheck_gaps(recheck: GapRecheck, gaps: Sequence[Gap]) -> RecheckResult:
    """Ask for the slots of `gaps` (open ones of one series), by the cheapest source, and keep what is learned.

    Raises SeriesError and ExchangeUnavailable; what was saved and judged by then stays.
    """
    spans = [gap.span for gap in gaps]
    saved = _ask(recheck, [gap for gap in gaps if _wants_answer(recheck, gap)])
    for gap in _reload(recheck, spans):
        if gap.status is GapStatus.MISSING:
            saved += _ask_archives(recheck, gap)
    after = _reload(recheck, spans)
    explained = [explain(recheck.database, recheck.exchange, recheck.plan, recheck.series_id, gap) for gap in after]
    now_ms = recheck.exchange_now_ms()
    final = [postponed(gap, now_ms) if gap.status is GapStatus.MISSING else gap for gap in explained]
    _save(recheck, after, final)
    was_absent = merge(gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE)
    newly = subtract([gap.span for gap in final if gap.status is GapStatus.NOT_AT_EXCHANGE], was_absent)
    missing = [gap.span for gap in final if gap.status is GapStatus.MISSING]
    return RecheckResult(saved, _slots(recheck.series, newly), _slots(recheck.series, missing))


def _slots(series: Series, spans: Sequence[Span]) -> int:
    return sum(series.interval.count(span.start_ms, span.end_ms) for span in spans)


def _wants_answer(recheck: GapRecheck, gap: Gap) -> bool:
    """Whether asking now can bring something: a first answer, or a second one late enough to count."""
    if gap.status is GapStatus.NOT_AT_EXCHANGE and not recheck.is_due(gap):
        return False
    if recheck.plan.rules.choice is SourceChoice.ARCHIVE:
        return not gap.answers  # a second reading of the files is `_ask_archives`
    last_ms = gap.last_rest_ms()
    return last_ms is None or recheck.exchange_now_ms() - last_ms >= RECHECK_MS


def _reload(recheck: GapRecheck, spans: Sequence[Span]) -> list[Gap]:
    """Return the open gaps inside `spans` as the database has them now."""
    if not spans:
        return []
    with recheck.database.transaction(f"read the gaps of {recheck.series}") as tx:
        reach = Span(min(span.start_ms for span in spans), max(span.end_ms for span in spans))
        found = load_open_gaps(tx, recheck.series_id, reach)
    return [gap for gap in found if any(gap.span.intersect(span) for span in spans)]


def _save(recheck: GapRecheck, before: Sequence[Gap], after: Sequence[Gap]) -> None:
    if list(before) != list(after):
        with recheck.database.transaction(f"keep the gaps of {recheck.series}") as tx:
            save_gaps(tx, recheck.series_id, before, after)


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
    with recheck.database.transaction(f"read the ledger of {recheck.series}") as tx:
        entries = load_entries(tx, recheck.series_id, recheck.series.table_name, reach)
    for entry in entries:
        for wanted, came_late in ((lost, False), (late, True)):
            spans = [part for span in wanted if (part := span.intersect(entry.span)) is not None]
            if spans:
                yield spans, came_late


def _fetch(recheck: GapRecheck, spans: Sequence[Span]) -> tuple[list[FetchedSpan], list[Hole]]:
    """Return what the cheapest source has in `spans`, and the slots that it lacks."""
    series, rules = recheck.series, recheck.plan.rules
    # Guessing file names costs a request where one is wrong; a listing would cost one always.
    use_archives = rules.choice is not SourceChoice.REST
    reach = Span(spans[0].start_ms, spans[-1].end_ms)
    published = guess_index(series, reach, recheck.exchange_now_ms()) if use_archives else NO_ARCHIVES
    # Gaps near each other fit into one page.
    chunks = make_plan(series, coalesce(spans, series.interval, rules.page_rows), published, rules).chunks
    plan = dataclasses.replace(recheck.plan, span=None, chunks=chunks, published=published)
    found = [fetch_chunk(plan, chunk, recheck.exchange) for chunk in chunks]
    holes = [hole for one in found for hole in one.holes]
    inside = [(part, hole) for hole in holes for span in spans if (part := hole.span.intersect(span)) is not None]
    return [span for one in found for span in one.spans], [Hole(part, hole.answers) for part, hole in inside]


def _save_inside(
    recheck: GapRecheck, spans: Sequence[Span], fetched: Sequence[FetchedSpan], came_late: bool
) -> SaveResult:
    """Save the part of `fetched` that lies inside `spans` (what is between gaps is there already), and heal the gaps.

    One transaction: a gap is healed by candles that a source gave, never by rows that merely are there.
    """
    series = recheck.series
    parts = [one.within(part) for one in fetched for span in spans if (part := one.span.intersect(span)) is not None]
    lacking = [hole for part in parts for hole in part.batch.missing(series.interval, part.span)]
    come = subtract([part.span for part in parts], lacking)
    by = ", ".join(sorted({part.source.value for part in parts if part.batch.rows}))
    with recheck.database.transaction(f"save the healed candles of {series}") as tx:
        saved = save_healed(tx, recheck.series_id, series.table_name, parts, recheck.run_id, recheck.now_ms, came_late)
        if come:
            known = load_open_gaps(tx, recheck.series_id, Span(come[0].start_ms, come[-1].end_ms))
            touched = [gap for gap in known if any(gap.span.intersect(span) for span in come)]
            healed = apply_answers(touched, come, [], series, recheck.exchange_now_ms(), f"{by}, run {recheck.run_id}")
            save_gaps(tx, recheck.series_id, touched, healed)
    return saved


def _note_answers(recheck: GapRecheck, holes: Sequence[Hole]) -> None:
    """Add what was answered about holes to the gaps that are still there."""
    if not holes:
        return
    before = _reload(recheck, [hole.span for hole in holes])
    _save(recheck, before, apply_answers(before, [], holes, recheck.series, recheck.exchange_now_ms(), ""))


def _ask_archives(recheck: GapRecheck, gap: Gap) -> SaveResult:
    """Read the archive files of a gap's days that were not read yet: the second source that a judgement needs."""
    saved = SaveResult()
    now_ms = recheck.exchange_now_ms()
    only_archives = recheck.plan.rules.choice is SourceChoice.ARCHIVE
    if recheck.plan.rules.choice is SourceChoice.REST or (gap.last_rest_ms() is None and not only_archives):
        return saved
    # With nothing but archives, a file that is read again and still lacks it is the second answer.
    asked = gap.archives_asked(since_ms=now_ms - RECHECK_MS + 1 if only_archives else 0)
    holes: list[Hole] = []
    for period in _periods(recheck.series, gap, now_ms):
        part = finished_part(recheck.series, period).intersect(gap.span)
        if part is None or not subtract([part], asked):
            continue
        try:
            batch, checksum = recheck.exchange.archives.fetch(recheck.series, period)
        except ArchiveUnavailable as error:
            _log.debug("%s: no evidence about gap %s: %s", recheck.series, gap.span, error)
            continue
        source = Source.ARCHIVE_DAILY if period.cadence is Cadence.DAILY else Source.ARCHIVE_MONTHLY
        found = FetchedSpan(part, batch.within(part), source, checksum)
        saved += _save_inside(recheck, [gap.span], [found], came_late=not gap.was_committed)
        holes += [
            Hole(span, (Answer(source, span, now_ms, now_ms, checksum=checksum),))
            for span in batch.missing(recheck.series.interval, part)
        ]
    _note_answers(recheck, holes)
    return saved


def _periods(series: Series, gap: Gap, now_ms: int) -> list[Period]:
    """Return the archive files that hold the gap and can be out: days, or months where days are many or none."""
    last_open_ms = series.interval.add(gap.span.end_ms, -1)
    for period_of in (day_of, month_of):
        if period_of is day_of and not has_daily_files(series):
            continue
        periods = [period_of(gap.span.start_ms)]
        while periods[-1].span.end_ms <= last_open_ms and len(periods) <= _MAX_FILES:
            periods.append(period_of(periods[-1].span.end_ms))
        if len(periods) <= _MAX_FILES:
            return [one for one in periods if one.span.end_ms + _EARLIEST_OUT_MS[one.cadence] <= now_ms]
    return []
