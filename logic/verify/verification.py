"""The result of verifying one series."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.compare import Difference, Kind
from core.exit_codes import EXIT_FAULT, EXIT_INCOMPLETE, EXIT_LOCKED, EXIT_OK
from core.ranges import Span, merge
from core.series import Series
from db.catalog import CatalogRow

_log = logging.getLogger(__name__)

SHOWN = 20
"""At most this number of differences is kept and logged one by one."""


class VerifyObserver:
    """What a verification tells whoever watches it. Does nothing; a display overrides it."""

    def waiting(self, series: int) -> None:
        """The run waits for so many series that another run is working on."""

    def chosen(self, spans: int) -> None:
        """So many ledger spans, of all series together, will be verified."""

    def verified(self, series: Series) -> None:
        """One of them is done, whatever was found."""


@dataclass(slots=True)
class SeriesVerification:
    """The result of one series. Counts are candles unless a comment says otherwise."""

    row: CatalogRow
    spans: int = 0  # ledger spans that were chosen
    verified: int = 0  # of these, equal to the reference, if need be after a repair
    rows: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    missing: list[Span] = field(default_factory=list)  # where the exchange has candles that the table lacks
    extra: list[Span] = field(default_factory=list)  # where the table has candles that the exchange lacks
    shown: list[Difference] = field(default_factory=list)  # the first candles with other values
    repaired: int = 0
    replaced_archives: list[str] = field(default_factory=list)  # files that were published again with other content
    of_earlier_listing: int = 0  # spans, unaltered, of an earlier contract that the exchange no longer has
    unverifiable: list[tuple[Span, str]] = field(default_factory=list)
    error: str | None = None
    is_locked: bool = False
    is_fault: bool = False  # `error` is a fault of this program

    @property
    def series(self) -> Series:
        """The verified series."""
        return self.row.series

    @property
    def differing(self) -> int:
        """Number of candles that differ from the reference."""
        return sum(self.counts.values())

    @property
    def is_clean(self) -> bool:
        """Whether every chosen span now equals the reference."""
        return self.error is None and not self.is_locked and self.verified == self.spans

    @property
    def exit_code(self) -> int:
        """The exit code that this series alone would give the run."""
        if self.is_fault:
            return EXIT_FAULT
        if self.is_locked:
            return EXIT_LOCKED
        return EXIT_OK if self.is_clean else EXIT_INCOMPLETE

    def count(self, differences: Sequence[Difference]) -> None:
        """Add `differences` to the result, and log the first ones."""
        for difference in differences:
            self.counts[difference.kind] += 1
            if difference.kind is Kind.DIFFERENT and len(self.shown) < SHOWN:
                self.shown.append(difference)
                _log.info("%s: %s", self.series, difference)
        for kind, spans in ((Kind.MISSING, self.missing), (Kind.EXTRA, self.extra)):
            slots = (self.series.interval.slot_of(one.time_ms) for one in differences if one.kind is kind)
            found = merge(slots)
            spans += found
            for span in found[:SHOWN]:
                _log.info("%s: %s in %s", self.series, kind, span)
