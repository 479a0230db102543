"""What a live run has done with trades and prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.streams import StreamKey
from logic.live.counters import LiveCounters
from logic.live.records import LiveRecords


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """The part of the kinds other than candles."""

    wanted: int = 0  # streams
    stored: Mapping[str, int] = field(default_factory=dict)  # records by kind
    already_there: int = 0
    conflicts: int = 0
    lost: int = 0
    dropped: int = 0
    unsaved: int = 0
    id_gaps: int = 0
    trades_healed: int = 0
    gaps_left: int = 0  # gaps of trades that are missing still
    fundings: int = 0
    books_synced: int = 0
    books_restarted: Mapping[str, int] = field(default_factory=dict)  # by reason
    books_syncing: tuple[StreamKey, ...] = ()  # order books that are not complete now
    left_out: Mapping[StreamKey, str] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        """What a person should know or do."""
        told = [f"{key}: not streamed, {why}" for key, why in self.left_out.items()]
        if self.gaps_left:
            told.append(f"{self.gaps_left:,} gaps of trades are not healed; public.stream_gaps tells which and why")
        if self.unsaved:
            told.append(f"{self.unsaved:,} trades and prices were received and not stored")
        if self.lost:
            told.append(f"{self.lost:,} trades and prices could not be stored; the log says why")
        if self.conflicts:
            told.append(f"{self.conflicts:,} trades and prices differ from stored ones, which stayed")
        return told


def summarize_records(records: LiveRecords, counters: LiveCounters) -> RecordSummary:
    """Return what was done so far."""
    return RecordSummary(
        wanted=len(records.keys),
        stored=dict(counters.records_stored),
        already_there=counters.records_already_there,
        conflicts=counters.record_conflicts,
        lost=counters.records_lost,
        dropped=records.waiting.dropped.total(),
        unsaved=records.writer.unsaved,
        id_gaps=counters.id_gaps,
        trades_healed=counters.trades_healed,
        gaps_left=records.healer.gaps_left,
        fundings=counters.fundings,
        books_synced=counters.books_synced,
        books_restarted=dict(counters.books_restarted),
        books_syncing=tuple(records.books.syncing),
        left_out=records.left_out,
    )


def records_document(records: RecordSummary) -> dict[str, object]:
    """Return a summary for JSON."""
    return {
        "streams": records.wanted,
        "stored": dict(records.stored),
        "already_there": records.already_there,
        "conflicts": records.conflicts,
        "lost": records.lost,
        "dropped": records.dropped,
        "unsaved": records.unsaved,
        "id_gaps": records.id_gaps,
        "trades_healed": records.trades_healed,
        "gaps_left": records.gaps_left,
        "fundings": records.fundings,
        "books_synced": records.books_synced,
        "books_restarted": dict(records.books_restarted),
        "books_syncing": [str(key) for key in records.books_syncing],
        "left_out": [{"stream": str(key), "why": why} for key, why in records.left_out.items()],
    }
