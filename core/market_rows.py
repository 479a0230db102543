"""Checks records that REST and archives deliver; those of streams are checked as they are decoded. Pure."""

from __future__ import annotations

import re
from typing import TypeGuard

from core.errors import UnusableAnswer
from core.market_data import AggTrade, FundingRate
from core.times import END_OF_TIME_MS

# Plain decimals within the bounds of core/validation.py.
_ABOVE_0 = re.compile(r"(?=[0-9.]*[1-9])(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?")
_SIGNED = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?")
_EARLIEST_MS = 1_000_000_000_000  # 2001
_LEAST_MICROSECONDS = 10**14
_LARGEST_ID = 2**63 - 1


def agg_trade(values: tuple[object, ...]) -> AggTrade:
    """Return the trade of (id, time, price, quantity, first id, last id, is buyer maker). Raises UnusableAnswer."""
    number, time, price, quantity, first, last, maker = values
    if not (_is_id(number) and _is_id(first) and _is_id(last) and isinstance(maker, bool)):
        raise _not_a_trade(values)
    if not (_is_above_0(price) and _is_above_0(quantity)):
        raise _not_a_trade(values)
    trade = AggTrade(number, _time_ms(time), price, quantity, first, last, maker)
    if trade.last_trade_id < trade.first_trade_id:
        raise UnusableAnswer(f"a trade whose last id comes before its first: {str(values)[:300]}")
    return trade


def funding_rate(time: object, rate: object, mark_price: object) -> FundingRate:
    """Return a settled funding; an empty mark price is one that the exchange does not say. Raises UnusableAnswer."""
    if not isinstance(rate, str) or not _SIGNED.fullmatch(rate):
        raise UnusableAnswer(f"not a funding rate: {str(rate)[:100]}")
    if mark_price in (None, ""):
        return FundingRate(_time_ms(time), rate, None)
    if not _is_above_0(mark_price):
        raise UnusableAnswer(f"not a mark price: {str(mark_price)[:100]}")
    return FundingRate(_time_ms(time), rate, mark_price)


def _not_a_trade(values: tuple[object, ...]) -> UnusableAnswer:
    return UnusableAnswer(f"not a trade: {str(values)[:300]}")


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _LARGEST_ID  # True is an int to isinstance


def _is_above_0(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and _ABOVE_0.fullmatch(text) is not None


def _time_ms(time: object) -> int:
    """Return epoch ms; what is finer is cut off, so that archives and REST say the same."""
    if type(time) is int:
        ms = time // 1000 if time >= _LEAST_MICROSECONDS else time
        if _EARLIEST_MS <= ms < END_OF_TIME_MS:
            return ms
    raise UnusableAnswer(f"not a time: {str(time)[:100]}")
