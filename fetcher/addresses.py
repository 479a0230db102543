"""Addresses of one exchange, and the limits that the operator sets for its use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ExchangeAddresses:
    """Addresses and limits of one exchange, from the operator's settings."""

    api_urls: Mapping[str, str]  # by market
    archive_url: str | None  # None: it publishes no archives
    archive_list_url: str | None
    weight_share: float  # part of the weight limit that may be used, above 0 to 1
    page_limit: int | None  # rows of a REST page; None: the most rows per weight
    workers: int
    state_dir: Path  # for bans and unfinished downloads
    breaks_circuit: bool = False  # leave a host alone that fails again and again: for processes that stay


@dataclass(frozen=True, slots=True)
class StreamAddresses:
    """Addresses of one exchange's live streams, and the limits that the operator sets for them."""

    urls: Mapping[str, str]  # by market: wss://host, without the route
    max_per_connection: int  # streams
    stall_ms: int  # so long a whole connection may say nothing before it counts as dead
