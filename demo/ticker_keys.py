"""A ticker in the keys of streams and in those of REST (docs/binance.md, Tickers)."""

from __future__ import annotations

from typing import Any

from core.instrument import Market
from demo.day_ticker import DayTicker
from demo.futures_keys import pair_and_type, pair_of


def ticker_event(market: Market, ticker: DayTicker) -> dict[str, Any]:
    """Return a ticker in a stream's keys."""
    event: dict[str, Any] = {"e": "24hrTicker", "E": ticker.close_ms, "s": ticker.symbol}
    if market is not Market.SPOT:
        event |= pair_and_type(market, ticker.symbol)
    event |= {"p": ticker.price_change, "P": ticker.price_change_percent, "w": ticker.weighted_average}
    if market is Market.SPOT:
        event["x"] = ticker.previous_close
    event |= {"c": ticker.last, "Q": ticker.last_quantity}
    if market is Market.SPOT:
        event |= {"b": ticker.bid[0], "B": ticker.bid[1], "a": ticker.ask[0], "A": ticker.ask[1]}
    event |= {"o": ticker.open, "h": ticker.high, "l": ticker.low, "v": ticker.volume, "q": ticker.quote_volume}
    event |= {"O": ticker.open_ms, "C": ticker.close_ms}
    return {**event, "F": ticker.first_id, "L": ticker.last_id, "n": ticker.trades}


def mini_ticker_event(market: Market, ticker: DayTicker) -> dict[str, Any]:
    """Return the few keys of a mini ticker."""
    event: dict[str, Any] = {"e": "24hrMiniTicker", "E": ticker.close_ms, "s": ticker.symbol}
    if market is not Market.SPOT:
        event |= pair_and_type(market, ticker.symbol)
    event |= {"c": ticker.last, "o": ticker.open, "h": ticker.high, "l": ticker.low}
    return {**event, "v": ticker.volume, "q": ticker.quote_volume}


def ticker_row(market: Market, ticker: DayTicker) -> dict[str, Any]:
    """Return a ticker in REST's keys."""
    row: dict[str, Any] = {"symbol": ticker.symbol}
    if market is Market.CM:
        row["pair"] = pair_of(ticker.symbol)
    row |= {"priceChange": ticker.price_change, "priceChangePercent": ticker.price_change_percent}
    row["weightedAvgPrice"] = ticker.weighted_average
    if market is Market.SPOT:
        row["prevClosePrice"] = ticker.previous_close
    row |= {"lastPrice": ticker.last, "lastQty": ticker.last_quantity}
    if market is Market.SPOT:
        row |= {"bidPrice": ticker.bid[0], "bidQty": ticker.bid[1]}
        row |= {"askPrice": ticker.ask[0], "askQty": ticker.ask[1]}
    row |= {"openPrice": ticker.open, "highPrice": ticker.high, "lowPrice": ticker.low, "volume": ticker.volume}
    row["baseVolume" if market is Market.CM else "quoteVolume"] = ticker.quote_volume
    row |= {"openTime": ticker.open_ms, "closeTime": ticker.close_ms}
    return {**row, "firstId": ticker.first_id, "lastId": ticker.last_id, "count": ticker.trades}
