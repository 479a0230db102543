"""What a source returned for one span or chunk, and what the ledger records of it."""

from __future__ import annotations

from dataclasses import dataclass

from core.candles import CandleBatch, content_hash
from core.gaps import Hole
from core.ranges import Span
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
