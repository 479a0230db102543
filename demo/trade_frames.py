"""Frames of the streams of trades: aggregate trades on all markets, single ones on spot."""

from __future__ import annotations

from collections import deque

import orjson

from core.instrument import Market
from demo.futures_keys import symbol_type
from demo.stream_frames import StreamFrame
from demo.stream_names import Kind
from demo.trade_history import AggregateTrade, TradeHistory

_FUTURES_STEP_MS = 100
_LOOK_AHEAD_MS = 60_000
_SHORTEST_WAIT_MS = 20


class TradeChannel:
    """The trades of one symbol as they come."""

    def __init__(self, name: str, kind: Kind, market: Market, symbol: str, history: TradeHistory) -> None:
        self.next_ms = 0
        self._name = name
        self._kind = kind
        self._market = market
        self._symbol = symbol
        self._history = history
        self._from_ms = 0  # trades before are sent
        self._coming: deque[AggregateTrade] = deque()

    def restart(self, now_ms: int) -> None:
        """Begin with the trades from `now_ms` on."""
        self._from_ms = self.next_ms = now_ms
        self._coming.clear()

    def due(self, now_ms: int) -> list[StreamFrame]:
        """Return the frames due up to `now_ms`."""
        frames: list[StreamFrame] = []
        if now_ms >= self._from_ms and not self._coming:
            self._look_ahead(now_ms)
        while self._coming and self._sent_ms(self._coming[0]) <= now_ms:
            trade = self._coming.popleft()
            frames += self._frames(trade, self._sent_ms(trade))
            if not self._coming:
                self._look_ahead(now_ms)
        self.next_ms = self._sent_ms(self._coming[0]) if self._coming else now_ms + _SHORTEST_WAIT_MS
        return frames

    def _look_ahead(self, now_ms: int) -> None:
        """Take what is traded until a little later: the store's future is known."""
        end_ms = now_ms + _LOOK_AHEAD_MS
        self._coming.extend(self._history.from_time(self._market, self._symbol, self._from_ms, end_ms))
        if self._coming:
            self._from_ms = self._coming[-1].at_ms + 1
        else:
            self._from_ms = max(self._from_ms, now_ms)

    def _sent_ms(self, trade: AggregateTrade) -> int:
        """Spot: at once. Futures: collected for 100 ms."""
        if self._market is Market.SPOT:
            return trade.at_ms + 1
        return (trade.at_ms // _FUTURES_STEP_MS + 1) * _FUTURES_STEP_MS

    def _frames(self, trade: AggregateTrade, at_ms: int) -> list[StreamFrame]:
        if self._kind is Kind.TRADE:
            return [
                StreamFrame(self._name, self._single(trade, trade.first_id + number, quantity, at_ms))
                for number, quantity in enumerate(trade.quantities)
            ]
        event = {"e": "aggTrade", "E": at_ms, **aggregate_keys(self._market, self._symbol, trade)}
        return [StreamFrame(self._name, orjson.dumps(event))]

    def _single(self, trade: AggregateTrade, trade_id: int, quantity: str, at_ms: int) -> bytes:
        event = {"e": "trade", "E": at_ms, "s": self._symbol, "t": trade_id, "p": trade.price, "q": quantity}
        return orjson.dumps({**event, "T": trade.at_ms, "m": trade.is_buyer_maker, "M": True})


def aggregate_keys(market: Market, symbol: str, trade: AggregateTrade) -> dict[str, object]:
    """Return an aggregate trade in a stream's keys."""
    keys: dict[str, object] = {"s": symbol, "a": trade.id, "p": trade.price, "q": trade.quantity}
    if market is not Market.SPOT:
        keys = {"a": trade.id, "s": symbol, "p": trade.price, "q": trade.quantity, "nq": trade.quantity}
    keys |= {"f": trade.first_id, "l": trade.last_id, "T": trade.at_ms, "m": trade.is_buyer_maker}
    return {**keys, "M": True} if market is Market.SPOT else {**keys, **symbol_type(market)}
