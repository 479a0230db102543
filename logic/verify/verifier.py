"""Holds committed spans against what the exchange has now, digit for digit; repairs only when told to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.binance.archives import (
    Period,
    day_of,
    file_stem,
    month_of,
)
from core.candles import CandleBatch, content_hash
from core.compare import Difference, Kind, compare
from core.errors import ArchiveUnavailable, SeriesError
from core.fetched import SpanRecord
from core.gaps import Answer, Gap, GapStatus, Hole, apply_answers, reopened
from core.plan import Source, SourceChoice
from core.ranges import Span, merge, subtract
from core.series import Series
from db.catalog import CatalogRow
from db.checks import count_doubles, find_row_edges
from db.connection import Database
from db.corrections import correct_candles, restore_key
from db.gaps import load_open_gaps, save_gaps
from db.ledger import (
    LedgerEntry,
    ServerSnapshot,
    delete_entry,
    hash_stored,
    insert_entry,
    set_attempted,
    set_verified,
    snapshot_of,
)
from db.schema import has_key
from db.stored_candles import load_candles
from fetcher.binance.exchange import Exchange
from logic.fetching.chunk_fetch import fetch_by_rest
from logic.fetching.reference import ExchangeCandles, Reference, slot_of
from logic.planning.listing import UNLISTED

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
                with self.database.transaction(f"note the look at {self._series} {entry.span}") as tx:
                    set_attempted(tx, entry.id, self.now_ms)
        if self.repair:
            self._restore_key()

    def verify_outside(self, spans: Sequence[Span]) -> None:
        """Count the rows in `spans`, which no run has fetched, as too many; with --repair take them out.

        Nothing says that they are the exchange's. A backfill of their range compares and keeps them.
        """
        for span in spans:
            with self.database.transaction(f"look for rows of {self._series} in {span}") as tx:
                edges = find_row_edges(tx, self._table, span)
            for part in _by_month(edges) if edges is not None else ():
                self._take_out(part)

    def _take_out(self, span: Span) -> None:
        row, nothing = self.result.row, CandleBatch.empty()
        with self.database.transaction(f"look at rows of {self._series} in {span}") as tx:
            differences = compare(load_candles(tx, self._table, span), nothing)
            if self.repair:
                times = [difference.time_ms for difference in differences]
                correct_candles(tx, row.id, self._table, times, nothing, "never fetched", self.run_id, self.now_ms)
        self.result.chunks += 1
        self.result.rows += len(differences)
        self._count(differences)
        if self.repair:
            self.result.repaired += len(differences)
            self.result.verified += 1

    def _verify_entry(self, entry: LedgerEntry) -> None:
        with self.database.transaction(f"hash the candles of {self._series} {entry.span}") as tx:
            seen = snapshot_of(tx)
            stored_rows, stored_hash = hash_stored(tx, self._table, entry.span)
        self.result.rows += stored_rows
        is_intact = (stored_rows, stored_hash) == (entry.rows, entry.content_hash)
        if is_intact and self._archive_is_the_same(entry) and self._absent_is_still_absent(entry):
            self._keep_verified(entry.span, "archive", seen)
            return
        theirs = self._theirs()
        right = theirs.fetch(entry)
        if right is None:
            why = f"not all of it is in an archive that stands; verify --against {Against.REST} asks REST"
            self.result.unverifiable.append((entry.span, why))
            return
        if (right.batch.rows, content_hash(right.batch)) == (stored_rows, stored_hash):
            self._keep_equal(entry, right, is_intact, seen)
            return
        with self.database.transaction(f"read the candles of {self._series} {entry.span}") as tx:
            stored = load_candles(tx, self._table, entry.span)
        right = theirs.with_word_of_rest(entry.span, right, compare(stored, right.batch))
        differences = compare(stored, right.batch)
        if not differences:
            self._keep_equal(entry, right, is_intact, seen)
        elif not theirs.are_confirmed(right, differences):
            why = "REST gives other candles when asked again; run verify again later"
            self.result.unverifiable.append((entry.span, why))
        elif self.repair:
            self._count(differences)
            self._repair(entry, right, differences)
        else:
            self._count(differences)
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

    def _theirs(self) -> ExchangeCandles:
        choice = SourceChoice(self.against.value)
        return ExchangeCandles(
            self.exchange, self.result.row, SourceChoice.ARCHIVE if self.result.row.status == UNLISTED else choice
        )

    def _keep_verified(self, span: Span, against: str, seen: ServerSnapshot) -> None:
        with self.database.transaction(f"note the verification of {self._series} {span}") as tx:
            set_verified(tx, self.result.row.id, span, self.now_ms, against, seen)
        self.result.verified += 1

    def _keep_equal(self, entry: LedgerEntry, right: Reference, is_intact: bool, seen: ServerSnapshot) -> None:
        """Note that the span is what the exchange has; where the ledger did not know so, make it say so."""
        now_published = {one.archive_checksum for one in right.spans if one.source is entry.source}
        with self.database.transaction(f"note the verification of {self._series} {entry.span}") as tx:
            if not is_intact or now_published - {entry.archive_checksum}:
                delete_entry(tx, entry.id)
                for one in right.spans:
                    insert_entry(tx, self.result.row.id, SpanRecord.of(one), self.run_id, self.now_ms, is_stored=True)
            set_verified(tx, self.result.row.id, entry.span, self.now_ms, right.label, seen)
            known = load_open_gaps(tx, self.result.row.id, entry.span)
            now_ms = self.exchange.now_ms(self._series.market)
            # Only answers about what is known: a hole that is new would not have been equal.
            answered = [hole for hole in right.holes if any(gap.span.intersect(hole.span) for gap in known)]
            after = apply_answers(known, [], answered, self._series, now_ms, f"verify {self.run_id}")
            save_gaps(tx, self.result.row.id, known, after)
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
                slot_of(difference.time_ms, self._series) for difference in differences if difference.kind is kind
            )
            spans += found
            for span in found[:_SHOWN]:
                _log.warning("%s: %s in %s", self._series, kind, span)

    def _repair(self, entry: LedgerEntry, right: Reference, differences: Sequence[Difference]) -> None:
        row, table = self.result.row, self._table
        with self.database.transaction(f"repair {self._series} {entry.span}") as tx:
            for one in right.spans:
                times = [d.time_ms for d in differences if one.span.start_ms <= d.time_ms < one.span.end_ms]
                if times:
                    wanted = one.batch.at(times)
                    correct_candles(tx, row.id, table, times, wanted, one.source.value, self.run_id, self.now_ms)
            seen = snapshot_of(tx)
            if hash_stored(tx, table, entry.span) != (right.batch.rows, content_hash(right.batch)):
                raise SeriesError(
                    f"{self._series}: {entry.span} is not what the exchange has after its repair; nothing of it was "
                    "committed. Look for triggers and rules on the table"
                )
            delete_entry(tx, entry.id)
            for one in right.spans:
                insert_entry(tx, row.id, SpanRecord.of(one), self.run_id, self.now_ms, is_stored=True)
            set_verified(tx, row.id, entry.span, self.now_ms, right.label, seen)
            known = load_open_gaps(tx, row.id, entry.span)
            now_ms = self.exchange.now_ms(self._series.market)
            lacking = right.batch.missing(self._series.interval, entry.span)
            all_holes = [*right.holes, *map(Hole, subtract(lacking, [hole.span for hole in right.holes]))]
            after = apply_answers(known, [entry.span], all_holes, self._series, now_ms, f"repair {self.run_id}")
            save_gaps(tx, row.id, known, after)
        self.result.repaired += len(differences)
        self.result.verified += 1

    def _reopen_gaps(self, entry: LedgerEntry, differences: Sequence[Difference]) -> None:
        """Call absent gaps missing again where the exchange has candles now: the next run fetches them."""
        come = [slot_of(d.time_ms, self._series) for d in differences if d.kind is Kind.MISSING]
        if not come:
            return
        now_ms = self.exchange.now_ms(self._series.market)

        def judged(gap: Gap) -> Gap:
            is_wrong = gap.status is GapStatus.NOT_AT_EXCHANGE and any(gap.span.intersect(slot) for slot in come)
            return reopened(gap, now_ms, f"verify {self.run_id} got candles there") if is_wrong else gap

        with self.database.transaction(f"keep the gaps of {self._series}") as tx:
            known = load_open_gaps(tx, self.result.row.id, entry.span)
            save_gaps(tx, self.result.row.id, known, [judged(gap) for gap in known])

    def _absent_is_still_absent(self, entry: LedgerEntry) -> bool:
        """Ask REST about absent gaps that only `verify` still looks at; an archive's checksum says nothing of them."""
        if self._theirs().choice is not SourceChoice.AUTO:
            return True
        with self.database.transaction(f"read the gaps of {self._series}") as tx:
            known = load_open_gaps(tx, self.result.row.id, entry.span)
        now_ms = self.exchange.now_ms(self._series.market)
        for gap in known:
            if gap.status is not GapStatus.NOT_AT_EXCHANGE or (
                gap.next_recheck_ms is not None and not gap.is_due(now_ms)
            ):
                continue
            if fetch_by_rest(self._series, gap.span, self.exchange).spans[0].batch.rows:
                return False
            answer = Hole(gap.span, (Answer(Source.REST, gap.span, now_ms, now_ms),))
            after = apply_answers([gap], [], [answer], self._series, now_ms, f"verify {self.run_id}")
            with self.database.transaction(f"keep the gaps of {self._series}") as tx:
                save_gaps(tx, self.result.row.id, [gap], after)
        return True

    def _restore_key(self) -> None:
        with self.database.transaction(f"restore the key of {self._table}") as tx:
            if not has_key(tx, self._table) and count_doubles(tx, self._table) == 0:
                restore_key(tx, self._table)
                _log.warning("%s: table public.%s got its primary key back", self._series, self._table)


def _by_month(span: Span) -> Iterator[Span]:
    cursor_ms = span.start_ms
    while cursor_ms < span.end_ms:
        end_ms = min(month_of(cursor_ms).span.end_ms, span.end_ms)
        yield Span(cursor_ms, end_ms)
        cursor_ms = end_ms


def _period_of(entry: LedgerEntry) -> Period:
    return (month_of if entry.source is Source.ARCHIVE_MONTHLY else day_of)(entry.span.start_ms)
