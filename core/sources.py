"""The sources of candles, and which of them a run may use."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class Source(StrEnum):
    """Where the candles of a span came from, as recorded in the ledger.

    Test the property that matters, never `is not REST`: a new kind of source may be neither REST nor an archive.
    What came by a stream is provisional until it was held against REST (docs/is-my-data-complete.md).
    """

    ARCHIVE_MONTHLY = "archive-monthly"
    ARCHIVE_DAILY = "archive-daily"
    REST = "rest"
    STREAM = "stream"

    @property
    def is_archive(self) -> bool:
        """Whether it is a published file with a checksum, which can be downloaded and compared again."""
        match self:
            case Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY:
                return True
            case Source.REST | Source.STREAM:
                return False
            case _:
                assert_never(self)

    @property
    def is_asked_by_range(self) -> bool:
        """Whether any range can be requested, so that small adjacent ledger spans are folded when one is added."""
        match self:
            case Source.REST:
                return True
            case Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY | Source.STREAM:
                return False
            case _:
                assert_never(self)

    @property
    def gives_answers(self) -> bool:
        """Whether its silence is evidence that a candle does not exist. A stream's is not: frames get lost."""
        match self:
            case Source.REST | Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY:
                return True
            case Source.STREAM:
                return False
            case _:
                assert_never(self)

    @property
    def is_audited(self) -> bool:
        """Whether its candles are provisional until they were verified: an audit holds them against REST."""
        match self:
            case Source.STREAM:
                return True
            case Source.REST | Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY:
                return False
            case _:
                assert_never(self)

    @property
    def voice(self) -> Source:
        """The source whose word its candles are, where sources are held against each other: a stream's is REST's."""
        match self:
            case Source.REST | Source.STREAM:
                return Source.REST
            case Source.ARCHIVE_MONTHLY | Source.ARCHIVE_DAILY:
                return self
            case _:
                assert_never(self)


class AllowedSources(StrEnum):
    """Which sources a run may use (`--source`, `--against`)."""

    AUTO = "auto"
    ARCHIVE = "archive"
    REST = "rest"

    @property
    def archives(self) -> bool:
        """Whether public archives may be read."""
        return self is not AllowedSources.REST

    @property
    def rest(self) -> bool:
        """Whether the REST API may be used."""
        return self is not AllowedSources.ARCHIVE
