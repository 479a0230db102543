"""Which aggregate trades a request gets, per market (docs/binance.md, Trades). Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, takewhile

from core.instrument import Market
from core.times import MS_PER_HOUR
from demo.candle_store import CandleStore
from demo.reply import Refused, Reply, invalid_symbol, json_reply
from demo.request_values import limit_of, number_of, symbol_of
from demo.trade_history import AggregateTrade, TradeHistory

WEIGHTS = {Market.SPOT: 4, Market.UM: 20, Market.CM: 20}
KEPT_MS = {Market.UM: 48 * MS_PER_HOUR, Market.CM: 24 * MS_PER_HOUR}
_DEFAULT_LIMIT, _MAX_LIMIT = 500, 1000


def answer_aggregates(
    store: CandleStore, history: TradeHistory, market: Market, params: Mapping[str, str], now_ms: int
) -> Reply:
    """Return the answer to an aggTrades request: rows, or 400 with the exchange's code."""
    try:
        symbol = symbol_of(params)
        if symbol not in store.listed_symbols(market):
            raise invalid_symbol()
        trades = _select(history, market, symbol, params, now_ms)
    except Refused as refusal:
        return refusal.reply(WEIGHTS[market])
    return json_reply([_row(market, trade) for trade in trades], WEIGHTS[market])


def _select(
    history: TradeHistory, market: Market, symbol: str, params: Mapping[str, str], now_ms: int
) -> list[AggregateTrade]:
    limit = limit_of(market, params, _DEFAULT_LIMIT, _MAX_LIMIT)
    first_id, start_ms, end_ms = (number_of(params, name) for name in ("fromId", "startTime", "endTime"))
    has_times = start_ms is not None or end_ms is not None
    if first_id is not None and has_times:
        raise Refused(-1128, "Combination of optional parameters invalid.")
    oldest_ms = now_ms - KEPT_MS[market] if market in KEPT_MS else 0
    if first_id is not None:
        found = list(islice(history.from_id(market, symbol, first_id, now_ms), limit))
        if found and found[0].at_ms < oldest_ms:
            raise _too_old(market)
        return found
    if start_ms is not None and end_ms is not None:
        if start_ms > end_ms:
            raise Refused(-1127, "startTime must be less than endTime.")
        if market is not Market.SPOT and end_ms - start_ms >= MS_PER_HOUR:
            raise Refused(-1127, "More than 1 hours between startTime and endTime.")
    if any(bound is not None and bound < oldest_ms for bound in (start_ms, end_ms)):
        raise _too_old(market)
    end_ms = now_ms if end_ms is None else min(end_ms, now_ms)
    if start_ms is None:
        return history.newest(market, symbol, limit, min(end_ms + 1, now_ms))
    until_end = takewhile(lambda trade: trade.at_ms <= end_ms, history.from_time(market, symbol, start_ms, now_ms))
    return list(islice(until_end, limit))


def _too_old(market: Market) -> Refused:
    hours = KEPT_MS[market] // MS_PER_HOUR
    return Refused(-4166, f"Search window is restricted to recent {hours} hours only.")


def _row(market: Market, trade: AggregateTrade) -> dict[str, object]:
    row: dict[str, object] = {"a": trade.id, "p": trade.price, "q": trade.quantity}
    if market is Market.UM:
        row["nq"] = trade.quantity
    row |= {"f": trade.first_id, "l": trade.last_id, "T": trade.at_ms, "m": trade.is_buyer_maker}
    return {**row, "M": True} if market is Market.SPOT else row
