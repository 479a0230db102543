"""From a path and its parameters to an answer: the three REST markets, the archives and their listing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.instrument import Market
from demo.archive_rules import ArchiveRules
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.exchange_info import answer_exchange_info
from demo.kline_rules import answer_klines
from demo.reply import Reply, json_reply
from demo.weights import USED_WEIGHT_HEADER, WeightCounter, WeightLimits

BUCKET_PATH = "/bucket"
_ARCHIVE_ROOT = "/data/"
_MARKETS = {"/api/v3/": Market.SPOT, "/fapi/v1/": Market.UM, "/dapi/v1/": Market.CM}


class Routes:
    """Everything the replay exchange can answer. Without `archives` there is no archive host, only 404."""

    def __init__(
        self, store: CandleStore, clock: ReplayClock, limits: WeightLimits, archives: ArchiveRules | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._weights = WeightCounter(clock, limits)
        self._archives = archives

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
        return _not_found()

    def _charged(self, market: Market, reply: Reply) -> Reply:
        used, refusal = self._weights.charge(market, reply.weight)
        answered = refusal if refusal is not None else reply
        return replace(answered, headers={**answered.headers, USED_WEIGHT_HEADER: str(used)})


def _not_found() -> Reply:
    return Reply(404, b"<html><body><h1>404 Not Found</h1></body></html>", "text/html")
