"""What the verification of one series found."""

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
"""So many differences are kept and logged one by one."""


class VerifyObserver:
    """What a verification tells whoever watches it. Does nothing; a display overrides it."""

    def chosen(self, spans: int) -> None:
        """So many ledger spans, of all series together, will be verified."""

    def verified(self, series: Series) -> None:
        """One of them is done, whatever was found."""


@dataclass(slots=True)
class SeriesVerification:
    """What was found in one series. Counts are candles unless said otherwise."""

    row: CatalogRow
    spans: int = 0  # ledger spans that were chosen
    verified: int = 0  # of these, equal to the exchange's in the end
    rows: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    missing: list[Span] = field(default_factory=list)  # where the exchange has candles that the table lacks
    extra: list[Span] = field(default_factory=list)  # where the table has candles that the exchange lacks
    shown: list[Difference] = field(default_factory=list)  # the first of the different ones
    repaired: int = 0
    replaced_archives: list[str] = field(default_factory=list)  # files published anew since they were imported
    unverifiable: list[tuple[Span, str]] = field(default_factory=list)
    error: str | None = None
    is_locked: bool = False
    is_fault: bool = False  # `error` is a fault of this program

    @property
    def series(self) -> Series:
        """The series."""
        return self.row.series

    @property
    def differing(self) -> int:
        """Candles that are not what the exchange has."""
        return sum(self.counts.values())

    @property
    def is_clean(self) -> bool:
        """Whether every chosen span is now what the exchange has."""
        return self.error is None and not self.is_locked and self.verified == self.spans

    @property
    def exit_code(self) -> int:
        """What this series alone would end the run with."""
        if self.is_fault:
            return EXIT_FAULT
        if self.is_locked:
            return EXIT_LOCKED
        return EXIT_OK if self.is_clean else EXIT_INCOMPLETE

    def count(self, differences: Sequence[Difference]) -> None:
        """Take in what differs, and log the first of it."""
        for difference in differences:
            self.counts[difference.kind] += 1
            if difference.kind is Kind.DIFFERENT and len(self.shown) < SHOWN:
                self.shown.append(difference)
                _log.warning("%s: %s", self.series, difference)
        for kind, spans in ((Kind.MISSING, self.missing), (Kind.EXTRA, self.extra)):
            slots = (self.series.interval.slot_of(one.time_ms) for one in differences if one.kind is kind)
            found = merge(slots)
            spans += found
            for span in found[:SHOWN]:
                _log.warning("%s: %s in %s", self.series, kind, span)
