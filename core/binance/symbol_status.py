"""What the statuses of Binance's symbols mean (docs/binance.md, Symbol list and statuses)."""

from __future__ import annotations

from core.symbol_info import SymbolInfo

# Trading has ended or is paused. All other statuses, unknown ones included, count as trading.
_NOT_TRADING = frozenset({"BREAK", "HALT", "END_OF_DAY", "CLOSE", "DELIVERED", "DELIVERING", "SETTLING", "PRE_SETTLE"})
_NOT_YET_TRADING = frozenset({"PENDING_TRADING", "PRE_TRADING"})


def symbol_info(symbol: str, status: str, onboard_ms: int | None = None, delivery_ms: int | None = None) -> SymbolInfo:
    """Return the entry of exchangeInfo for `symbol`; on spot it has no onboard and no delivery time."""
    is_pending = status in _NOT_YET_TRADING
    return SymbolInfo(
        symbol, status, status not in _NOT_TRADING and not is_pending, is_pending, onboard_ms, delivery_ms
    )
