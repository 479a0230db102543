"""All sources of the exchange in one place: REST of the three markets and the archives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from core.binance.rest_rules import PUBLISHED_WEIGHT_PER_MINUTE
from core.errors import ExchangeUnavailable
from core.series import Market
from core.symbol_info import SymbolInfo
from fetcher.ban_file import BanFile
from fetcher.binance.archive import ArchiveClient
from fetcher.binance.rest import POOLS, BinanceRest
from fetcher.exchange_clock import ExchangeClock
from fetcher.http import Sleep
from fetcher.weight_budget import WeightBudget

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExchangeAddresses:
    """Where the exchange is and how hard it may be asked."""

    api_urls: Mapping[str, str]  # by market
    archive_url: str
    archive_list_url: str
    weight_share: float
    page_limit: int | None  # rows of a REST page; None: the market's best
    workers: int
    state_dir: Path  # for bans and unfinished downloads


@dataclass(slots=True)
class _MarketState:
    """What is known of a market in this run: its symbols, or why it cannot be used."""

    symbols: dict[str, SymbolInfo] = field(default_factory=dict)
    has_all_symbols: bool = False
    failure: ExchangeUnavailable | None = None


class Exchange:
    """The exchange as one run sees it. Thread-safe."""

    def __init__(self, addresses: ExchangeAddresses, sleep: Sleep, local_now_ms: Callable[[], int]) -> None:
        bans = BanFile(addresses.state_dir / "exchange_bans.json", local_now_ms)
        clocks = {pool: ExchangeClock(local_now_ms, time.monotonic) for pool in set(POOLS.values())}
        budgets = {
            POOLS[market]: WeightBudget(
                weight, addresses.weight_share, clocks[POOLS[market]].now_ms, time.monotonic, sleep
            )
            for market, weight in PUBLISHED_WEIGHT_PER_MINUTE.items()
        }
        self.archives = ArchiveClient(
            addresses.archive_url,
            addresses.archive_list_url,
            addresses.state_dir / "downloads",
            connections=addresses.workers,
            sleep=sleep,
        )
        self._clocks = clocks
        self._budgets = budgets
        self._rest = {
            market: BinanceRest(
                market,
                addresses.api_urls[market],
                budgets[POOLS[market]],
                bans,
                clocks[POOLS[market]],
                limit=addresses.page_limit,
                connections=addresses.workers,
                sleep=sleep,
            )
            for market in Market
        }
        self._markets = {market: _MarketState() for market in Market}
        self._lock = threading.Lock()

    def rest(self, market: Market) -> BinanceRest:
        """Return the REST API of `market`. Raises what made the market unusable earlier in this run."""
        if failure := self._markets[market].failure:
            raise failure
        return self._rest[market]

    def page_rows(self, market: Market) -> int:
        """Return how many rows a full REST page of `market` holds."""
        return self._rest[market].rows

    def now_ms(self, market: Market) -> int:
        """Return the exchange's clock."""
        return self._clocks[POOLS[market]].now_ms()

    def weight_used(self) -> int:
        """Return the request weight used by this run so far."""
        return sum(budget.total_used for budget in self._budgets.values())

    def weight_per_minute(self) -> float:
        """Return the weight a minute that this run allows itself, all address pools together."""
        return sum(budget.allowed_per_minute for budget in self._budgets.values())

    def share_budgets(self, reserve: Callable[[str, int, int, int], int]) -> None:
        """Let `reserve` (address pool, minute, wanted, allowed) decide how much weight this run may use."""
        for pool, budget in self._budgets.items():
            budget.share(partial(reserve, pool))

    def open_market(self, market: Market, symbols: set[str] | None) -> Mapping[str, SymbolInfo]:
        """Set the market's clock and limits and return its symbols.

        At least those of `symbols` that exist are returned; None asks for all. Raises ExchangeUnavailable.
        """
        state = self._markets[market]
        if state.has_all_symbols or (symbols is not None and symbols <= set(state.symbols)):
            return state.symbols
        rest = self.rest(market)
        try:
            rest.synchronize_clock()
            state.symbols, state.has_all_symbols = rest.load_symbols(symbols)
        except ExchangeUnavailable as failure:
            self.close_market(market, failure)
            raise
        return state.symbols

    def close_market(self, market: Market, failure: ExchangeUnavailable) -> None:
        """Ask `market` no more in this run."""
        with self._lock:
            if self._markets[market].failure is None:
                _log.error("market %s cannot be used: %s", market, failure)
                self._markets[market].failure = failure

    def failures(self) -> dict[Market, ExchangeUnavailable]:
        """Return the markets that could not be used, and why."""
        return {market: state.failure for market, state in self._markets.items() if state.failure is not None}
