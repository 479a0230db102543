"""What requests for tickers, mark prices and funding get (docs/binance.md). Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.instrument import Market
from core.times import MS_PER_DAY
from demo.candle_store import CandleStore
from demo.day_ticker import DayTickers
from demo.funding import Funding, FundingRate, hours_of, is_perpetual
from demo.futures_keys import pair_of
from demo.reply import Refused, Reply, invalid_symbol, json_reply
from demo.request_values import limit_of, number_of, symbol_of
from demo.ticker_keys import ticker_row

_ALL_TICKERS_WEIGHT = {Market.SPOT: 80, Market.UM: 40, Market.CM: 40}
_ONE_TICKER_WEIGHT = {Market.SPOT: 2, Market.UM: 1, Market.CM: 1}
_SPOT_TICKERS_WEIGHTS = ((20, 2), (100, 40))
_FUNDING_DEFAULT, _FUNDING_MOST = 100, 1000
_INTEREST = "0.00010000"
_LONGEST_FUNDING_MS = 400 * MS_PER_DAY


class PriceRules:
    """Answers for prices of the last 24 hours, mark prices and funding."""

    def __init__(self, store: CandleStore, tickers: DayTickers, funding: Funding) -> None:
        self._store = store
        self._tickers = tickers
        self._funding = funding

    def answer_tickers(self, market: Market, params: Mapping[str, str], now_ms: int) -> Reply:
        """Return the ticker of `symbol`, or of `symbols` (spot), or of all."""
        weight = _ALL_TICKERS_WEIGHT[market]
        listed = self._store.listed_symbols(market)
        try:
            wanted, weight = _wanted(market, params, listed)
            if not set(wanted) <= set(listed):
                raise invalid_symbol()
        except Refused as refusal:
            return refusal.reply(weight)
        made = [self._tickers.ticker(market, symbol, now_ms) for symbol in wanted]
        rows = [ticker_row(market, ticker) for ticker in made if ticker is not None]
        if "symbol" in params and rows and market is not Market.CM:
            return json_reply(rows[0], weight)
        return json_reply(rows, weight)

    def answer_premium_index(self, market: Market, params: Mapping[str, str], now_ms: int) -> Reply:
        """Return mark price and funding of `symbol`, or of all."""
        listed = self._store.listed_symbols(market)
        weight = 10 if market is Market.CM or "symbol" not in params else 1
        if "symbol" in params and params["symbol"] not in listed:
            return invalid_symbol().reply(weight)
        wanted = [params["symbol"]] if "symbol" in params else listed
        rows = [row for symbol in wanted if (row := self._premium(market, symbol, now_ms)) is not None]
        return json_reply(rows[0] if "symbol" in params and rows and market is Market.UM else rows, weight)

    def answer_funding_rate(self, market: Market, params: Mapping[str, str], now_ms: int) -> Reply:
        """Return settled fundings, ascending; both bounds are inclusive. On USD-M without weight."""
        weight = 1 if market is Market.CM else 0
        listed = self._store.listed_symbols(market)
        try:
            limit = limit_of(market, params, _FUNDING_DEFAULT, _FUNDING_MOST)
            start_ms, end_ms = number_of(params, "startTime"), number_of(params, "endTime")
            symbols = [symbol_of(params)] if market is Market.CM or "symbol" in params else listed
            if not set(symbols) <= set(listed):
                raise invalid_symbol()
        except Refused as refusal:
            return refusal.reply(weight)
        until_ms = now_ms + 1 if end_ms is None else min(end_ms, now_ms) + 1
        from_ms = max(0, until_ms - _LONGEST_FUNDING_MS) if start_ms is None else start_ms
        found = [
            (rate.at_ms, symbol, rate)
            for symbol in symbols
            for rate in self._funding.settled(market, symbol, from_ms, until_ms)
        ]
        found.sort(key=lambda one: one[:2])
        page = found[-limit:] if start_ms is None else found[:limit]
        return json_reply([_funding_row(market, symbol, rate) for _, symbol, rate in page], weight)

    def answer_funding_info(self, market: Market) -> Reply:
        """Return the symbols whose funding was adjusted."""
        adjusted = [
            {
                "symbol": symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": hours_of(symbol),
                "disclaimer": False,
            }
            for symbol in self._store.listed_symbols(market)
            if is_perpetual(symbol) and not symbol.startswith("BTC")
        ]
        return json_reply(adjusted, 1 if market is Market.CM else 0)

    def _premium(self, market: Market, symbol: str, now_ms: int) -> dict[str, Any] | None:
        price = self._funding.mark_price(market, symbol, now_ms)
        if price is None:
            return None
        row: dict[str, Any] = {"symbol": symbol}
        if market is Market.CM:
            row["pair"] = pair_of(symbol)
        row |= {"markPrice": price.mark, "indexPrice": price.index, "estimatedSettlePrice": price.estimated_settle}
        row |= {"lastFundingRate": price.rate, "interestRate": _INTEREST if price.rate else ""}
        return {**row, "nextFundingTime": price.next_funding_ms, "time": now_ms}


def _wanted(market: Market, params: Mapping[str, str], listed: list[str]) -> tuple[list[str], int]:
    """Return the symbols that are asked for, and the weight."""
    if "symbol" in params:
        return [symbol_of(params)], _ONE_TICKER_WEIGHT[market]
    if market is not Market.SPOT or "symbols" not in params:
        return listed, _ALL_TICKERS_WEIGHT[market]
    try:
        symbols = orjson.loads(params["symbols"])
    except orjson.JSONDecodeError as error:
        raise Refused(-1100, "Illegal characters found in parameter 'symbols'.") from error
    weight = next((weight for most, weight in _SPOT_TICKERS_WEIGHTS if len(symbols) <= most), 80)
    return symbols, weight


def _funding_row(market: Market, symbol: str, rate: FundingRate) -> dict[str, Any]:
    row: dict[str, Any] = {"symbol": symbol, "fundingTime": rate.at_ms, "fundingRate": rate.rate}
    return {**row, "markPrice": rate.mark} if market is Market.UM else row
