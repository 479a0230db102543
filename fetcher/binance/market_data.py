"""Market data other than candles from Binance's REST API: aggregate trades and settled funding rates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from itertools import pairwise

import pyarrow as pa

from core.archives import Period
from core.binance.rules import BOOK_LIMIT, BOOK_WEIGHT, PUBLISHED_WEIGHT_PER_MINUTE
from core.errors import ArchiveUnavailable, NoLongerKept, UnusableAnswer
from core.instrument import Instrument, Market
from core.market_data import AggTrade, BookSnapshot, FundingRate
from core.market_rows import agg_trade, funding_rate
from core.stream_pacing import Window
from core.times import MS_PER_MINUTE
from fetcher.binance.archive import ArchiveClient
from fetcher.binance.funding_archive import funding_file, read_fundings
from fetcher.binance.rest_answers import RefusedRequest
from fetcher.binance.rest_client import RestClient
from fetcher.binance.stream_books import read_snapshot
from fetcher.binance.trade_archive import read_trades, trade_file
from fetcher.http import Sleep

PAGE_ROWS = 1_000
_TRADES_WEIGHT = {Market.SPOT: 4, Market.UM: 20, Market.CM: 20}
_TOO_OLD = -4166  # older than 48 hours (USD-M) or 24 hours (COIN-M)
_FUNDING_WEIGHT = 1
# USD-M: 500 calls in five minutes for an address, fundingInfo among them; others may use the same address.
_FUNDING_CALLS, _FUNDING_WINDOW_MS = 300, 5 * 60_000

Usable = Callable[[Market, str | None], AbstractContextManager[RestClient]]
"""The REST client of a market, for requests about one symbol or about none."""


class BinanceMarketData:
    """Binance as a `MarketDataSource` (fetcher/source.py). Thread-safe."""

    def __init__(self, usable: Usable, archives: ArchiveClient | None, sleep: Sleep) -> None:
        self._usable = usable
        self._archives = archives
        self._sleep = sleep
        self._lock = threading.Lock()
        self._funding_calls = Window(_FUNDING_CALLS, _FUNDING_WINDOW_MS)

    def agg_trades_from(self, instrument: Instrument, first_id: int) -> list[AggTrade]:
        """Return up to a page of aggregate trades, ascending, from the id `first_id` on."""
        found = self._agg_trades(instrument, {"fromId": str(first_id)})
        if found and found[0].id < first_id:
            raise UnusableAnswer(f"{instrument}: trades from {first_id} on were asked for, {found[0].id} came")
        return found

    def agg_trades_at(self, instrument: Instrument, start_ms: int) -> list[AggTrade]:
        """Return up to a page of aggregate trades, ascending, from `start_ms` on."""
        found = self._agg_trades(instrument, {"startTime": str(start_ms)})
        if found and found[0].time_ms < start_ms:
            raise UnusableAnswer(f"{instrument}: a trade of {found[0].time_ms} came, before {start_ms}")
        return found

    def archived_agg_trades(self, instrument: Instrument, period: Period) -> pa.Table:
        """Return an instrument's aggregate trades of a day from the archives (core.trade_batch)."""
        if self._archives is None:
            raise ArchiveUnavailable("this exchange has no archives")
        file = trade_file(instrument, period)
        trades, _ = self._archives.fetch_file(file, lambda path: read_trades(path, file, period))
        return trades

    def archived_funding_rates(self, instrument: Instrument, period: Period) -> list[FundingRate]:
        """Return the settled fundings of a month from the archives."""
        if self._archives is None:
            raise ArchiveUnavailable("this exchange has no archives")
        file = funding_file(instrument, period)
        found, _ = self._archives.fetch_file(file, lambda path: read_fundings(path, file, period))
        return found

    def funding_rates(self, instrument: Instrument, start_ms: int) -> list[FundingRate]:
        """Return up to a page of settled fundings, ascending, from `start_ms` on."""
        params = {"symbol": instrument.symbol, "startTime": str(start_ms), "limit": str(PAGE_ROWS)}

        def read(body: object, latest_ms: int | None) -> list[FundingRate]:
            rows = _rows(body)
            if any(row.get("symbol") != instrument.symbol for row in rows):
                raise UnusableAnswer(f"{instrument}: the answer has other symbols")
            found = [funding_rate(row.get("fundingTime"), row.get("fundingRate"), row.get("markPrice")) for row in rows]
            times = [start_ms - 1, *(one.time_ms for one in found)]
            if any(later <= earlier for earlier, later in pairwise(times)):
                raise UnusableAnswer(f"{instrument}: fundings out of order, or before {start_ms}")
            return found

        self._wait_for_funding()
        with self._usable(instrument.market, instrument.symbol) as client:
            return client.get("/fundingRate", params, _FUNDING_WEIGHT, read)

    def funding_hours(self, market: Market) -> Mapping[str, int]:
        """Return the hours between fundings by symbol, of those whose interval is not the usual one."""

        def read(body: object, latest_ms: int | None) -> dict[str, int]:
            found: dict[str, int] = {}
            for row in _rows(body):
                symbol, hours = row.get("symbol"), row.get("fundingIntervalHours")
                if not isinstance(symbol, str) or type(hours) is not int or not 1 <= hours <= 24:
                    raise UnusableAnswer(f"not a funding interval: {str(row)[:200]}")
                found[symbol] = hours
            return found

        self._wait_for_funding()
        with self._usable(market, None) as client:
            return client.get("/fundingInfo", {}, _FUNDING_WEIGHT, read)

    def order_book(self, instrument: Instrument) -> BookSnapshot:
        """Return the order book of now, with as many levels as there are to be had."""
        limit, weight = BOOK_LIMIT[instrument.market], BOOK_WEIGHT[instrument.market]
        params = {"symbol": instrument.symbol, "limit": str(limit)}
        with self._usable(instrument.market, instrument.symbol) as client:
            return client.get("/depth", params, weight, lambda body, latest_ms: read_snapshot(body, limit))

    def order_book_pause_ms(self, market: Market) -> int:
        """Return how long to wait between snapshots of order books, so that half the request weight is left."""
        return 2 * MS_PER_MINUTE * BOOK_WEIGHT[market] // PUBLISHED_WEIGHT_PER_MINUTE[market]

    def _agg_trades(self, instrument: Instrument, bound: Mapping[str, str]) -> list[AggTrade]:
        params = {"symbol": instrument.symbol, **bound, "limit": str(PAGE_ROWS)}

        def read(body: object, latest_ms: int | None) -> list[AggTrade]:
            found = [agg_trade(tuple(row.get(name) for name in "aTpqflm")) for row in _rows(body)]
            if any(later.id <= earlier.id for earlier, later in pairwise(found)):
                raise UnusableAnswer(f"{instrument}: trades out of order")
            return found

        try:
            with self._usable(instrument.market, instrument.symbol) as client:
                return client.get("/aggTrades", params, _TRADES_WEIGHT[instrument.market], read)
        except RefusedRequest as refusal:
            if refusal.code == _TOO_OLD:
                raise NoLongerKept(f"{instrument}: {refusal}") from refusal
            raise

    def _wait_for_funding(self) -> None:
        """Wait until one more request about fundings is allowed, and count it."""
        while True:
            with self._lock:
                now_ms = time.monotonic_ns() // 1_000_000
                if (wait_ms := self._funding_calls.free_ms - now_ms) <= 0:
                    self._funding_calls.count(now_ms)
                    return
            self._sleep(wait_ms / 1000)


def _rows(body: object) -> list[dict[str, object]]:
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise UnusableAnswer(f"expected a list of objects, got {str(body)[:200]}")
    return body
