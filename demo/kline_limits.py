"""How much a klines request may ask for and what it costs (docs/binance.md, Klines).

Stated here, not taken from `core`.
"""

from __future__ import annotations

from core.instrument import Market

DEFAULT_LIMIT = 500
MAX_ROWS = {Market.SPOT: 1000, Market.UM: 1500, Market.CM: 1500}
COIN_M_MAX_SPAN_MS = 17_280_000_000
"""200 days, the longest distance between the two bounds of a COIN-M request."""

_SPOT_WEIGHT = 2
# Futures: the weight of every limit below the first number; 10 from the last one on.
_FUTURES_WEIGHTS = ((100, 1), (500, 2), (1001, 5))
_FUTURES_LARGEST_WEIGHT = 10


def klines_weight(market: Market, limit: int) -> int:
    """Return the weight of a klines request with `limit`."""
    if market is Market.SPOT:
        return _SPOT_WEIGHT
    return next((weight for below, weight in _FUTURES_WEIGHTS if limit < below), _FUTURES_LARGEST_WEIGHT)
