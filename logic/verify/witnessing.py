"""Holds the values of ledger spans against longer candles of another source, and repairs what two others contradict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.candles import CandleBatch, content_hash
from core.expected import earlier_listing
from core.fetched import FetchedSpan
from core.longer import make_longer
from core.ranges import Span, merge, subtract
from core.sources import AllowedSources
from core.witness import bucket_interval
from db.ledger import LedgerEntry
from db.stored_candles import load_candles
from db.witness import set_witness_attempted
from logic.fetching.reference import Reference
from logic.series_session import SeriesSession
from logic.verify.keeping import repair
from logic.verify.verification import SeriesVerification
from logic.witness.comparing import Witnessing
from logic.witness.longer_candles import OriginSpan
from logic.witness.second_opinion import Contradiction, Findings

_log = logging.getLogger(__name__)

_MOST_ROWS = 100_000  # read at once to be made into longer candles; about 18 MB


@dataclass(frozen=True, slots=True)
class WitnessVerifier:
    """Holds ledger spans of one series against their witnesses."""

    session: SeriesSession
    result: SeriesVerification
    allowed: AllowedSources
    may_repair: bool

    def verify(self, chosen: Sequence[LedgerEntry], known: Sequence[LedgerEntry]) -> int:
        """Look for witnesses of `chosen`, among the entries `known` of the series; return how many are contradicted.

        Also counted are those about which the sources do not agree. What cannot be witnessed yet is no fault. Raises
        SeriesError and ExchangeUnavailable.
        """
        bucket, listing = bucket_interval(self.session.series.interval), self.result.row.listing
        of_listing = [one for one in known if not self._is_of_earlier_listing(one)]
        if len(of_listing) < len(known):  # a bucket at the listing may hold candles of the contract before it
            listing = replace(listing, first_ms=None)
        mine = [one for one in chosen if not self._is_of_earlier_listing(one)]
        reach = merge(Span(bucket.floor(one.span.start_ms), bucket.ceil(one.span.end_ms)) for one in mine)
        origins = [
            OriginSpan(inside, one.source)
            for one in of_listing
            for span in reach
            if (inside := one.span.intersect(span))
        ]
        witnessing = Witnessing(self.session, self.allowed, origins)
        findings = Findings()
        for part in witnessing.parts(listing):
            longer = witnessing.fetch(part)
            if longer is not None:
                findings.add(witnessing.compare(self._made(part.span), [(part, longer)]))
        self.result.count([one.difference for one in findings.contradicted])
        if self.may_repair and findings.contradicted:
            findings = self._repaired(findings, known)
        witnessing.keep(findings)
        with self.session.database.transaction(f"record what has no witness of {self.session.series}") as tx:
            set_witness_attempted(tx, [one.id for one in chosen], self.session.now_ms)
        self.result.unverifiable += [(span, "the sources do not agree about it") for span in merge(findings.undecided)]
        return sum(_is_doubtful(one, findings) for one in chosen)

    def _is_of_earlier_listing(self, entry: LedgerEntry) -> bool:
        """Whether the entry holds candles of an earlier contract: the sources have another asset there now."""
        return bool(earlier_listing(self.session.series.interval, self.result.row.listing, [entry.span]))

    def _made(self, span: Span) -> CandleBatch:
        """Return the candles of a bucket that the stored candles of `span`, whole buckets, make."""
        interval, bucket = self.session.series.interval, bucket_interval(self.session.series.interval)
        slots = max(1, int(_MOST_ROWS * interval.typical_ms / bucket.typical_ms))
        made, start_ms = [], span.start_ms
        while start_ms < span.end_ms:
            slice_ = Span(start_ms, min(bucket.add(start_ms, slots), span.end_ms))
            with self.session.database.transaction(f"read the candles of {self.session.series} {slice_}") as tx:
                made.append(make_longer(load_candles(tx, self.session.table, slice_), bucket))
            start_ms = slice_.end_ms
        return CandleBatch.concat(made)

    def _repaired(self, findings: Findings, known: Sequence[LedgerEntry]) -> Findings:
        """Write the believed candles into each entry that is otherwise as committed; return what is left."""
        left = Findings(findings.witnessed, [], findings.undecided)
        for entry in known:
            wrong = [one for one in findings.contradicted if _holds(entry.span, one)]
            if not wrong:
                continue
            with self.session.database.transaction(f"read the candles of {self.session.series} {entry.span}") as tx:
                stored = load_candles(tx, self.session.table, entry.span)
            if (stored.rows, content_hash(stored)) != (entry.rows, entry.content_hash):
                why = "it is not as committed; verify --repair against the exchange first"
                self.result.unverifiable.append((entry.span, why))
                left.contradicted += wrong
                continue
            repair(self.session, entry, self._believed(entry, stored, wrong), [one.difference for one in wrong])
            self.result.repaired += len(wrong)
            bucket = bucket_interval(self.session.series.interval)
            left.witnessed += [(bucket.slot_of(one.difference.time_ms), one.voice.source) for one in wrong]
        return left

    def _believed(self, entry: LedgerEntry, stored: CandleBatch, wrong: Sequence[Contradiction]) -> Reference:
        """Return the candles of the entry with the contradicted ones as the believed voices have them."""
        interval = self.session.series.interval
        slots = {interval.slot_of(one.difference.time_ms): one.voice for one in wrong}
        spans = [
            FetchedSpan(part, stored.within(part), entry.source, entry.archive_checksum)
            for part in subtract([entry.span], slots)
        ]
        for slot, voice in slots.items():
            spans.append(FetchedSpan(slot, voice.batch.within(slot), voice.source, voice.checksum))
        return Reference.of(spans, ())


def _holds(span: Span, one: Contradiction) -> bool:
    return span.start_ms <= one.difference.time_ms < span.end_ms


def _is_doubtful(entry: LedgerEntry, findings: Findings) -> bool:
    """Whether something contradicts the entry, or the sources do not agree about it."""
    return any(_holds(entry.span, one) for one in findings.contradicted) or any(
        entry.span.intersect(span) for span in findings.undecided
    )
