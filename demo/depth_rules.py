"""What a depth request gets, per market (docs/binance.md, Order book). Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping

from core.instrument import Market
from demo.candle_store import CandleStore
from demo.futures_keys import pair_of
from demo.order_book import Books, last_id
from demo.reply import Refused, Reply, invalid_symbol, json_reply
from demo.request_values import number_of, symbol_of

_SPOT_DEFAULT, _SPOT_MOST = 100, 5000
_SPOT_WEIGHTS = {100: 5, 500: 25, 1000: 50, 5000: 250}
"""Up to how many levels a request weighs how much."""
_FUTURES_DEFAULT = 500
_FUTURES_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
"""The limits that are allowed, and their weights."""


def answer_depth(store: CandleStore, books: Books, market: Market, params: Mapping[str, str], now_ms: int) -> Reply:
    """Return a snapshot of the book, or 400 with the exchange's code."""
    weight = _SPOT_WEIGHTS[100] if market is Market.SPOT else _FUTURES_WEIGHTS[_FUTURES_DEFAULT]
    try:
        limit, weight = _limit(market, params)
        symbol = symbol_of(params)
        step = books.book(market, symbol).step_at(now_ms) if symbol in store.listed_symbols(market) else None
        if step is None:
            raise invalid_symbol()
    except Refused as refusal:
        return refusal.reply(weight)
    bids, asks = books.book(market, symbol).top(step, limit)
    answer: dict[str, object] = {"lastUpdateId": last_id(step)}
    if market is not Market.SPOT:
        answer |= {"E": now_ms, "T": now_ms}
    if market is Market.CM:
        answer |= {"symbol": symbol, "pair": pair_of(symbol)}
    return json_reply({**answer, "bids": bids, "asks": asks}, weight)


def _limit(market: Market, params: Mapping[str, str]) -> tuple[int, int]:
    """Return how many levels are wanted, and the weight."""
    limit = number_of(params, "limit")
    if market is Market.SPOT:
        limit = min(_SPOT_DEFAULT if limit is None else limit, _SPOT_MOST)
        if limit < 1:
            raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return limit, next(weight for most, weight in _SPOT_WEIGHTS.items() if limit <= most)
    limit = _FUTURES_DEFAULT if limit is None else limit
    if limit not in _FUTURES_WEIGHTS:
        raise Refused(-4021, f"'{limit}' is not valid depth limit.")
    return limit, _FUTURES_WEIGHTS[limit]
