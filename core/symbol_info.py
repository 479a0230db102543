"""What an exchange's symbol list says of one symbol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """Status and, where the exchange says them, onboard and delivery times (epoch ms)."""

    symbol: str
    status: str  # the exchange's own word
    is_trading: bool  # new candles are to be expected
    is_pending: bool = False  # trading has not begun, so that there is no candle yet
    onboard_ms: int | None = None
    delivery_ms: int | None = None
