"""Binance as an `ExchangeSource` (fetcher/source.py): REST of its three markets, and its archives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from core.binance.rules import PUBLISHED_WEIGHT_PER_MINUTE, BinanceRules
from core.candles import CandleBatch
from core.errors import ExchangeUnavailable, NoAnswer, SeriesError
from core.instrument import Market
from core.ranges import Span
from core.series import Series
from core.symbol_info import SymbolInfo
from fetcher.addresses import ExchangeAddresses
from fetcher.ban_file import BanFile
from fetcher.binance.archive import ArchiveClient
from fetcher.binance.market_data import BinanceMarketData
from fetcher.binance.rest import BinanceRest
from fetcher.binance.rest_client import RestClient
from fetcher.circuit_file import CircuitFile
from fetcher.exchange_clock import ExchangeClock
from fetcher.gate import Gate
from fetcher.http import Sleep
from fetcher.no_archives import NoArchives
from fetcher.source import Archives, SharedBudget
from fetcher.steady import steady_s
from fetcher.weight_budget import WeightBudget

_log = logging.getLogger(__name__)

_PATHS = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}
# So many symbols in a row without an answer are not the symbols' own fault, whatever `/time` answers.
_MOST_UNANSWERED = 3
# Address pools: USD-M and COIN-M share one weight budget (docs/binance.md, Weight and bans).
POOLS = {Market.SPOT: "spot", Market.UM: "futures", Market.CM: "futures"}


@dataclass(slots=True)
class _MarketState:
    """What this run knows of a market: its symbols, or why it cannot be used."""

    symbols: dict[str, SymbolInfo] = field(default_factory=dict)
    has_all_symbols: bool = False
    unlisted: set[str] = field(default_factory=set)  # that do not exist when asked for by name
    is_open: bool = False
    failure: ExchangeUnavailable | None = None
    unanswered: set[str] = field(default_factory=set)  # symbols without an answer since the last answer


class BinanceExchange:
    """Binance during one run. Thread-safe."""

    def __init__(self, addresses: ExchangeAddresses, sleep: Sleep, local_now_ms: Callable[[], int]) -> None:
        bans = BanFile(addresses.state_dir / "exchange_bans.json", local_now_ms)
        self._clocks = {pool: ExchangeClock(local_now_ms, steady_s) for pool in set(POOLS.values())}
        self._budgets = {
            POOLS[market]: WeightBudget(
                weight, addresses.weight_share, self._clocks[POOLS[market]].now_ms, time.monotonic, sleep
            )
            for market, weight in PUBLISHED_WEIGHT_PER_MINUTE.items()
        }
        archives: ArchiveClient | None = None
        if addresses.archive_url is not None and addresses.archive_list_url is not None:
            archives = ArchiveClient(
                addresses.archive_url,
                addresses.archive_list_url,
                addresses.state_dir / "downloads",
                connections=2 * addresses.workers,  # a zip and its CHECKSUM at the same time
                sleep=sleep,
                monotonic_s=time.monotonic,
            )
        self.archives: Archives = archives or NoArchives()

        def client(market: Market) -> RestClient:
            pool = POOLS[market]
            url = addresses.api_urls[market] + _PATHS[market]
            gate = Gate(pool, self._budgets[pool], bans, sleep)
            circuit = None
            if addresses.breaks_circuit:
                path = addresses.state_dir / "exchange_circuits.json"
                circuit = CircuitFile(path, addresses.api_urls[market], local_now_ms)
            return RestClient(url, gate, self._clocks[pool], sleep, addresses.workers, circuit)

        self._clients = {market: client(market) for market in Market}
        self._rest = {
            market: BinanceRest(market, client, self._clocks[POOLS[market]], addresses.page_limit, quorum_at_once=True)
            for market, client in self._clients.items()
        }
        self.market_data = BinanceMarketData(self._usable_client, archives, sleep)
        self._markets = {market: _MarketState() for market in Market}
        self._lock = threading.Lock()

    def rules(self, series: Series) -> BinanceRules:
        """Return Binance's rules for fetching `series`."""
        return self._rest[series.market].rules(series)

    def now_ms(self, market: Market) -> int:
        """Return the exchange's time (epoch ms); this machine's until the market was opened."""
        return self._clocks[POOLS[market]].now_ms()

    def is_clock_set(self, market: Market) -> bool:
        """Whether `now_ms` is the exchange's time, not this machine's."""
        return self._clocks[POOLS[market]].is_set

    def open_market(self, market: Market, symbols: set[str] | None) -> Mapping[str, SymbolInfo]:
        """Set the market's clock and limits and return its symbols: at least those of `symbols` that exist; None: all.

        A single symbol of spot is asked for by its name, also when the list of all lacks it: that list leaves out
        symbols without the usual permissions (docs/binance.md, Symbol list and statuses). Raises ExchangeUnavailable,
        and SeriesError when a single symbol's answer is unusable.
        """
        state = self._markets[market]
        if symbols is not None and symbols <= state.symbols.keys() | state.unlisted:
            return state.symbols
        with self._usable(market) as rest:
            if not state.is_open:
                # First the clock: before it is set, weight cannot be reserved in the right minute.
                rest.synchronize_clock()
                state.is_open = True
            if symbols is not None and len(symbols) == 1 and market is Market.SPOT:
                [symbol] = symbols
                found = rest.find_symbol(symbol)
                with self._lock:
                    if found is None:
                        state.unlisted |= symbols
                    else:
                        # A new mapping: another thread may be reading the old one.
                        state.symbols = {**state.symbols, symbol: found}
            elif not state.has_all_symbols:
                listed, has_all = rest.load_symbols(symbols)
                with self._lock:
                    state.symbols = {**state.symbols, **listed}
                    state.has_all_symbols |= has_all
        return state.symbols

    def failures(self) -> dict[Market, ExchangeUnavailable]:
        """Return the markets that turned out to be unusable, with the error."""
        return {market: state.failure for market, state in self._markets.items() if state.failure is not None}

    def fetch_candles(self, series: Series, span: Span) -> CandleBatch:
        """Return every candle of `span` that the exchange has, ascending and validated."""
        with self._usable(series.market, series.symbol) as rest:
            return rest.fetch_binance_ohlcv(series, span.start_ms, span.end_ms)

    def find_first_candle(self, series: Series, from_ms: int = 0) -> int | None:
        """Return the open time of the first candle that opens at or after `from_ms`, or None."""
        with self._usable(series.market, series.symbol) as rest:
            return rest.find_first_candle(series, from_ms)

    def find_last_candle(self, series: Series, listing_ms: int | None = None) -> int | None:
        """Return the open time of the newest candle, closed or not, or None."""
        with self._usable(series.market, series.symbol) as rest:
            return rest.find_last_candle(series, listing_ms)

    def has_candle_in(self, series: Series, span: Span) -> bool:
        """Return whether a candle opens in `span`."""
        with self._usable(series.market, series.symbol) as rest:
            return rest.has_candle_in(series, span)

    def share_budget(self, shared: SharedBudget) -> None:
        """Use only the weight of each address pool that `shared` grants from now on, within the limit that it knows.

        A run's first requests are sent before exchangeInfo says the limit of today.
        """
        for pool, budget in self._budgets.items():
            limit = shared.published_limit(pool)
            if limit is not None:
                budget.set_limit(limit)
            budget.share(partial(shared.reserve, pool), partial(shared.keep_limit, pool))

    def weight_used(self) -> int:
        """Return the request weight that this run has used so far."""
        return sum(budget.total_used for budget in self._budgets.values())

    def weight_per_minute(self) -> float:
        """Return the request weight per minute that this run may use, all address pools together."""
        return sum(budget.allowed_per_minute for budget in self._budgets.values())

    @contextmanager
    def _usable(self, market: Market, symbol: str | None = None) -> Iterator[BinanceRest]:
        """Yield the market's REST API; a market that turns out to be unusable gets no further request in this run.

        A request for `symbol` that gets no answer is that symbol's own fault while the market answers others: it
        raises SeriesError.
        """
        state = self._markets[market]
        if state.failure is not None:
            raise state.failure
        try:
            yield self._rest[market]
        except ExchangeUnavailable as failure:
            if isinstance(failure, NoAnswer) and symbol is not None and self._answers_others(market, symbol):
                raise SeriesError(f"market {market} answers, but not for {symbol}: {failure}") from failure
            with self._lock:
                if state.failure is None:
                    _log.error("market %s cannot be used: %s", market, failure)
                    state.failure = failure
            raise
        state.unanswered.clear()

    @contextmanager
    def _usable_client(self, market: Market, symbol: str | None) -> Iterator[RestClient]:
        """Yield the market's REST client for requests of other kinds, with the same care."""
        with self._usable(market, symbol):
            yield self._clients[market]

    def _answers_others(self, market: Market, unanswered: str) -> bool:
        """Whether the market is there: it answers `/time`, and few symbols in a row got no answer."""
        state = self._markets[market]
        with self._lock:
            state.unanswered.add(unanswered)
            are_few = len(state.unanswered) < _MOST_UNANSWERED
        return are_few and self._rest[market].is_there()
