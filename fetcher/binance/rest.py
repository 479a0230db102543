"""Binance's public REST API of one market: symbol list, clock and klines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import orjson

from core.binance.rest_rules import COIN_M_MAX_SPAN_MS, page_rows, page_weight, pages
from core.candles import CandleBatch, coalesce, merge_batches
from core.errors import ExchangeUnavailable, SeriesError, UnusableAnswer
from core.ranges import Span
from core.series import Market, Series
from core.symbol_info import SymbolInfo
from core.times import MS_PER_DAY, MS_PER_SECOND, format_ms
from fetcher.ban_file import BanFile
from fetcher.binance.exchange_info import read_exchange_info
from fetcher.binance.rest_client import TIME_PATH, RestClient
from fetcher.binance.rest_page import read_page, refuse_open
from fetcher.exchange_clock import ExchangeClock
from fetcher.http import Sleep
from fetcher.weight_budget import WeightBudget

_log = logging.getLogger(__name__)

_PATHS = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}
# Address pools: USD-M and COIN-M share one budget (contract section 3).
POOLS = {Market.SPOT: "spot", Market.UM: "futures", Market.CM: "futures"}
_INFO_WEIGHT = {Market.SPOT: 20, Market.UM: 1, Market.CM: 1}
_MAX_SYMBOLS_NAMED = 100
_MAX_ROUNDS = 5
_MAX_ASKED = 8
_AGREEING = 2  # equal answers in a row that are believed
_AGREEING_EMPTY = 3  # the same for "none", which a broken answer looks like
_EARLIEST_MS, _LATEST_MS = 1_483_228_800_000, 4_102_444_800_000  # 2017 to 2100: the exchange opened in July 2017
_COIN_M_BEGINS_MS = 1_577_836_800_000  # 2020-01-01; COIN-M futures opened in the summer of 2020


class BinanceRest:
    """The REST API of one market, inside the weight budget. Thread-safe."""

    def __init__(
        self,
        market: Market,
        base_url: str,
        budget: WeightBudget,
        bans: BanFile,
        clock: ExchangeClock,
        *,
        limit: int | None = None,
        connections: int = 4,
        sleep: Sleep,
    ) -> None:
        self.market = market
        self.budget = budget
        self.rows = page_rows(market, limit)
        self._clock = clock
        self._client = RestClient(
            base_url + _PATHS[market], POOLS[market], budget, bans, clock, connections=connections, sleep=sleep
        )

    def synchronize_clock(self) -> None:
        """Set the exchange clock from `/time`, or from the date of that answer when it is earlier.

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
                    "market %s: /time says %s, the answer's own date is %s; the earlier counts",
                    self.market,
                    format_ms(server_ms),
                    format_ms(latest_ms // 1000 * 1000),
                )
            return latest_ms

        try:
            self._clock.set(self._client.get(TIME_PATH, {}, 1, read))
        except SeriesError as error:
            raise ExchangeUnavailable(f"market {self.market}: {error}") from error

    def load_symbols(self, wanted: set[str] | None) -> tuple[dict[str, SymbolInfo], bool]:
        """Return symbols, and whether these are all of the market; takes over the published weight limit.

        With `wanted`, spot is asked for these symbols alone, which saves megabytes; when one of them
        does not exist, all are returned. Raises ExchangeUnavailable.
        """
        if self.market is not Market.SPOT:
            return self._load_symbols({}), True
        # Spot's permission sets make up most of its answer of many megabytes.
        params = {"showPermissionSets": "false"}
        if wanted and len(wanted) <= _MAX_SYMBOLS_NAMED:
            names = orjson.dumps(sorted(wanted)).decode()
            try:
                return self._load_symbols({**params, "symbols": names}), False
            except SeriesError as error:
                _log.debug("not every symbol is listed (%s); asking for all", error)
        return self._load_symbols(params), True

    def _load_symbols(self, params: dict[str, str]) -> dict[str, SymbolInfo]:
        weight = _INFO_WEIGHT[self.market]
        try:
            limit, symbols = self._client.get("/exchangeInfo", params, weight, read_exchange_info)
        except SeriesError as error:
            if "symbols" in params:
                raise
            raise ExchangeUnavailable(f"market {self.market}: {error}") from error
        if limit is not None:
            self.budget.set_limit(limit)
        return symbols

    def find_listing(self, series: Series, from_ms: int = 0) -> int | None:
        """Return the open time of the series' first candle from `from_ms` (epoch ms) on, or None when there is none.

        A wrong listing would lose candles for good, so every answer is asked for until two in a row agree.
        """
        now_ms = self._clock.now_ms()
        if self.market is not Market.CM:
            # The oldest candle from a start before any listing (contract section 2).
            return self._agreed(lambda: self._first_in_page(series, self._any_time(from_ms), send_end=False))
        # COIN-M answers the newest rows of at most 200 days: find the first stretch that has any, then halve it.
        # The onboard date is of no use here: a month's candle opens before it.
        cursor = max(from_ms, series.interval.floor(_COIN_M_BEGINS_MS))
        while cursor < now_ms:
            stretch = Span(cursor, min(cursor + COIN_M_MAX_SPAN_MS, now_ms))
            newest_ms = self._newest_in(series, stretch)
            if newest_ms is not None:
                return self._oldest_by_halving(series, stretch.start_ms, newest_ms)
            cursor = stretch.end_ms
        return None

    def has_candle_in(self, series: Series, span: Span) -> bool:
        """Return whether the exchange has a candle that opens in `span` (at most 200 days on COIN-M)."""
        return self._newest_in(series, span) is not None

    def _any_time(self, from_ms: int = 0) -> Span:
        # A candle may open between the question and the answer, by a clock that is ahead of ours.
        return Span(from_ms, max(from_ms, self._clock.now_ms()) + MS_PER_DAY)

    def _newest_in(self, series: Series, span: Span) -> int | None:
        return self._agreed(lambda: self._first_in_page(series, span, send_end=True))

    def _first_in_page(self, series: Series, span: Span, send_end: bool) -> int | None:
        found = self._page(series, span, limit=1, send_end=send_end)
        return found.open_times()[0] if found.rows else None

    def _agreed(self, ask: Callable[[], int | None]) -> int | None:
        """Return an answer that came twice in a row, or "none" when it came three times in a row."""
        before, times_in_a_row = ask(), 1
        for _ in range(_MAX_ASKED):
            answer = ask()
            times_in_a_row = times_in_a_row + 1 if answer == before else 1
            before = answer
            if times_in_a_row >= (_AGREEING_EMPTY if answer is None else _AGREEING):
                return answer
        raise SeriesError("the exchange's answers about the first or last candle keep changing")

    def _oldest_by_halving(self, series: Series, none_before_ms: int, candle_ms: int) -> int:
        """Return the first open time from `none_before_ms` on, given that of a later candle."""
        interval = series.interval
        while (low := interval.index(none_before_ms)) < (high := interval.index(candle_ms)):
            middle_ms = interval.open_of((low + high + 1) // 2)
            earlier_ms = self._newest_in(series, Span(none_before_ms, middle_ms))
            if earlier_ms is None:
                none_before_ms = middle_ms
            else:
                candle_ms = earlier_ms
        return candle_ms

    def find_last_candle(self, series: Series, listing_ms: int | None = None) -> int | None:
        """Return the open time of the newest candle, finished or not, or None. For symbols that no longer trade.

        COIN-M is searched backwards from now, 200 days at a time, to `listing_ms` (epoch ms; None: to the
        market's beginning): there a question without bounds reaches back 200 days only (contract section 2).
        """
        if self.market is Market.CM:
            return self._last_by_stretches(series, listing_ms)

        def ask() -> int | None:
            batch = self._get_klines(series, {"limit": "1"}, 1, self._any_time(), may_be_open=True)
            return batch.open_times()[0] if batch.rows else None

        return self._agreed(ask)

    def _last_by_stretches(self, series: Series, listing_ms: int | None) -> int | None:
        begins_ms = series.interval.floor(_COIN_M_BEGINS_MS if listing_ms is None else listing_ms)
        end_ms = self._clock.now_ms() + 1  # a candle may have opened this very moment
        while end_ms > begins_ms:
            stretch = Span(max(begins_ms, end_ms - COIN_M_MAX_SPAN_MS), end_ms)
            newest_ms = self._newest_in(series, stretch)
            if newest_ms is not None:
                return newest_ms
            end_ms = stretch.start_ms
        return None

    def fetch_binance_ohlcv(self, series: Series, start_ms: int, end_ms: int) -> CandleBatch:
        """Return every candle of `[start_ms, end_ms)` that the exchange has, ascending and validated.

        The caller keeps `end_ms` at or before the last closed candle. A short or empty page is never
        taken for the end of the data: slots without a candle are asked for again, and the answer counts
        only when it is credible (see `_credible`). Raises SeriesError when the answers cannot be
        trusted, ExchangeUnavailable when the market cannot be used.
        """
        span = Span(start_ms, end_ms)
        batch = self._fetch_windows(series, list(pages(self.market, series.interval, span, self.rows)))
        for _ in range(_MAX_ROUNDS):
            holes = batch.missing(series.interval, span)
            if not holes:
                return batch
            again = [self._ask_again(series, window, batch) for window in self._windows_over(series, holes, span)]
            merged = merge_batches(batch, CandleBatch.concat(again), series.interval)
            if merged.rows == batch.rows:
                _log.debug("%s: %d stretches without candles confirmed in %s", series, len(holes), span)
                return batch
            _log.warning("%s: %d candles in %s came only on asking again", series, merged.rows - batch.rows, span)
            batch = merged
        if not batch.missing(series.interval, span):
            return batch
        raise SeriesError(f"{series}: the exchange's answers for {span} keep changing; nothing of it was stored")

    def _windows_over(self, series: Series, holes: Sequence[Span], span: Span) -> list[Span]:
        """Return the windows to ask again, widened by a slot on both sides so that they hold known candles.

        Holes that fit into one page together are asked for together.
        """
        interval = series.interval
        stretches = coalesce(holes, interval, self.rows)
        widened = [Span(interval.add(s.start_ms, -1), interval.add(s.end_ms, 1)) for s in stretches]
        inside = [part for stretch in widened if (part := stretch.intersect(span)) is not None]
        return [window for stretch in inside for window in pages(self.market, interval, stretch, self.rows)]

    def _ask_again(self, series: Series, window: Span, known: CandleBatch) -> CandleBatch:
        """Return a credible answer for a window that seems to have holes.

        An answer that is cut off holds the candles before a hole and none behind it; so a hole at the
        window's end, behind which no candle is known, is asked for by itself as well.
        """
        witnesses = set(known.within(window).open_times())
        found = self._credible(series, window, witnesses)
        last_hole = found.missing(series.interval, window)[-1:]
        if witnesses and last_hole and last_hole[0].end_ms >= window.end_ms:
            found = merge_batches(found, self._credible(series, last_hole[0], set()), series.interval)
        return found

    def _credible(self, series: Series, window: Span, witnesses: set[int]) -> CandleBatch:
        """Return an answer that holds every candle in `witnesses`, or without any, one that came twice in a row.

        With the page before, twice makes three.
        """
        before: list[int] | None = None
        for _ in range(_MAX_ASKED):
            found = self._fetch_window(series, window)
            times = found.open_times()
            if witnesses and witnesses <= set(times):
                return found
            if not witnesses and times == before:
                return found
            before = times
        raise UnusableAnswer(
            f"{series}: the exchange's answers for {window} lack candles that it has just given, or keep changing"
        )

    def _fetch_windows(self, series: Series, windows: Sequence[Span]) -> CandleBatch:
        return CandleBatch.concat([self._fetch_window(series, window) for window in windows])

    def _fetch_window(self, series: Series, window: Span) -> CandleBatch:
        slots = max(1, series.interval.count(series.interval.floor(window.start_ms), window.end_ms))
        return self._page(series, window, limit=min(self.rows, slots), send_end=True, may_be_open=False)

    def _page(self, series: Series, window: Span, limit: int, send_end: bool, may_be_open: bool = True) -> CandleBatch:
        params = {"startTime": str(window.start_ms), "limit": str(limit)}
        if send_end:
            params["endTime"] = str(window.end_ms - 1)  # the exchange's bounds are inclusive
        return self._get_klines(series, params, limit, window, may_be_open)

    def _get_klines(
        self, series: Series, params: dict[str, str], limit: int, window: Span, may_be_open: bool
    ) -> CandleBatch:
        def read(body: object, latest_ms: int | None) -> CandleBatch:
            batch = read_page(body, window, limit)
            if latest_ms is not None and not may_be_open:
                refuse_open(batch, series.interval, latest_ms)
            return batch

        weight = page_weight(self.market, limit)
        full = {"symbol": series.symbol, "interval": series.interval.code, **params}
        try:
            return self._client.get("/klines", full, weight, read)
        except SeriesError as error:
            raise type(error)(f"{series}, {format_ms(window.start_ms)}..{format_ms(window.end_ms)}: {error}") from error
