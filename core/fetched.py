"""What a source returned for one span or chunk, and what the ledger records of it."""

from __future__ import annotations

from dataclasses import dataclass

from core.archives import Period
from core.candles import CandleBatch, content_hash
from core.exchange_rules import SeriesRules
from core.gaps import Answer, Hole
from core.intervals import Interval
from core.ranges import Span, inside, merge, subtract
from core.sources import Source


@dataclass(frozen=True, slots=True)
class FetchedSpan:
    """All candles that one source has in `span`, validated; an empty batch means that it has none."""

    span: Span
    batch: CandleBatch
    source: Source
    archive_checksum: str | None = None  # sha256 of the zip, for the archive sources

    def within(self, part: Span) -> FetchedSpan:
        """Return the candles of `part`, which must lie inside the span."""
        return FetchedSpan(part, self.batch.within(part), self.source, self.archive_checksum)


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A verified archive file as it was read."""

    period: Period
    batch: CandleBatch  # without candles that need a second source
    checksum: str
    doubted: tuple[Span, ...]  # slots of these

    @classmethod
    def of(cls, rules: SeriesRules, period: Period, batch: CandleBatch, checksum: str) -> ReadFile:
        """Take out the candles off the grid, except where the exchange is known to have such ones."""
        times = [time for time in batch.off_grid(rules.interval) if not rules.opens_off_grid(time)]
        if not times:
            return cls(period, batch, checksum, ())
        slots = merge(rules.interval.slot_of(time) for time in times)
        return cls(period, batch.without(times), checksum, tuple(slots))

    def holes(self, interval: Interval, part: Span, now_ms: int) -> list[Hole]:
        """Return the slots of `part` without a candle, with the file as evidence; a doubted slot has no evidence."""
        source, missing = self.period.source, self.batch.missing(interval, part)
        unusable = [(interval.slot_of(one.open_ms), one.row) for one in self.batch.unusable]
        lacked = subtract(missing, [*self.doubted, *(slot for slot, _ in unusable)])
        holes = [Hole(span, (Answer(source, span, now_ms, now_ms, checksum=self.checksum),)) for span in lacked]
        holes += [Hole(span) for span in inside(self.doubted, missing)]
        holes += [
            Hole(slot, (Answer(source, slot, now_ms, now_ms, checksum=self.checksum, unusable=row),))
            for slot, row in unusable
            if inside([slot], missing)
        ]
        return sorted(holes, key=lambda hole: hole.span)


@dataclass(frozen=True, slots=True)
class FetchedChunk:
    """The result of fetching a chunk: spans to save, their holes with the evidence, and what stays uncovered."""

    spans: tuple[FetchedSpan, ...]
    holes: tuple[Hole, ...] = ()
    uncovered: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """What the ledger stores about a committed span."""

    span: Span
    source: Source
    archive_checksum: str | None
    rows: int
    content_hash: str

    @classmethod
    def of(cls, fetched: FetchedSpan) -> SpanRecord:
        """Return the record of `fetched`, with the content hash of its candles."""
        return cls(
            fetched.span, fetched.source, fetched.archive_checksum, fetched.batch.rows, content_hash(fetched.batch)
        )
