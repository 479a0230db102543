"""The archives of an exchange that publishes none, such as a test network: no file is ever listed."""

from __future__ import annotations

from core.archives import NO_ARCHIVES, ArchiveIndex, Period
from core.candles import CandleBatch
from core.errors import ArchiveUnavailable
from core.ranges import Span
from core.series import Series


class NoArchives:
    """Implements `fetcher.source.Archives`."""

    def list_published(self, series: Series, wanted: Span, expected: ArchiveIndex = NO_ARCHIVES) -> ArchiveIndex:
        """Return no file."""
        return NO_ARCHIVES

    def fetch(self, series: Series, period: Period) -> tuple[CandleBatch, str]:
        """Raise ArchiveUnavailable."""
        raise _none()

    def published_checksum(self, series: Series, period: Period) -> str:
        """Raise ArchiveUnavailable."""
        raise _none()

    def list_earlier_contracts(self, series: Series) -> list[str]:
        """Return nothing."""
        return []

    def remove_leftovers(self) -> None:
        """Nothing is ever downloaded."""


def _none() -> ArchiveUnavailable:
    return ArchiveUnavailable("there are no archives of the test network")
