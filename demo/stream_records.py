"""What a stream server tells about its connections."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from core.instrument import Market


@dataclass(slots=True)
class ConnectionRecord:
    """One connection that was accepted. Times by the replay clock, epoch ms."""

    number: int  # from 1, over all markets
    market: Market
    path: str  # decoded, with its query
    opened_ms: int
    closed_ms: int | None = None  # None while it is open
    close_code: int | None = None  # 1006 where no close frame was exchanged
    messages: int = 0  # that came in: requests, and on spot pings and pongs
    streams: list[str] = field(default_factory=list)  # subscribed now
    frames: Counter[str] = field(default_factory=Counter)  # events sent, by stream


@dataclass(frozen=True, slots=True)
class RefusedHandshake:
    """One handshake that was not accepted."""

    market: Market
    path: str
    status: int
    at_ms: int
