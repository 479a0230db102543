"""Which candles a klines request gets, per market (docs/binance.md, Klines). Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from core.instrument import Market
from core.series import Series, make_series
from demo.candle_path import in_progress
from demo.candle_rows import CandleRows
from demo.candle_store import CandleStore
from demo.grids import grid_of
from demo.kline_limits import COIN_M_MAX_SPAN_MS, klines_weight
from demo.kline_query import KlineQuery, read_query, requested_limit
from demo.reply import Refused, Reply


def answer_klines(store: CandleStore, market: Market, params: Mapping[str, str], now_ms: int) -> Reply:
    """Return the answer to a klines request: rows, or 400 with the exchange's code. Both have a weight."""
    weight = klines_weight(market, requested_limit(market, params))
    try:
        query = read_query(market, params, store.listed_symbols(market))
    except Refused as refusal:
        return refusal.reply(weight)
    series = make_series(market, query.symbol, query.interval.code)
    candles = store.candles(series)
    first, last = select(candles, market, query, now_ms)
    return Reply(200, _page(candles, series, first, last, now_ms), weight=weight)


def select(candles: CandleRows, market: Market, query: KlineQuery, now_ms: int) -> tuple[int, int]:
    """Return the positions `[first, last)` of the candles that answer `query`.

    Candles that open after `now_ms` are not there yet. Spot and USD-M: the oldest from the start
    when one is given, else the newest. COIN-M: always the newest up to the end.
    """
    start_ms, end_ms = _coin_m_bounds(query, now_ms) if market is Market.CM else (query.start_ms, query.end_ms)
    last_ms = now_ms if end_ms is None else min(end_ms, now_ms)
    first = 0 if start_ms is None else candles.first_at_or_after(start_ms)
    last = max(first, candles.first_after(last_ms))
    if market is Market.CM or query.start_ms is None:
        return max(first, last - query.limit), last
    return first, min(last, first + query.limit)


def _coin_m_bounds(query: KlineQuery, now_ms: int) -> tuple[int | None, int | None]:
    """One bound implies the other, 200 days away and not later than now."""
    if query.start_ms is not None and query.end_ms is None:
        return query.start_ms, min(query.start_ms + COIN_M_MAX_SPAN_MS, now_ms)
    if query.end_ms is not None and query.start_ms is None:
        return query.end_ms - COIN_M_MAX_SPAN_MS, query.end_ms
    return query.start_ms, query.end_ms


def _page(candles: CandleRows, series: Series, first: int, last: int, now_ms: int) -> bytes:
    if first == last:
        return b"[]"
    open_ms = candles.times[last - 1]
    end_ms = grid_of(series.interval).later(open_ms, 1)
    if end_ms <= now_ms:
        return b"[" + candles.json(first, last) + b"]"
    row = candles.rows(last - 1, last)[0]
    unfinished = orjson.dumps(in_progress(row, end_ms, now_ms))
    closed = candles.json(first, last - 1)
    return b"[" + closed + (b"," if closed else b"") + unfinished + b"]"
