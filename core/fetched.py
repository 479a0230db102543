"""What a source hands over for one span, ready to be saved."""

from __future__ import annotations

from dataclasses import dataclass

from core.candles import CandleBatch
from core.plan import Source
from core.ranges import Span


@dataclass(frozen=True, slots=True)
class FetchedSpan:
    """All candles that one source has in `span`, validated; an empty batch says that it has none."""

    span: Span
    batch: CandleBatch
    source: Source
    archive_checksum: str | None = None  # sha256 of the zip, for the archive sources
