"""Frames of tickers and mark prices: one every so many seconds."""

from __future__ import annotations

from typing import Any

import orjson

from core.instrument import Market
from demo.day_ticker import DayTickers
from demo.funding import Funding
from demo.futures_keys import symbol_type
from demo.stream_frames import StreamFrame
from demo.stream_names import Kind, StreamName
from demo.ticker_keys import mini_ticker_event, ticker_event


class PriceChannel:
    """The ticker or the mark price of one symbol, at whole multiples of the cadence."""

    def __init__(self, name: StreamName, market: Market, symbol: str, tickers: DayTickers, funding: Funding) -> None:
        self.next_ms = 0
        self._name = name
        self._market = market
        self._symbol = symbol
        self._tickers = tickers
        self._funding = funding

    def restart(self, now_ms: int) -> None:
        """Begin with the next one."""
        self.next_ms = (now_ms // self._name.every_ms + 1) * self._name.every_ms

    def due(self, now_ms: int) -> list[StreamFrame]:
        """Return the newest frame that is due."""
        at_ms = now_ms - now_ms % self._name.every_ms
        self.restart(now_ms)
        event = self._mark_price(at_ms) if self._name.kind is Kind.MARK_PRICE else self._ticker(at_ms)
        return [] if event is None else [StreamFrame(self._name.text, orjson.dumps(event))]

    def _ticker(self, at_ms: int) -> dict[str, Any] | None:
        ticker = self._tickers.ticker(self._market, self._symbol, at_ms)
        if ticker is None:
            return None
        is_whole = self._name.kind is Kind.TICKER
        return ticker_event(self._market, ticker) if is_whole else mini_ticker_event(self._market, ticker)

    def _mark_price(self, at_ms: int) -> dict[str, Any] | None:
        price = self._funding.mark_price(self._market, self._symbol, at_ms)
        if price is None:
            return None
        keys = {"e": "markPriceUpdate", "E": at_ms, "s": self._symbol, "p": price.mark, "ap": price.average}
        keys |= {"P": price.estimated_settle, "i": price.index, "r": price.rate, "T": price.next_funding_ms}
        return {**keys, **symbol_type(self._market)}
