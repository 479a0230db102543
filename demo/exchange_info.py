"""exchangeInfo of the three markets (docs/binance.md, Symbol list and statuses)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.instrument import Market
from demo.candle_store import CandleStore
from demo.funding import is_perpetual
from demo.reply import Refused, Reply, invalid_symbol, json_reply

WEIGHT = {Market.SPOT: 20, Market.UM: 1, Market.CM: 1}

_TICK_AND_LOT = {Market.SPOT: ("0.01", "0.00001"), Market.UM: ("0.01", "0.001"), Market.CM: ("0.1", "1")}

# Longest first: FDUSD before USD.
_QUOTE_ASSETS = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY")


def answer_exchange_info(
    store: CandleStore, market: Market, params: Mapping[str, str], now_ms: int, weight_limit: int
) -> Reply:
    """Return server time, rate limits and symbols. Spot filters by `symbol` or `symbols`, unknown ones get -1121."""
    try:
        listed = store.listed_symbols(market)
        symbols = _wanted(listed, params) if market is Market.SPOT else listed
    except Refused as refusal:
        return refusal.reply(WEIGHT[market])
    body = {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": _rate_limits(market, weight_limit),
        "exchangeFilters": [],
        "symbols": [_describe(store, market, symbol) for symbol in symbols],
    }
    return json_reply(body, WEIGHT[market])


def _wanted(known: list[str], params: Mapping[str, str]) -> list[str]:
    if "symbol" in params:
        wanted = [params["symbol"]]
    elif "symbols" in params:
        wanted = _symbol_list(params["symbols"])
    else:
        return known
    if not set(wanted) <= set(known):
        raise invalid_symbol()
    return wanted


def _symbol_list(text: str) -> list[str]:
    refusal = Refused(-1100, "Illegal characters found in parameter 'symbols'.")
    try:
        symbols = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refusal from error
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise refusal
    return symbols


def _rate_limits(market: Market, weight_limit: int) -> list[dict[str, Any]]:
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit}]
    if market is Market.SPOT:
        limits.append({"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000})
    return limits


def _describe(store: CandleStore, market: Market, symbol: str) -> dict[str, Any]:
    facts = store.facts(market, symbol)
    base, quote = _assets(symbol)
    described: dict[str, Any] = {"symbol": symbol, "baseAsset": base, "quoteAsset": quote}
    described |= {"baseAssetPrecision": 8, "quotePrecision": 8, "filters": _filters(market)}
    if market is Market.SPOT:
        return {**described, "status": facts.status, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True}
    onboard_ms = facts.onboard_ms if facts.onboard_ms is not None else store.listing_ms(market, symbol)
    described |= {
        "pair": base + quote,
        "contractType": "PERPETUAL" if is_perpetual(symbol) else "CURRENT_QUARTER",
        "onboardDate": onboard_ms,
        "deliveryDate": facts.delivery_ms,
        "marginAsset": base if market is Market.CM else quote,
        "pricePrecision": len(_TICK_AND_LOT[market][0]) - 2,
        "quantityPrecision": max(0, len(_TICK_AND_LOT[market][1]) - 2),
        "underlyingType": "COIN",
    }
    if market is Market.CM:
        return {**described, "contractStatus": facts.status, "contractSize": 100}
    return {**described, "status": facts.status}


def _filters(market: Market) -> list[dict[str, str]]:
    """Return price tick and lot of the generated symbols; the price filter comes first, as the exchange lists it."""
    tick, lot = _TICK_AND_LOT[market]
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000", "stepSize": lot},
    ]


def _assets(symbol: str) -> tuple[str, str]:
    pair = symbol.partition("_")[0]
    for quote in _QUOTE_ASSETS:
        if pair.endswith(quote) and pair != quote:
            return pair.removesuffix(quote), quote
    return pair, "USDT"
