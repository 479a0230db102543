"""From a path and its parameters to an answer: the three REST markets, the archives and their listing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.instrument import Market
from demo.aggregate_rules import answer_aggregates
from demo.archive_rules import ArchiveRules
from demo.clock import ReplayClock
from demo.depth_rules import answer_depth
from demo.exchange_info import answer_exchange_info
from demo.kline_rules import answer_klines
from demo.market_data import MarketData
from demo.price_rules import PriceRules
from demo.reply import Reply, json_reply
from demo.weights import USED_WEIGHT_HEADER, FundingCalls, WeightCounter, WeightLimits

BUCKET_PATH = "/bucket"
_ARCHIVE_ROOT = "/data/"
_FUNDING = ("fundingRate", "fundingInfo")
_MARKETS = {"/api/v3/": Market.SPOT, "/fapi/v1/": Market.UM, "/dapi/v1/": Market.CM}


class Routes:
    """Everything the replay exchange can answer. Without `archives` there is no archive host, only 404."""

    def __init__(
        self, data: MarketData, clock: ReplayClock, limits: WeightLimits, archives: ArchiveRules | None
    ) -> None:
        self._data = data
        self._store = data.store
        self._clock = clock
        self._limits = limits
        self._weights = WeightCounter(clock, limits)
        self._archives = archives
        self._funding_calls = FundingCalls()
        self._prices = PriceRules(data.store, data.tickers, data.funding)

    def answer(self, path: str, params: Mapping[str, str]) -> Reply:
        """Return the answer to GET `path` (decoded) with `params`."""
        now_ms = self._clock.now_ms()
        if self._archives is not None:
            if path.startswith(_ARCHIVE_ROOT):
                return self._archives.answer_file(path.removeprefix("/"), now_ms)
            if path.rstrip("/") == BUCKET_PATH:
                return self._archives.answer_listing(params, now_ms)
        for root, market in _MARKETS.items():
            if path.startswith(root):
                if market is Market.UM and path.removeprefix(root) in _FUNDING:  # by calls, not by weight
                    refusal = self._funding_calls.refusal(now_ms)
                    return refusal or self._rest(market, path.removeprefix(root), params, now_ms)
                return self._charged(market, self._rest(market, path.removeprefix(root), params, now_ms))
        return _not_found()

    def _rest(self, market: Market, route: str, params: Mapping[str, str], now_ms: int) -> Reply:
        match route:
            case "ping":
                return json_reply({}, weight=1)
            case "time":
                return json_reply({"serverTime": now_ms}, weight=1)
            case "exchangeInfo":
                return answer_exchange_info(self._store, market, params, now_ms, self._limits.of(market))
            case "klines":
                return answer_klines(self._store, market, params, now_ms)
            case "aggTrades":
                return answer_aggregates(self._store, self._data.history, market, params, now_ms)
            case "depth":
                return answer_depth(self._store, self._data.books, market, params, now_ms)
            case "ticker/24hr":
                return self._prices.answer_tickers(market, params, now_ms)
        return _not_found() if market is Market.SPOT else self._futures(market, route, params, now_ms)

    def _futures(self, market: Market, route: str, params: Mapping[str, str], now_ms: int) -> Reply:
        match route:
            case "premiumIndex":
                return self._prices.answer_premium_index(market, params, now_ms)
            case "fundingRate":
                return self._prices.answer_funding_rate(market, params, now_ms)
            case "fundingInfo":
                return self._prices.answer_funding_info(market)
        return _not_found()

    def _charged(self, market: Market, reply: Reply) -> Reply:
        used, refusal = self._weights.charge(market, reply.weight)
        answered = refusal if refusal is not None else reply
        return replace(answered, headers={**answered.headers, USED_WEIGHT_HEADER: str(used)})


def _not_found() -> Reply:
    return Reply(404, b"<html><body><h1>404 Not Found</h1></body></html>", "text/html")
