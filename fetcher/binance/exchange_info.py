"""Parses the answer of `exchangeInfo`: the symbols and the published weight limit."""

from __future__ import annotations

from core.binance.symbol_status import symbol_info
from core.errors import UnusableAnswer
from core.symbol_info import SymbolInfo

_PLAUSIBLE_LIMITS = range(100, 1_000_001)


def read_exchange_info(body: object, _latest_ms: int | None) -> tuple[int | None, dict[str, SymbolInfo]]:
    """Return the weight limit per minute (None: not given) and the symbols by name. Raises UnusableAnswer."""
    if not isinstance(body, dict):
        raise UnusableAnswer(f"expected exchangeInfo, got {str(body)[:100]}")
    try:
        limit = next(
            (
                int(rule["limit"])
                for rule in body["rateLimits"]
                if (rule["rateLimitType"], rule["interval"], rule["intervalNum"]) == ("REQUEST_WEIGHT", "MINUTE", 1)
            ),
            None,
        )
        symbols = {
            _name(item["symbol"]): symbol_info(
                item["symbol"],
                str(item.get("status") or item.get("contractStatus")),
                _time_or_none(item.get("onboardDate")),
                _time_or_none(item.get("deliveryDate")),
            )
            for item in body["symbols"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableAnswer(f"exchangeInfo has not the expected fields: {error!r}") from error
    if limit not in _PLAUSIBLE_LIMITS:
        limit = None  # the known limit stays: with a limit of 0 a run would wait for ever
    if not symbols:
        raise UnusableAnswer("exchangeInfo lists no symbols")
    return limit, symbols


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a symbol is {value!r}")
    return value


def _time_or_none(value: object) -> int | None:
    """Return a time (epoch ms) from the answer; null, 0 and other types count as not given."""
    return value if isinstance(value, int) and value > 0 else None
