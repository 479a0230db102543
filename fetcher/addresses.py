"""Where an exchange is, and how hard it may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ExchangeAddresses:
    """Addresses and limits of one exchange, as the operator's settings say."""

    api_urls: Mapping[str, str]  # by market
    archive_url: str
    archive_list_url: str
    weight_share: float
    page_limit: int | None  # rows of a REST page; None: the market's best
    workers: int
    state_dir: Path  # for bans and unfinished downloads
