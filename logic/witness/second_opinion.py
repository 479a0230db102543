"""Compares candle by candle where longer candles differ: with REST, the daily and the monthly archive."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import assert_never

from core.archives import Period, day_of, month_of
from core.candles import CandleBatch, coalesce
from core.compare import Difference
from core.errors import ArchiveUnavailable
from core.ranges import Span, merge
from core.sources import AllowedSources, Source
from core.times import format_ms
from core.witness import Judgement, bucket_interval, judge
from db.stored_candles import load_candles
from logic.fetching.chunk_fetch import fetch_by_rest
from logic.series_session import SeriesSession
from logic.witness.longer_candles import OriginSpan

_log = logging.getLogger(__name__)

_MOST_TOLD = 20  # findings that are logged one by one; the report counts all


@dataclass(frozen=True, slots=True)
class Voice:
    """The candles of a stretch as another source has them."""

    source: Source
    batch: CandleBatch
    checksum: str | None = None  # sha256 of the archive file


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A stored candle that two other sources contradict, and the voice that is to be believed."""

    difference: Difference
    voice: Voice


@dataclass(slots=True)
class Findings:
    """What came out of a comparison with witnesses. Spans are whole buckets; times are epoch ms."""

    witnessed: list[tuple[Span, Source]] = field(default_factory=list)  # and by which source
    contradicted: list[Contradiction] = field(default_factory=list)
    undecided: list[Span] = field(default_factory=list)  # no two sources agree, or there were too many

    def add(self, more: Findings) -> None:
        """Add the findings of another stretch."""
        self.witnessed += more.witnessed
        self.contradicted += more.contradicted
        self.undecided += more.undecided


@dataclass(slots=True)
class SecondOpinion:
    """Asks other sources for the candles of buckets that differ from their witness."""

    session: SeriesSession
    allowed: AllowedSources
    origins: Sequence[OriginSpan]
    most_candles: int | None = None  # so many are compared: differences all over are no matter of votes
    _told: int = 0
    _file: tuple[Period, tuple[CandleBatch, str] | None] | None = None  # the last one read; stretches come in order

    def decide(self, buckets: Sequence[Span], longer: CandleBatch) -> Findings:
        """Return the findings of `buckets`, ascending, which differ from `longer`.

        Raises SeriesError and ExchangeUnavailable.
        """
        findings, interval = Findings(), self.session.series.interval
        within_reach = self._within_reach(buckets)
        findings.undecided += buckets[len(within_reach) :]
        for own, alike in groupby(sorted(within_reach, key=self._own), key=self._own):
            mine = list(alike)
            for stretch in coalesce(merge(mine), interval, self.session.rules.page_rows):
                stored, voices = self._stored(stretch), list(self._voices(stretch, own))
                for bucket in (one for one in mine if stretch.intersect(one)):
                    others = [one.batch.within(bucket) for one in voices]
                    judged = judge(stored.within(bucket), others, longer.within(bucket), bucket_interval(interval))
                    self._note(findings, bucket, judged, voices)
        return findings

    def _own(self, span: Span) -> tuple[Source, ...]:
        """Return the sources whose word the stored candles of `span` are."""
        return tuple(sorted({one.source.voice for one in self.origins if one.span.intersect(span)}))

    def _within_reach(self, buckets: Sequence[Span]) -> Sequence[Span]:
        """Return the first buckets that together hold at most `most_candles` slots; count those as used."""
        if self.most_candles is None:
            return buckets
        taken = 0
        for bucket in buckets:
            slots = self.session.series.interval.count(bucket.start_ms, bucket.end_ms)
            if slots > self.most_candles:
                break
            self.most_candles -= slots
            taken += 1
        return buckets[:taken]

    def _stored(self, stretch: Span) -> CandleBatch:
        session = self.session
        with session.database.transaction(f"read the candles of {session.series} {stretch}") as tx:
            return load_candles(tx, session.table, stretch)

    def _note(self, findings: Findings, bucket: Span, judged: Judgement, voices: Sequence[Voice]) -> None:
        series = self.session.series
        for one in judged.contradicted:
            findings.contradicted.append(Contradiction(one, voices[0]))
            self._tell(f"{series}: two other sources contradict what is stored: {one}")
        if judged.undecided:
            findings.undecided.append(bucket)
            first, count = format_ms(judged.undecided[0]), len(judged.undecided)
            self._tell(f"{series}: the sources do not agree about {count} candles from {first} on")
        if judged.is_confirmed:
            findings.witnessed.append((bucket, voices[0].source))

    def _tell(self, finding: str) -> None:
        self._told += 1
        if self._told <= _MOST_TOLD:
            _log.warning("%s", finding)
        elif self._told == _MOST_TOLD + 1:
            _log.warning("%s: more such findings are not logged one by one", self.session.series)

    def _voices(self, stretch: Span, own: Collection[Source]) -> Iterator[Voice]:
        """Yield the candles of `stretch` from each source that is none of `own`."""
        session, rules = self.session, self.session.rules
        for source in sorted(Source, key=lambda one: one.is_archive):  # REST first: it is the other kind of source
            if source in own:
                continue
            match source:
                case Source.REST:
                    if self.allowed.rest:
                        found = fetch_by_rest(session.series, stretch, session.exchange)
                        yield Voice(source, found.spans[0].batch)
                case Source.ARCHIVE_DAILY:
                    if self.allowed.archives and rules.has_daily_archives:
                        yield from self._of_files(stretch, source, day_of)
                case Source.ARCHIVE_MONTHLY:
                    if self.allowed.archives and rules.has_monthly_archives:
                        yield from self._of_files(stretch, source, month_of)
                case Source.STREAM:  # cannot be asked
                    continue
                case _:
                    assert_never(source)

    def _of_files(self, stretch: Span, source: Source, period_at: Callable[[int], Period]) -> Iterator[Voice]:
        """Yield the voice of the archive files that hold `stretch`, if all of them can be had."""
        batches, checksum, start_ms = [], None, stretch.start_ms
        while start_ms < stretch.end_ms:
            period = period_at(start_ms)
            found = self._read(period)
            if found is None:
                return
            batches.append(found[0].within(stretch))
            checksum, start_ms = found[1], period.span.end_ms
        yield Voice(source, CandleBatch.concat(batches), checksum)

    def _read(self, period: Period) -> tuple[CandleBatch, str] | None:
        session = self.session
        if self._file is not None and self._file[0] == period:
            return self._file[1]
        found = None
        if session.rules.archive_possible_ms(period) <= session.exchange_now_ms():
            try:
                found = session.exchange.archives.fetch(session.series, period)
            except ArchiveUnavailable as error:
                _log.info("%s: no second opinion by the archive of %s: %s", session.series, period.text, error)
        self._file = (period, found)
        return found
