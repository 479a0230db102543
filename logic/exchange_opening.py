"""Opens the exchange and shares its request weight; apart from the database, for commands that only read that."""

from __future__ import annotations

from db.connection import Database
from db.shared_weight import SharedWeight
from fetcher.addresses import ExchangeAddresses, StreamAddresses
from fetcher.exchanges import open_exchange, open_live_streams
from fetcher.source import ExchangeSource, LiveStreams, StreamSink

# Includes the types that callers need for annotations.
__all__ = [
    "ExchangeAddresses",
    "ExchangeSource",
    "LiveStreams",
    "StreamAddresses",
    "StreamSink",
    "open_exchange",
    "open_live_streams",
    "share_budget",
]


def share_budget(database: Database, exchange: ExchangeSource) -> None:
    """Share one budget of request weight with all other runs on `database`, a connection that serves nothing else."""
    exchange.share_budget(SharedWeight(database))
