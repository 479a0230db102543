"""When a symbol's candles begin and end at the exchange, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

UNLISTED = "UNLISTED"
"""The status of a symbol that the exchange's list no longer holds and the archives do. Not the exchange's word."""


@dataclass(frozen=True, slots=True)
class ListingPeriod:
    """What is known of one series' listing; all unknown until the exchange was asked. Times are epoch ms."""

    first_ms: int | None = None  # open time of its first candle
    end_ms: int | None = None  # exclusive end of its last candle; None: it goes on
    status: str | None = None  # the exchange's own word, or UNLISTED
    is_pending: bool = False  # announced; trading has not begun
    notes: tuple[str, ...] = ()  # what a reader should know, such as a ticker that was used before
    # When the exchange was last asked whether a symbol that it lists, and that has had no candle for long, has come
    # back; None: it is not dormant.
    dormant_checked_ms: int | None = None

    @property
    def is_unlisted(self) -> bool:
        """Whether only the archives still know the symbol."""
        return self.status == UNLISTED

    def with_notes(self, *more: str) -> ListingPeriod:
        """Return the same with `more` behind the notes that are there, each once."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *more))))

    def updated_by(self, learned: ListingPeriod) -> ListingPeriod:
        """Return what to keep once `learned` is known: an unknown beginning does not erase a known one."""
        return replace(learned, first_ms=learned.first_ms if learned.first_ms is not None else self.first_ms)
