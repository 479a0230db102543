"""Holds committed spans against what the exchange has now, digit for digit; repairs only when told to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.archive_names import (
    NO_ARCHIVES,
    ArchiveIndex,
    Period,
    day_of,
    file_stem,
    guess_index,
    has_daily_files,
    month_of,
)
from core.candles import CandleBatch, coalesce, content_hash, merge_batches, missing_spans
from core.compare import Difference, Kind, compare
from core.errors import ArchiveUnavailable, SeriesError
from core.fetched import FetchedSpan
from core.gaps import Answer, Gap, GapStatus, Hole, observe, reopened
from core.plan import PlanRules, Source, SourceChoice, make_plan
from core.ranges import Span, merge, subtract
from core.series import Series
from core.wanted import WantedSeries
from db.catalog import CatalogRow
from db.checks import count_doubles, find_row_edges, has_key
from db.connection import Database
from db.corrections import correct_candles, restore_key
from db.gaps import load_open_gaps, save_gaps
from db.ledger import LedgerEntry, Moment, delete_entry, hash_stored, insert_entry, moment_of, set_tried, set_verified
from db.stored_candles import load_candles
from logic.chunk_fetch import fetch_by_rest, fetch_chunk
from logic.exchange import Exchange
from logic.series_plan import SeriesPlan
from logic.symbol_life import VANISHED, SeriesLife

_log = logging.getLogger(__name__)

_SHOWN = 20


class Against(StrEnum):
    """What stored candles are held against."""

    AUTO = "auto"  # the archive that they came from; else the cheapest of daily archive and REST
    ARCHIVE = "archive"
    REST = "rest"


@dataclass(slots=True)
class SeriesVerification:
    """What the verification of one series found. Counts are candles unless said otherwise."""

    row: CatalogRow
    chunks: int = 0  # committed spans that were chosen
    verified: int = 0  # of these, equal to the exchange's in the end
    rows: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    missing: list[Span] = field(default_factory=list)  # where the exchange has candles that the table lacks
    extra: list[Span] = field(default_factory=list)  # where the table has candles that the exchange lacks
    shown: list[Difference] = field(default_factory=list)  # the first of the different ones
    repaired: int = 0
    replaced_archives: list[str] = field(default_factory=list)  # files published anew since they were imported
    unverifiable: list[tuple[Span, str]] = field(default_factory=list)
    error: str | None = None
    is_locked: bool = False
    is_fault: bool = False  # `error` is a fault of this program

    @property
    def series(self) -> Series:
        """The series."""
        return self.row.series

    @property
    def differing(self) -> int:
        """Candles that are not what the exchange has."""
        return sum(self.counts.values())

    @property
    def is_clean(self) -> bool:
        """Whether every chosen span is now what the exchange has."""
        return self.error is None and not self.is_locked and self.verified == self.chunks


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies the committed spans of one series."""

    database: Database
    exchange: Exchange
    result: SeriesVerification
    against: Against
    repair: bool
    run_id: str
    now_ms: int  # this machine's clock, for ledger and corrections

    @property
    def _series(self) -> Series:
        return self.result.row.series

    @property
    def _table(self) -> str:
        return self.result.row.series.table_name

    def verify(self, entries: Sequence[LedgerEntry]) -> None:
        """Verify `entries` and keep what is found in the result. Raises SeriesError and ExchangeUnavailable."""
        self.result.chunks += len(entries)
        for entry in entries:
            verified = self.result.verified
            self._verify_entry(entry)
            if self.result.verified == verified:
                with self.database.transaction(f"note the look at {self._series} {entry.span}") as cursor:
                    set_tried(cursor, entry.id, self.now_ms)
        if self.repair:
            self._restore_key()

    def verify_outside(self, spans: Sequence[Span]) -> None:
        """Count the rows in `spans`, which no run has fetched, as too many; with --repair take them out.

        Nothing says that they are the exchange's. A backfill of their range compares and keeps them.
        """
        for span in spans:
            with self.database.transaction(f"look for rows of {self._series} in {span}") as cursor:
                edges = find_row_edges(cursor, self._table, span)
            for part in _by_month(edges) if edges is not None else ():
                self._take_out(part)

    def _take_out(self, span: Span) -> None:
        row, nothing = self.result.row, CandleBatch.empty()
        with self.database.transaction(f"look at rows of {self._series} in {span}") as cursor:
            differences = compare(load_candles(cursor, self._table, span), nothing)
            if self.repair:
                times = [difference.time_ms for difference in differences]
                correct_candles(cursor, row.id, self._table, times, nothing, "never fetched", self.run_id, self.now_ms)
        self.result.chunks += 1
        self.result.rows += len(differences)
        self._count(differences)
        if self.repair:
            self.result.repaired += len(differences)
            self.result.verified += 1

    def _verify_entry(self, entry: LedgerEntry) -> None:
        with self.database.transaction(f"hash the candles of {self._series} {entry.span}") as cursor:
            seen = moment_of(cursor)
            stored_rows, stored_hash = hash_stored(cursor, self._table, entry.span)
        self.result.rows += stored_rows
        is_intact = (stored_rows, stored_hash) == (entry.rows, entry.content_hash)
        if is_intact and self._archive_is_the_same(entry) and self._absent_is_still_absent(entry):
            self._keep_verified(entry.span, "archive", seen)
            return
        right, holes = self._fetch(entry)
        if right is None:
            return
        batch = CandleBatch.concat([one.batch for one in right])
        if (batch.rows, content_hash(batch)) == (stored_rows, stored_hash):
            self._keep_equal(entry, right, holes, is_intact, seen)
            return
        with self.database.transaction(f"read the candles of {self._series} {entry.span}") as cursor:
            stored = load_candles(cursor, self._table, entry.span)
        differences = compare(stored, batch)
        if self.against is Against.AUTO and self._choice() is SourceChoice.AUTO:
            right, holes = self._ask_rest_about(entry, right, holes, differences)
            batch = CandleBatch.concat([one.batch for one in right])
            differences = compare(stored, batch)
        if not differences:
            self._keep_equal(entry, right, holes, is_intact, seen)
            return
        if not self._is_confirmed(right, differences):
            why = "REST gives other candles when asked again; run verify again later"
            self.result.unverifiable.append((entry.span, why))
            return
        self._count(differences)
        if self.repair:
            self._repair(entry, right, batch, holes, differences)
        else:
            self._reopen_gaps(entry, differences)

    def _archive_is_the_same(self, entry: LedgerEntry) -> bool:
        """Whether the archive that the span came from is still published with the checksum it had then."""
        if entry.source is Source.REST or self.against is Against.REST:
            return False
        period = _period_of(entry)
        try:
            published = self.exchange.archives.published_checksum(self._series, period)
        except ArchiveUnavailable as error:
            _log.info("%s: %s; its candles are fetched instead", self._series, error)
            return False
        if published == entry.archive_checksum:
            return True
        name = f"{file_stem(self._series, period)}.zip"
        _log.warning("%s: archive %s was published anew since it was imported; compared again", self._series, name)
        self.result.replaced_archives.append(name)
        return False

    def _choice(self) -> SourceChoice:
        if self.result.row.status == VANISHED or self.against is Against.ARCHIVE:
            return SourceChoice.ARCHIVE
        return SourceChoice.REST if self.against is Against.REST else SourceChoice.AUTO

    def _fetch(self, entry: LedgerEntry) -> tuple[list[FetchedSpan] | None, list[Hole]]:
        """Return what the exchange has now in the entry's span, and its holes; None when it cannot be had."""
        series, choice = self._series, self._choice()
        rules = PlanRules(choice, self.exchange.page_rows(series.market), chunk_days=1)
        now_ms = self.exchange.now_ms(series.market)
        published = NO_ARCHIVES
        if choice is not SourceChoice.REST:
            guess = guess_index(series, entry.span, now_ms)
            # REST and daily files stand above monthly ones: what came from them is not held against a month's file.
            by_month = entry.source is Source.ARCHIVE_MONTHLY
            if choice is SourceChoice.ARCHIVE and not has_daily_files(series):
                by_month = True  # there is nothing else
            months = guess.months if by_month else frozenset[int]()
            published = ArchiveIndex(months, guess.days)
        plan = make_plan(series, [entry.span], published, rules)
        row = self.result.row
        life = SeriesLife(row.listing_ms, row.delisting_ms, row.status)
        context = SeriesPlan(WantedSeries(series), life, None, plan.chunks, plan.unserved, published, rules)
        parts = [fetch_chunk(context, chunk, self.exchange) for chunk in plan.chunks]
        right = sorted((span for part in parts for span in part.spans), key=lambda one: one.span)
        if left := subtract([entry.span], [one.span for one in right]):
            self.result.unverifiable.append(
                (entry.span, f"no archive holds {left[0]}; verify --against rest asks REST")
            )
            return None, []
        return right, [hole for part in parts for hole in part.holes]

    def _ask_rest_about(
        self, entry: LedgerEntry, right: list[FetchedSpan], holes: list[Hole], differences: Sequence[Difference]
    ) -> tuple[list[FetchedSpan], list[Hole]]:
        """Return `right` with what REST says where an archive differs from the table: REST stands above archives."""
        interval = self._series.interval
        archived = [one.span for one in right if one.source is not Source.REST]
        slots = merge(_slot(difference.time_ms, self._series) for difference in differences)
        doubtful = [part for slot in slots for span in archived if (part := slot.intersect(span)) is not None]
        stretches = coalesce(merge(doubtful), interval, self.exchange.page_rows(self._series.market))
        batch = CandleBatch.concat([one.batch for one in right])
        final = [
            FetchedSpan(part, one.batch.within(part), one.source, one.archive_checksum)
            for one in right
            for part in subtract([one.span], stretches)
        ]
        for stretch in stretches:
            by_rest = fetch_by_rest(self._series, stretch, self.exchange)
            merged = merge_batches(by_rest.spans[0].batch, batch.within(stretch), interval)
            final.append(FetchedSpan(stretch, merged, Source.REST))
            holes = [*holes, *by_rest.holes]
        final.sort(key=lambda one: one.span)
        whole = CandleBatch.concat([one.batch for one in final])
        lacking = missing_spans(whole.open_times(), interval, entry.span)
        return final, [hole for hole in holes if any(hole.span.intersect(span) == hole.span for span in lacking)]

    def _is_confirmed(self, right: list[FetchedSpan], differences: Sequence[Difference]) -> bool:
        """Whether REST, asked again, gives the same candles: a wrong answer must not pass for a wrong table."""
        interval = self._series.interval
        by_rest = merge(one.span for one in right if one.source is Source.REST)
        slots = merge(_slot(difference.time_ms, self._series) for difference in differences)
        doubtful = merge(part for slot in slots for span in by_rest if (part := slot.intersect(span)) is not None)
        batch = CandleBatch.concat([one.batch for one in right])
        for stretch in coalesce(doubtful, interval, self.exchange.page_rows(self._series.market)):
            again = fetch_by_rest(self._series, stretch, self.exchange).spans[0].batch
            for slot in doubtful:
                second = again.within(slot)
                # Where REST has nothing, a candle that an archive has was kept.
                if slot.intersect(stretch) and second.rows and compare(second, batch.within(slot)):
                    return False
        return True

    def _keep_verified(self, span: Span, against: str, seen: Moment) -> None:
        with self.database.transaction(f"note the verification of {self._series} {span}") as cursor:
            set_verified(cursor, self.result.row.id, span, self.now_ms, against, seen)
        self.result.verified += 1

    def _keep_equal(
        self, entry: LedgerEntry, right: list[FetchedSpan], holes: list[Hole], is_intact: bool, seen: Moment
    ) -> None:
        """Note that the span is what the exchange has; where the ledger did not know so, make it say so."""
        now_published = {one.archive_checksum for one in right if one.source is entry.source}
        with self.database.transaction(f"note the verification of {self._series} {entry.span}") as cursor:
            if not is_intact or now_published - {entry.archive_checksum}:
                delete_entry(cursor, entry.id)
                for one in right:
                    insert_entry(cursor, self.result.row.id, one, self.run_id, self.now_ms, is_stored=True)
            set_verified(cursor, self.result.row.id, entry.span, self.now_ms, _label(right), seen)
            known = load_open_gaps(cursor, self.result.row.id, entry.span)
            now_ms = self.exchange.now_ms(self._series.market)
            # Only answers about what is known: a hole that is new would not have been equal.
            answered = [hole for hole in holes if any(gap.span.intersect(hole.span) for gap in known)]
            after = observe(known, [], answered, self._series, now_ms, f"verify {self.run_id}")
            save_gaps(cursor, self.result.row.id, known, after)
        self.result.verified += 1

    def _count(self, differences: Sequence[Difference]) -> None:
        result = self.result
        for difference in differences:
            result.counts[difference.kind] += 1
            if difference.kind is Kind.DIFFERENT and len(result.shown) < _SHOWN:
                result.shown.append(difference)
                _log.warning("%s: %s", self._series, difference)
        for kind, spans in ((Kind.MISSING, result.missing), (Kind.EXTRA, result.extra)):
            found = merge(
                _slot(difference.time_ms, self._series) for difference in differences if difference.kind is kind
            )
            spans += found
            for span in found[:_SHOWN]:
                _log.warning("%s: %s in %s", self._series, kind, span)

    def _repair(
        self,
        entry: LedgerEntry,
        right: list[FetchedSpan],
        batch: CandleBatch,
        holes: list[Hole],
        differences: Sequence[Difference],
    ) -> None:
        row, table = self.result.row, self._table
        with self.database.transaction(f"repair {self._series} {entry.span}") as cursor:
            for one in right:
                times = [d.time_ms for d in differences if one.span.start_ms <= d.time_ms < one.span.end_ms]
                if times:
                    wanted = one.batch.at(times)
                    correct_candles(cursor, row.id, table, times, wanted, one.source.value, self.run_id, self.now_ms)
            seen = moment_of(cursor)
            if hash_stored(cursor, table, entry.span) != (batch.rows, content_hash(batch)):
                raise SeriesError(
                    f"{self._series}: {entry.span} is not what the exchange has after its repair; nothing of it was "
                    "committed. Look for triggers and rules on the table"
                )
            delete_entry(cursor, entry.id)
            for one in right:
                insert_entry(cursor, row.id, one, self.run_id, self.now_ms, is_stored=True)
            set_verified(cursor, row.id, entry.span, self.now_ms, _label(right), seen)
            known = load_open_gaps(cursor, row.id, entry.span)
            now_ms = self.exchange.now_ms(self._series.market)
            lacking = missing_spans(batch.open_times(), self._series.interval, entry.span)
            all_holes = [*holes, *map(Hole, subtract(lacking, [hole.span for hole in holes]))]
            after = observe(known, [entry.span], all_holes, self._series, now_ms, f"repair {self.run_id}")
            save_gaps(cursor, row.id, known, after)
        self.result.repaired += len(differences)
        self.result.verified += 1

    def _reopen_gaps(self, entry: LedgerEntry, differences: Sequence[Difference]) -> None:
        """Call absent gaps missing again where the exchange has candles now: the next run fetches them."""
        come = [_slot(d.time_ms, self._series) for d in differences if d.kind is Kind.MISSING]
        if not come:
            return
        now_ms = self.exchange.now_ms(self._series.market)

        def judged(gap: Gap) -> Gap:
            is_wrong = gap.status is GapStatus.ABSENT and any(gap.span.intersect(slot) for slot in come)
            return reopened(gap, now_ms, f"verify {self.run_id} got candles there") if is_wrong else gap

        with self.database.transaction(f"keep the gaps of {self._series}") as cursor:
            known = load_open_gaps(cursor, self.result.row.id, entry.span)
            save_gaps(cursor, self.result.row.id, known, [judged(gap) for gap in known])

    def _absent_is_still_absent(self, entry: LedgerEntry) -> bool:
        """Ask REST about absent gaps that only `verify` still looks at; an archive's checksum says nothing of them."""
        if self._choice() is not SourceChoice.AUTO:
            return True
        with self.database.transaction(f"read the gaps of {self._series}") as cursor:
            known = load_open_gaps(cursor, self.result.row.id, entry.span)
        now_ms = self.exchange.now_ms(self._series.market)
        for gap in known:
            if gap.status is not GapStatus.ABSENT or (gap.next_look_ms is not None and not gap.is_due(now_ms)):
                continue
            if fetch_by_rest(self._series, gap.span, self.exchange).spans[0].batch.rows:
                return False
            answer = Hole(gap.span, (Answer(Source.REST, gap.span, now_ms, now_ms),))
            after = observe([gap], [], [answer], self._series, now_ms, f"verify {self.run_id}")
            with self.database.transaction(f"keep the gaps of {self._series}") as cursor:
                save_gaps(cursor, self.result.row.id, [gap], after)
        return True

    def _restore_key(self) -> None:
        with self.database.transaction(f"restore the key of {self._table}") as cursor:
            if not has_key(cursor, self._table) and count_doubles(cursor, self._table) == 0:
                restore_key(cursor, self._table)
                _log.warning("%s: table public.%s got its primary key back", self._series, self._table)


def _by_month(span: Span) -> Iterator[Span]:
    cursor_ms = span.start_ms
    while cursor_ms < span.end_ms:
        end_ms = min(month_of(cursor_ms).span.end_ms, span.end_ms)
        yield Span(cursor_ms, end_ms)
        cursor_ms = end_ms


def _period_of(entry: LedgerEntry) -> Period:
    return (month_of if entry.source is Source.ARCHIVE_MONTHLY else day_of)(entry.span.start_ms)


def _slot(time_ms: int, series: Series) -> Span:
    open_ms = series.interval.floor(time_ms)
    return Span(open_ms, series.interval.add(open_ms, 1))


def _label(right: Sequence[FetchedSpan]) -> str:
    return "rest" if any(one.source is Source.REST for one in right) else "archive"
