"""The exchange's clock during months: that of the newest connection to each market, so that it cannot drift."""

from __future__ import annotations

from core.instrument import Market
from fetcher.source import ExchangeSource


class MarketClocks:
    """Begins with the clocks of `exchange`. Thread-safe."""

    def __init__(self, exchange: ExchangeSource) -> None:
        self._newest = dict.fromkeys(Market, exchange)

    def take(self, exchange: ExchangeSource) -> None:
        """Go on with the clocks that `exchange` has read."""
        for market in Market:
            if exchange.is_clock_set(market):
                self._newest[market] = exchange

    def now_ms(self, market: Market) -> int:
        """Return the exchange's time, epoch ms."""
        return self._newest[market].now_ms(market)
