"""Binance's public REST API of one market: symbol list, time and klines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import orjson

from core.asking import Asking, Bounds, Question
from core.binance.rules import BinanceRules, page_rows, page_weight
from core.binance.search import any_candle_in, first_candle, last_candle
from core.candles import CandleBatch, UnusableCandle
from core.closing import refuse_open
from core.errors import ExchangeUnavailable, SeriesError, UnusableAnswer
from core.instrument import Market
from core.paging import candles_of
from core.quorum import is_agreed
from core.ranges import Span
from core.series import Series
from core.symbol_info import SymbolInfo
from core.times import MS_PER_SECOND, format_ms
from fetcher.binance.exchange_info import read_exchange_info
from fetcher.binance.rest_answers import RefusedRequest
from fetcher.binance.rest_client import TIME_PATH, RestClient
from fetcher.binance.rest_page import read_page
from fetcher.deadline import Deadline
from fetcher.exchange_clock import ExchangeClock

_log = logging.getLogger(__name__)

_INFO_WEIGHT = {Market.SPOT: 20, Market.UM: 1, Market.CM: 1}
_MAX_SYMBOLS_NAMED = 100
_NO_SUCH_SYMBOL = (-1121, -1100)  # unknown; letters that no symbol has (docs/binance.md, Error codes)
_EARLIEST_MS, _LATEST_MS = 1_483_228_800_000, 4_102_444_800_000  # 2017 to 2100: the exchange opened in July 2017

Found = TypeVar("Found")


class BinanceRest:
    """The REST API of one market, inside the weight budget. Thread-safe."""

    def __init__(
        self,
        market: Market,
        client: RestClient,
        clock: ExchangeClock,
        page_limit: int | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        quorum_at_once: bool = False,
    ) -> None:
        self.market = market
        self.page_rows = page_rows(market, page_limit)
        self._client = client
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._quorum_at_once = (
            quorum_at_once  # repeated questions travel together; else in an order that tests can play
        )

    def synchronize_clock(self) -> None:
        """Set the exchange clock from `/time`, or from the Date header of that answer when it is earlier.

        Raises ExchangeUnavailable.
        """

        def read(body: object, latest_ms: int | None) -> int:
            server_ms = body.get("serverTime") if isinstance(body, dict) else None
            if type(server_ms) is not int or not _EARLIEST_MS < server_ms < _LATEST_MS:
                raise UnusableAnswer(f"expected serverTime, got {str(body)[:100]}")
            if latest_ms is None or server_ms <= latest_ms:
                return server_ms
            if server_ms > latest_ms + MS_PER_SECOND:
                _log.warning(
                    "market %s: /time says %s, the Date header of its answer %s; the earlier one is used",
                    self.market,
                    format_ms(server_ms),
                    format_ms(latest_ms // 1000 * 1000),
                )
            return latest_ms

        try:
            self._clock.set(self._client.get(TIME_PATH, {}, 1, read))
        except SeriesError as error:
            raise ExchangeUnavailable(f"market {self.market}: {error}") from error

    def is_there(self) -> bool:
        """Whether the market answers `/time`, at once or when asked again."""

        def read(body: object, latest_ms: int | None) -> None:
            if not isinstance(body, dict) or "serverTime" not in body:
                raise UnusableAnswer(f"expected serverTime, got {str(body)[:100]}")

        try:
            self._client.get(TIME_PATH, {}, 1, read, Deadline(self._monotonic_s, seconds=0))
        except (SeriesError, ExchangeUnavailable) as error:
            _log.info("market %s does not answer: %s", self.market, error)
            return False
        return True

    def load_symbols(self, wanted: set[str] | None) -> tuple[dict[str, SymbolInfo], bool]:
        """Return symbols, and whether these are all of the market; also sets the published weight limit.

        With `wanted`, spot returns only these symbols, which saves megabytes; when one of them
        does not exist, all are returned. Raises ExchangeUnavailable.
        """
        if self.market is not Market.SPOT:
            return self._load_symbols({}), True
        # Permission sets are most of spot's answer, which has many megabytes.
        params = {"showPermissionSets": "false"}
        if wanted and len(wanted) <= _MAX_SYMBOLS_NAMED:
            names = orjson.dumps(sorted(wanted)).decode()
            try:
                return self._load_symbols({**params, "symbols": names}), False
            except SeriesError as error:
                _log.debug("not every symbol is listed (%s); asking for all", error)
        return self._load_symbols(params), True

    def find_symbol(self, symbol: str) -> SymbolInfo | None:
        """Return a symbol of spot, asked for by its name; None when the exchange has no such symbol.

        Raises SeriesError and ExchangeUnavailable.
        """
        names = orjson.dumps([symbol]).decode()
        try:
            return self._load_symbols({"showPermissionSets": "false", "symbols": names}).get(symbol)
        except RefusedRequest as refusal:
            if refusal.code in _NO_SUCH_SYMBOL:
                return None
            raise

    def _load_symbols(self, params: dict[str, str]) -> dict[str, SymbolInfo]:
        weight = _INFO_WEIGHT[self.market]
        try:
            limit, symbols = self._client.get("/exchangeInfo", params, weight, read_exchange_info)
        except SeriesError as error:
            if "symbols" in params:
                raise
            raise ExchangeUnavailable(f"market {self.market}: {error}") from error
        if limit is not None:
            self._client.gate.set_limit(limit)
        return symbols

    def rules(self, series: Series) -> BinanceRules:
        """Return the rules of a series of this market, with the page size in use."""
        return BinanceRules(series, self.page_rows)

    def fetch_binance_ohlcv(self, series: Series, start_ms: int, end_ms: int) -> CandleBatch:
        """Return every candle of `[start_ms, end_ms)` that the exchange has, ascending and validated.

        `end_ms` must be at or before the end of the last closed candle. core/paging.py decides which answers are
        accepted. Raises SeriesError when none is, ExchangeUnavailable when the market cannot be used.
        """
        span = Span(start_ms, end_ms)
        found = self._ask_all(series, candles_of(self.rules(series), span))
        if found.late:
            _log.warning("%s: %d candles in %s came only with a repeated request", series, found.late, span)
        return found.batch

    def find_first_candle(self, series: Series, from_ms: int = 0) -> int | None:
        """Return the open time of the first candle from `from_ms` (epoch ms) on, or None when there is none."""
        return self._ask_all(series, first_candle(series, from_ms, self._clock.now_ms()))

    def find_last_candle(self, series: Series, listing_ms: int | None = None) -> int | None:
        """Return the open time of the newest candle, closed or not, or None; `listing_ms` as in `last_candle`."""
        return self._ask_all(series, last_candle(series, listing_ms, self._clock.now_ms()))

    def has_candle_in(self, series: Series, span: Span) -> bool:
        """Return whether the exchange has a candle that opens in `span` (at most 200 days on COIN-M)."""
        return self._ask_all(series, any_candle_in(span)) is not None

    def _ask_all(self, series: Series, asking: Asking[Found]) -> Found:
        """Send the requests that `asking` yields and return its result.

        All repetitions, for whatever reason, have one deadline together.
        """
        deadline = Deadline(self._monotonic_s)
        try:
            questions = next(asking)
            while True:
                questions = asking.send(self._ask_each(series, questions, deadline))
        except StopIteration as end:
            found: Found = end.value
            return found
        except SeriesError as error:
            error.prefix(str(series))
            raise

    def _ask_each(self, series: Series, questions: Sequence[Question], deadline: Deadline) -> Sequence[CandleBatch]:
        """Return the answers: to the same question at the same time, to different pages one after the other.

        Pages are large, and other chunks are fetched at the same time anyway.
        """
        is_quorum = len(questions) > 1 and len({question.window for question in questions}) == 1
        if not (is_quorum and self._quorum_at_once):
            return [self._ask(series, question, deadline) for question in questions]
        threads = ThreadPoolExecutor(len(questions), thread_name_prefix="quorum")
        try:
            return list(threads.map(lambda question: self._ask(series, question, deadline), questions))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # who is told to stop does not wait for an answer

    def _ask(self, series: Series, question: Question, deadline: Deadline) -> CandleBatch:
        window = question.window
        if question.is_repeat and deadline.is_past:
            raise UnusableAnswer(
                f"the answers for {window} were not credible within {deadline.seconds:.0f} seconds; run again later"
            )

        impossible: list[tuple[UnusableCandle, ...]] = []  # of each answer so far

        def read(body: object, latest_ms: int | None) -> CandleBatch:
            batch = read_page(body, window, question.rows)
            impossible.append(batch.unusable)
            if batch.unusable and not is_agreed(impossible):
                raise UnusableAnswer(f"impossible candle, {batch.unusable[0].why}: {batch.unusable[0].row}")
            if latest_ms is not None and not question.may_be_open:
                refuse_open(batch, series.interval, latest_ms)
            return batch

        params = {"symbol": series.symbol, "interval": series.interval.code}
        if question.bounds is not Bounds.NONE:
            params["startTime"] = str(window.start_ms)
        params["limit"] = str(question.rows)
        if question.bounds is Bounds.BOTH:
            params["endTime"] = str(window.end_ms - 1)  # the exchange's bounds are inclusive
        try:
            return self._client.get("/klines", params, page_weight(self.market, question.rows), read, deadline)
        except SeriesError as error:
            error.prefix(f"{format_ms(window.start_ms)}..{format_ms(window.end_ms)}")
            raise
