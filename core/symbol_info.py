"""One entry of an exchange's symbol list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """A symbol with its status and, where the exchange gives them, onboard and delivery times (epoch ms)."""

    symbol: str
    status: str  # as the exchange gives it
    is_trading: bool  # new candles are expected
    is_pending: bool = False  # announced; trading has not begun, so there is no candle yet
    onboard_ms: int | None = None
    delivery_ms: int | None = None
