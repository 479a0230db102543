"""What a klines request asks for, read and checked as the exchange does (docs/binance.md, Klines)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.instrument import Market
from core.intervals import INTERVALS, Interval
from demo.grids import GRIDS
from demo.kline_limits import COIN_M_MAX_SPAN_MS, DEFAULT_LIMIT, MAX_ROWS
from demo.reply import Refused, invalid_symbol

_SPOT_PARAMETERS = frozenset({"symbol", "interval", "startTime", "endTime", "timeZone", "limit"})
# Spot takes times in ms or microseconds; no epoch ms of this millennium reaches this.
_FIRST_MICROSECONDS = 100_000_000_000_000
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class KlineQuery:
    """A valid request. Both bounds are inclusive on open time, epoch ms; None where not sent."""

    symbol: str
    interval: Interval
    start_ms: int | None
    end_ms: int | None
    limit: int


def requested_limit(market: Market, params: Mapping[str, str]) -> int:
    """Return the limit that counts for the weight, even when the request is going to be refused."""
    text = params.get("limit", "")
    if not _is_number(text):
        return DEFAULT_LIMIT
    return min(int(text), MAX_ROWS[market]) if market is Market.SPOT else int(text)


def read_query(market: Market, params: Mapping[str, str], symbols: list[str]) -> KlineQuery:
    """Return the request that `params` make. Raises Refused with the exchange's code.

    `symbols` are those that the market lists. Bounds in the wrong order are refused on futures only.
    """
    if market is Market.SPOT and not params.keys() <= _SPOT_PARAMETERS:
        known = len(params.keys() & _SPOT_PARAMETERS)
        raise Refused(
            -1104, f"Not all sent parameters were read; read '{known}' parameter(s) but was sent '{len(params)}'."
        )
    symbol, code = _mandatory(params, "symbol"), _mandatory(params, "interval")
    limit = _limit(market, params)
    start_ms, end_ms = _time(market, params, "startTime"), _time(market, params, "endTime")
    if params.get("timeZone", "0") not in ("0", "0:00", "00:00"):
        raise Refused(-1130, "Data sent for parameter 'timeZone' is not valid.")
    if symbol not in symbols:
        raise invalid_symbol()
    if code not in GRIDS or (code == "1s" and market is not Market.SPOT):
        raise Refused(-1120, "Invalid interval.")
    _check_bounds(market, start_ms, end_ms)
    return KlineQuery(symbol, INTERVALS[code], start_ms, end_ms, limit)


def _mandatory(params: Mapping[str, str], name: str) -> str:
    value = params.get(name)
    if not value:
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _limit(market: Market, params: Mapping[str, str]) -> int:
    text = params.get("limit", str(DEFAULT_LIMIT))
    if not _is_number(text):
        raise Refused(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
    limit = int(text)
    too_many = market is not Market.SPOT and limit > MAX_ROWS[market]
    if limit < 1 or too_many:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, MAX_ROWS[market])


def _time(market: Market, params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if not _is_number(text):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    value = int(text)
    if market is not Market.SPOT or value < _FIRST_MICROSECONDS:
        return value
    # Inclusive bounds: what opens on a whole millisecond inside stays inside.
    return -(-value // 1000) if name == "startTime" else value // 1000


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _check_bounds(market: Market, start_ms: int | None, end_ms: int | None) -> None:
    if market is Market.SPOT or start_ms is None or end_ms is None:
        return
    if start_ms > end_ms:
        raise Refused(-1023, "Start time is greater than end time.")
    if market is Market.CM and end_ms - start_ms > COIN_M_MAX_SPAN_MS:
        raise Refused(-4088, "Maximum time interval is 200 days.")
