"""The listing period of a symbol: when its candles begin and end at the exchange, as far as is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

UNLISTED = "UNLISTED"
"""Status of a symbol that is in the archives but no longer in the exchange's list. This program's own word."""


@dataclass(frozen=True, slots=True)
class ListingPeriod:
    """What is known of the listing of one series; nothing until the exchange was asked. Times are epoch ms."""

    first_ms: int | None = None  # open time of its first candle
    end_ms: int | None = None  # exclusive end of its last candle; None: still listed
    status: str | None = None  # as the exchange gives it, or UNLISTED
    is_pending: bool = False  # announced; trading has not begun
    notes: tuple[str, ...] = ()  # for the operator, such as a ticker that was used before
    # For a dormant symbol (listed, but without a new candle for long): when it was last checked for new candles.
    # None: it is not dormant.
    dormant_checked_ms: int | None = None

    @property
    def is_unlisted(self) -> bool:
        """Whether the symbol is in the archives only."""
        return self.status == UNLISTED

    def with_notes(self, *more: str) -> ListingPeriod:
        """Return the same period with `more` added to the notes, without duplicates."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *more))))

    def updated_by(self, learned: ListingPeriod) -> ListingPeriod:
        """Return `learned`, with the first candle known so far where `learned` does not know it."""
        return replace(learned, first_ms=learned.first_ms if learned.first_ms is not None else self.first_ms)
