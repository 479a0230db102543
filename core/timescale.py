"""Whether new candle tables become TimescaleDB's hypertables: what the operator decides, and what the server offers."""

from __future__ import annotations

from enum import Enum


class TimescaleUse(Enum):
    """The setting TIMESCALE."""

    AUTO = "auto"  # where the extension is in the database already
    ON = "on"  # everywhere, or the run ends
    OFF = "off"


class TimescaleEdition(Enum):
    """What the server's TimescaleDB is licensed for."""

    APACHE = "Apache"  # hypertables alone; many managed servers have this one
    COMMUNITY = "Community"

    @property
    def can_compress(self) -> bool:
        """Whether it has compression."""
        return self is TimescaleEdition.COMMUNITY
