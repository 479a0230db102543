"""What the exchange's symbol list says of one symbol."""

from __future__ import annotations

from dataclasses import dataclass

# Trading has ended for good or for now; other words, unknown ones included, count as trading
# (contract section 3: "tolerate unknown values").
_NOT_TRADING = frozenset({"BREAK", "HALT", "END_OF_DAY", "CLOSE", "DELIVERED", "DELIVERING", "SETTLING", "PRE_SETTLE"})
_NOT_YET_TRADING = frozenset({"PENDING_TRADING", "PRE_TRADING"})


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """Status and, on futures, the onboard and delivery times (epoch ms; spot has neither)."""

    symbol: str
    status: str
    onboard_ms: int | None = None
    delivery_ms: int | None = None

    @property
    def is_trading(self) -> bool:
        """Whether new candles are to be expected."""
        return self.status not in _NOT_TRADING and not self.is_pending

    @property
    def is_pending(self) -> bool:
        """Whether trading has not begun, so that there is no candle yet."""
        return self.status in _NOT_YET_TRADING
