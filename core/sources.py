"""Where candles come from, and which of these places a run may ask."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class Source(StrEnum):
    """Where the candles of a span came from, as written in the ledger.

    Ask for the property that matters, never `is not REST`: the next kind of source is neither.
    """

    ARCHIVE_MONTHLY = "archive-monthly"
    ARCHIVE_DAILY = "archive-daily"
    REST = "rest"

    @property
    def is_archive(self) -> bool:
        """Whether it is a published file with a checksum, which can be read and compared again."""
        match self:
            case Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY:
                return True
            case Source.REST:
                return False
            case _:
                assert_never(self)

    @property
    def is_asked_by_range(self) -> bool:
        """Whether it answers for any range, so that its small neighbouring spans may be folded into one."""
        match self:
            case Source.REST:
                return True
            case Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY:
                return False
            case _:
                assert_never(self)


class AllowedSources(StrEnum):
    """Which sources a run may ask (`--source`, `--against`)."""

    AUTO = "auto"
    ARCHIVE = "archive"
    REST = "rest"

    @property
    def archives(self) -> bool:
        """Whether public archives may be read."""
        return self is not AllowedSources.REST

    @property
    def rest(self) -> bool:
        """Whether the REST API may be asked."""
        return self is not AllowedSources.ARCHIVE
