"""Compares ledger spans with what the exchange has now, digit for digit; repairs only with `--repair`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from core.archives import month_of, period_of
from core.candles import CandleBatch, content_hash
from core.compare import Difference, compare
from core.errors import ArchiveUnavailable
from core.expected import earlier_listing
from core.gaps import Answer, GapStatus, Hole, apply_answers
from core.ranges import Span, merge
from core.series import Series
from core.sources import AllowedSources, Source
from core.withdrawn import credible_empty_answers, empty_twice, kept_answers, proven_empty, unproven_slots
from db.checks import find_row_edges
from db.gaps import load_empty_answers, load_open_gaps, save_empty_answers, save_gaps
from db.ledger import LedgerEntry, ServerSnapshot, hash_stored, snapshot_of
from db.stored_candles import load_candles
from logic.fetching.chunk_fetch import fetch_by_rest
from logic.fetching.reference import ExchangeReference, Reference
from logic.planning.absent_files import absent_spans, files_of
from logic.series_session import SeriesSession
from logic.verify.keeping import (
    keep_attempted,
    keep_equal,
    keep_verified,
    reopen_gaps,
    repair,
    restore_lost_key,
    take_out,
)
from logic.verify.verification import SeriesVerification, VerifyObserver

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies ledger spans of one series."""

    session: SeriesSession
    result: SeriesVerification
    against: AllowedSources
    may_repair: bool
    observer: VerifyObserver = field(default_factory=VerifyObserver)

    def verify(self, entries: Sequence[LedgerEntry]) -> None:
        """Verify `entries` and add the findings to `result`. Raises SeriesError and ExchangeUnavailable."""
        self.result.spans += len(entries)
        for entry in entries:
            if self._verify_entry(entry):
                self.result.verified += 1
            else:
                keep_attempted(self.session, entry)
            self.observer.verified(self.session.series)
        if self.may_repair:
            restore_lost_key(self.session)

    def verify_outside(self, spans: Sequence[Span]) -> None:
        """Count the rows in `spans`, which no run has fetched, as extra; with `--repair` delete them.

        Nothing shows that they came from the exchange. A backfill of their range would compare and keep them.
        """
        for span in spans:
            with self.session.database.transaction(f"look for rows of {self.session.series} in {span}") as tx:
                edges = find_row_edges(tx, self.session.table, span)
            for part in _by_month(edges) if edges is not None else ():
                self._judge_unrecorded(part)

    def _judge_unrecorded(self, span: Span) -> None:
        with self.session.database.transaction(f"read rows of {self.session.series} in {span}") as tx:
            differences = compare(load_candles(tx, self.session.table, span), CandleBatch.empty())
            if self.may_repair:
                take_out(self.session, differences, tx)
        self.result.spans += 1
        self.result.rows += len(differences)
        self.result.count(differences)
        if self.may_repair:
            self.result.repaired += len(differences)
            self.result.verified += 1

    def _verify_entry(self, entry: LedgerEntry) -> bool:
        """Return whether the stored candles of the entry equal the reference, if need be after a repair."""
        session = self.session
        with session.database.transaction(f"hash the candles of {session.series} {entry.span}") as tx:
            seen = snapshot_of(tx)
            stored = hash_stored(tx, session.table, entry.span)
        self.result.rows += stored[0]
        is_intact = stored == (entry.rows, entry.content_hash)
        if earlier_listing(session.series.interval, self.result.row.listing, [entry.span]):
            return self._judge_earlier(entry, is_intact, seen)
        if is_intact and self._is_still_absent(entry):
            keep_verified(session, entry.span, "archive", seen)
            return True
        if is_intact and self._archive_is_the_same(entry) and self._gaps_are_confirmed(entry):
            keep_verified(session, entry.span, "archive", seen)
            return True
        reference = self._reference().fetch(entry.span, entry.source)
        if reference is None:
            why = f"no reliable archive has all of it; use verify --against {AllowedSources.REST}"
            self.result.unverifiable.append((entry.span, why))
            return False
        if (reference.batch.rows, content_hash(reference.batch)) == stored:
            keep_equal(session, entry, reference, is_intact, seen)
            return True
        return self._judge(entry, reference, is_intact, seen)

    def _judge_earlier(self, entry: LedgerEntry, is_intact: bool, seen: ServerSnapshot) -> bool:
        """Judge a span of an earlier contract under the same ticker; REST has another asset there now, or nothing.

        Its archive can still be under the ticker, or under the name that the old contract was given since. Without one
        its hash alone tells that it is as it was committed: it is left out, and said to be.
        """
        if not is_intact:
            why = "altered, and of an earlier listing under the same ticker: the exchange no longer has its candles"
            self.result.unverifiable.append((entry.span, why))
            return False
        if self.against.archives and self._is_in_earlier_archive(entry):
            keep_verified(self.session, entry.span, "archive", seen)
            return True
        self.result.spans -= 1
        self.result.of_earlier_listing += 1
        return False

    def _is_in_earlier_archive(self, entry: LedgerEntry) -> bool:
        """Whether the file that an earlier contract's span came from is there and says the same.

        Under its new name (...SETTLED) it is another zip with another checksum, so its candles are compared.
        """
        archives, series = self.session.exchange.archives, self.session.series
        period = period_of(entry.source, entry.span.start_ms)
        if period is None:
            return False
        try:
            if archives.published_checksum(series, period) == entry.archive_checksum:
                return True
        except ArchiveUnavailable as error:
            _log.debug("%s: %s", series, error)
        try:
            names = archives.list_earlier_contracts(series)
        except ArchiveUnavailable as error:
            _log.info("%s: not known under which name its earlier contract is kept: %s", series, error)
            return False
        for name in names:
            try:
                batch, _ = archives.fetch(Series(replace(series.instrument, symbol=name), series.interval), period)
            except ArchiveUnavailable as error:
                _log.debug("%s: %s", series, error)
                continue
            found = batch.within(entry.span)
            if (found.rows, content_hash(found)) == (entry.rows, entry.content_hash):
                return True
        return False

    def _judge(self, entry: LedgerEntry, reference: Reference, is_intact: bool, seen: ServerSnapshot) -> bool:
        """Compare candle by candle a span whose hash differs; return whether it equals the reference in the end."""
        session, asked = self.session, self._reference()
        with session.database.transaction(f"read the candles of {session.series} {entry.span}") as tx:
            stored = load_candles(tx, session.table, entry.span)
        reference = asked.confirmed_by_rest(entry.span, reference, compare(stored, reference.batch))
        differences = compare(stored, reference.batch)
        if not differences:
            keep_equal(session, entry, reference, is_intact, seen)
            return True
        if not asked.are_confirmed(reference, differences):
            why = "REST gives other candles when asked again; run verify again later"
            self.result.unverifiable.append((entry.span, why))
            return False
        if unproven := self._unproven(entry, reference, differences):
            why = (
                f"REST has no candle in {unproven[0]}, and no verified archive says so too; what is stored stays. "
                f"Run verify again {'' if entry.archive_checksum else 'half an hour later, or '}when the archive is out"
            )
            self.result.unverifiable.append((entry.span, why))
            return False
        self.result.count(differences)
        if not self.may_repair:
            reopen_gaps(session, entry, differences)
            return False
        repair(session, entry, reference, differences)
        self.result.repaired += len(differences)
        return True

    def _unproven(self, entry: LedgerEntry, reference: Reference, differences: Sequence[Difference]) -> list[Span]:
        """Return the slots with a stored candle that the exchange lacks now, without proof that it has none.

        What REST answers now is kept: the same answer half an hour later, or in any verification after that, decides.
        Not of what came from a verified archive: a candle that an archive has and REST lacks is the exchange's too.
        """
        session = self.session
        empty = [] if entry.archive_checksum else credible_empty_answers(reference.holes, reference.by_rest)
        with session.database.transaction(f"read the gaps of {session.series}") as tx:
            gaps = load_open_gaps(tx, session.series_id, entry.span)
            earlier = load_empty_answers(tx, entry.id)
            save_empty_answers(tx, entry.id, kept_answers(empty, earlier))
        proven = proven_empty(reference.holes, gaps, session.exchange_now_ms())
        proven += empty_twice(empty, earlier)
        return unproven_slots(session.series.interval, differences, reference.batch, merge(proven))

    def _is_still_absent(self, entry: LedgerEntry) -> bool:
        """Whether it is a span without candles that no archive has a file of, still so, and REST cannot be asked."""
        if not entry.source.is_archive or entry.archive_checksum is not None or self._reference().allowed.rest:
            return False
        session = self.session
        reach = Span(entry.span.start_ms, session.exchange_now_ms())
        try:
            listed = session.exchange.archives.list_published(session.series, reach)
        except ArchiveUnavailable as error:
            _log.info("%s: %s", session.series, error)
            return False
        _, without = files_of(session.rules, entry.span, listed)
        return absent_spans(session.rules, merge(without), listed) == [entry.span]

    def _archive_is_the_same(self, entry: LedgerEntry) -> bool:
        """Whether the archive file that the span came from is still published with the same checksum."""
        series, period = self.session.series, period_of(entry.source, entry.span.start_ms)
        if period is None or not self.against.archives:
            return False
        try:
            published = self.session.exchange.archives.published_checksum(series, period)
        except ArchiveUnavailable as error:
            _log.info("%s: %s; its candles are fetched instead", series, error)
            return False
        if published == entry.archive_checksum:
            return True
        name = f"{series} {period.text}"
        _log.warning("%s: archive %s was published anew since it was imported; compared again", series, name)
        self.result.replaced_archives.append(name)
        return False

    def _reference(self) -> ExchangeReference:
        allowed = AllowedSources.ARCHIVE if self.result.row.listing.is_unlisted else self.against
        return ExchangeReference(self.session.exchange, self.session.series, allowed)

    def _gaps_are_confirmed(self, entry: LedgerEntry) -> bool:
        """Recheck by REST the gaps that no schedule rechecks; return whether they are still not at the exchange.

        An equal checksum of the archive does not tell whether REST has their candles by now.
        """
        session = self.session
        if not self._reference().allowed.rest:
            return True
        with session.database.transaction(f"read the gaps of {session.series}") as tx:
            known = load_open_gaps(tx, session.series_id, entry.span)
        now_ms = session.exchange_now_ms()
        for gap in known:
            is_left_to_verify = gap.next_recheck_ms is None or gap.is_due(now_ms)
            if gap.status is not GapStatus.NOT_AT_EXCHANGE or not is_left_to_verify:
                continue
            if fetch_by_rest(session.series, gap.span, session.exchange).spans[0].batch.rows:
                return False
            answer = Hole(gap.span, (Answer(Source.REST, gap.span, now_ms, now_ms),))
            after = apply_answers([gap], [], [answer], session.rules, now_ms, f"verify {session.run_id}")
            with session.database.transaction(f"keep the gaps of {session.series}") as tx:
                save_gaps(tx, session.series_id, [gap], after)
        return True


def _by_month(span: Span) -> Iterator[Span]:
    start_ms = span.start_ms
    while start_ms < span.end_ms:
        end_ms = min(month_of(start_ms).span.end_ms, span.end_ms)
        yield Span(start_ms, end_ms)
        start_ms = end_ms
