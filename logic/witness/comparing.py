"""Compares the stored candles of a series with its longer candles, and records what they witness."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.candles import CandleBatch
from core.listing import ListingPeriod
from core.longer import make_longer
from core.ranges import merge, subtract
from core.sources import AllowedSources, Source
from core.witness import bucket_interval, can_witness, differing_buckets, witness_interval
from db.witness import set_contradicted, set_witnessed
from logic.series_session import SeriesSession
from logic.witness.longer_candles import LongerCandles, OriginSpan, WitnessPart
from logic.witness.second_opinion import Findings, SecondOpinion

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Witnessing:
    """Compares stored spans of one series, of which `origins` says where they came from, with longer candles."""

    session: SeriesSession
    allowed: AllowedSources
    origins: Sequence[OriginSpan]
    most_candles: int | None = None  # so many are compared one by one where longer candles differ; None: all

    def parts(self, listing: ListingPeriod) -> list[WitnessPart]:
        """Return the longer candles to fetch."""
        return LongerCandles(self.session.exchange, self.session.series, self.allowed).parts(self.origins, listing)

    def fetch(self, part: WitnessPart) -> CandleBatch | None:
        """Return the longer candles of `part`, or None. Raises SeriesError and ExchangeUnavailable."""
        return LongerCandles(self.session.exchange, self.session.series, self.allowed).fetch(part)

    def compare(self, made: CandleBatch, heard: Iterable[tuple[WitnessPart, CandleBatch]]) -> Findings:
        """Return what `heard` witnesses of the stored candles, of which `made` is what they make for each bucket.

        Where the two differ, other sources are asked. Raises SeriesError and ExchangeUnavailable.
        """
        bucket, findings = bucket_interval(self.session.series.interval), Findings()
        opinion = SecondOpinion(self.session, self.allowed, self.origins, self.most_candles)
        for part, fetched in heard:
            longer = self._in_buckets(fetched)
            mine = made.within(part.span)
            if not longer.rows and mine.rows:
                _log.info("%s: no longer candles of %s to compare with", self.session.series, part.span)
                continue
            differing = differing_buckets(mine, longer, bucket)
            equal = subtract([part.span], differing)
            findings.witnessed += [(span, part.source) for span in equal]
            if differing:
                findings.add(opinion.decide(differing, longer))
        return findings

    def _in_buckets(self, longer: CandleBatch) -> CandleBatch:
        interval = self.session.series.interval
        bucket = bucket_interval(interval)
        return longer if witness_interval(interval) is bucket else make_longer(longer, bucket)

    def keep(self, findings: Findings) -> None:
        """Record in the ledger what is witnessed by another source, and what is contradicted."""
        session = self.session
        with session.database.transaction(f"record what is witnessed of {session.series}") as tx:
            for witness, name in ((Source.REST, "rest"), (Source.ARCHIVE_MONTHLY, "archive")):
                of = [source for source in Source if can_witness(witness, source, self.allowed)]
                spans = merge(span for span, by in findings.witnessed if by.is_archive is witness.is_archive)
                set_witnessed(tx, session.series_id, spans, of, name, session.now_ms)
            set_contradicted(tx, session.series_id, [one.difference.time_ms for one in findings.contradicted])
