"""Stores the exchange's clock in the database, for commands without network access."""

from __future__ import annotations

from collections.abc import Iterable

from core.instrument import ExchangeName, Market
from db.connection import Database
from db.exchange_clock import save_clock
from fetcher.source import ExchangeSource


def keep_clocks(database: Database, exchange: ExchangeSource, markets: Iterable[tuple[ExchangeName, Market]]) -> None:
    """Store the clock of each of `markets` whose time was read in this run."""
    known = [(name, market) for name, market in sorted(set(markets)) if exchange.is_clock_set(market)]
    if known:
        with database.transaction("keep the exchange's clock") as tx:
            for name, market in known:
                save_clock(tx, name, market, exchange.now_ms(market))
