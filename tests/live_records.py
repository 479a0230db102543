"""A live service for trades and prices in this process, against the replay exchange on a clock that runs faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from live_market import LiveMarket
from stored_series import backfill_options

from core.streams import StreamKey
from logic.live.service import LiveService
from logic.live.tools import LiveOptions, RecordOptions


@dataclass
class RecordMarket(LiveMarket):
    """As a live market, without candles."""

    keys: Sequence[StreamKey] = field(default_factory=tuple)
    ticker_ms: int = 60_000
    depth_ms: int = 1_000

    def started(self) -> LiveService:
        """Return a service that receives and stores."""
        options = LiveOptions(
            "live",
            backfill_options("live", self.folder),
            0,
            RecordOptions(tuple(self.keys), self.ticker_ms, depth_ms=self.depth_ms),
        )
        service = LiveService([], self.tools(), options)
        service.start()
        return service

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with self.database() as database, database.transaction("read") as tx:
            tx.cursor.execute(statement)
            return list(tx.cursor.fetchall())
